"""Everything a program may ask the relay, declared once for both clients.

Each method is written as steps: it yields questions, is sent their answers, and returns what the program gets. The
blocking client runs the steps and returns the outcome; the asyncio client gives a coroutine that does. So
`me.rooms.create("ops")` and `await me.rooms.create("ops")` are the same few lines below, and cannot differ.

All of them raise CallFailed (its `code` and `sentence` say why the relay refused), TimedOut after the client's timeout,
ConnectionLost (it is unknown whether it was done), BadValue, or what ended the client.
"""

import functools
from collections.abc import Callable, Coroutine, Generator, Iterable, Mapping
from typing import Any, Concatenate, Generic, NamedTuple, ParamSpec, Protocol, TypeAlias, TypeVar, overload

from relay.protocol.addresses import AddressError, prepare_name
from relay.protocol.errors import RemoteError
from relay.protocol.payloads import Value
from relay_client.answers import Conversation, Device, DeviceCursor, Member, Page, Presence, Room
from relay_client.errors import BadAddress, BadValue, RelayError
from relay_client.received import ReceivedMessage

P = ParamSpec("P")
T = TypeVar("T")

PAGE_MAX = 500


class Question(NamedTuple):
    """A call to the relay. A lasting one is asked again on every later connection, for it changes the session."""

    method: str
    arguments: Mapping[str, Value]
    lasting: bool = False


Steps: TypeAlias = Generator[Question, Any, T]


class Waits:
    """Marks groups whose methods wait for the outcome and return it."""


class Awaits:
    """Marks groups whose methods return a coroutine."""


S = TypeVar("S", Waits, Awaits)


class Asker(Protocol):
    """What a client gives to its groups."""

    def run_steps(self, steps: Generator[Any, Any, Any]) -> Any: ...


class Group(Generic[S]):
    """Methods on one topic, as an attribute of a client."""

    def __init__(self, asker: Asker) -> None:
        self._asker = asker


class Asked(Generic[P, T]):
    """A method declared by its steps. On a group it is a plain function, or one that returns a coroutine."""

    def __init__(self, steps: Callable[Concatenate[Any, P], Generator[Any, Any, T]]) -> None:
        self.steps = steps
        self.__doc__ = steps.__doc__

    @overload
    def __get__(self, group: Group[Waits], owner: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, group: Group[Awaits], owner: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    @overload
    def __get__(self, group: None, owner: type) -> Callable[Concatenate[Any, P], Generator[Any, Any, T]]: ...
    def __get__(self, group: Group[Any] | None, owner: type) -> Any:
        if group is None:
            return self.steps
        bound = self.steps.__get__(group)

        @functools.wraps(bound)
        def ask(*args: P.args, **kwargs: P.kwargs) -> Any:
            return group._asker.run_steps(bound(*args, **kwargs))

        return ask


def advance(steps: Steps[T], question: Question, answer: Value) -> Question:
    """Send the answer to a question; the next one. Raises StopIteration with the outcome, and BadValue."""
    try:
        return steps.send(answer)
    except RelayError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, RemoteError) as error:
        sentence = f"the relay's answer to {question.method} has another form than this version knows ({error!r})"
        raise BadValue(sentence) from error


class Rooms(Group[S]):
    """Rooms and their members. A room is named with or without its mark: `ops`, `#ops`."""

    @Asked
    def create(self, room: str, title: str = "", *, public: bool = True) -> Steps[Room]:
        """Make a room and be its owner. `title` has at most 256 bytes. Who is not in a private room cannot see it."""
        return (yield from _about_room("create", room, title=title, public=public))

    @Asked
    def join(self, room: str) -> Steps[Room]:
        """Enter a public room, or one with an invitation. Joining again changes nothing."""
        return (yield from _about_room("join", room))

    @Asked
    def leave(self, room: str) -> Steps[None]:
        """Leave a room, or decline an invitation. The only owner cannot leave others behind."""
        yield Question("rooms.leave", {"room": room_name(room)})

    @Asked
    def invite(self, room: str, user: str) -> Steps[Room]:
        """Let somebody in. Owners and moderators may; in a public room every member."""
        return (yield from _about_room("invite", room, user=user))

    @Asked
    def remove(self, room: str, user: str) -> Steps[Room]:
        """Put somebody out, or take an invitation back. Owners and moderators may, towards lower roles."""
        return (yield from _about_room("remove", room, user=user))

    @Asked
    def ban(self, room: str, user: str) -> Steps[Room]:
        """Put somebody out for good, that is, until `unban`."""
        return (yield from _about_room("ban", room, user=user))

    @Asked
    def unban(self, room: str, user: str) -> Steps[Room]:
        """Let somebody who was banned come back."""
        return (yield from _about_room("unban", room, user=user))

    @Asked
    def set_role(self, room: str, user: str, role: str) -> Steps[Room]:
        """Make a member `owner`, `moderator` or `member`. Owners may; one owner must remain."""
        return (yield from _about_room("set_role", room, user=user, role=role))

    @Asked
    def set(self, room: str, *, title: str | None = None, public: bool | None = None) -> Steps[Room]:
        """Change the title (moderators may), open or close the room (owners). None leaves it as it is."""
        return (yield from _about_room("set", room, title=title, public=public))

    @Asked
    def list(self, *, everything: bool = False) -> Steps[tuple[Room, ...]]:
        """The rooms one is in or invited to, by name; with `everything` the public ones, too."""
        rows = yield from _all_rows("rooms.list", "rooms", "room", {"all": everything})
        return tuple(map(Room.from_row, rows))

    @Asked
    def members(self, room: str) -> Steps[tuple[Member, ...]]:
        """Who is in a room, by name."""
        rows = yield from _all_rows("rooms.members", "members", "user", {"room": room_name(room)})
        return tuple(map(Member.from_row, rows))


class Conversations(Group[S]):
    """The user's conversations and what the relay keeps of them. Nothing here moves a cursor.

    A conversation is named by the room (`#ops`), by the user at its other end (`bob`), or in full (`alice@bob`).
    """

    @Asked
    def list(self) -> Steps[tuple[Conversation, ...]]:
        """All conversations, by name."""
        rows = yield from _all_rows("conversations.list", "conversations", "conversation", {})
        return tuple(map(Conversation.from_row, rows))

    @Asked
    def read(
        self, conversation: str, *, after: int | None = None, before: int | None = None, limit: int = 100
    ) -> Steps[Page]:
        """A page: what stands behind the offset `after`, or just below `before`, or the newest. At most `limit` (up to
        500) messages, and at most 256 KiB of them."""
        return (yield from read_page(conversation, after, before, limit))

    @Asked
    def receipts(self, conversation: str) -> Steps[tuple[DeviceCursor, ...]]:
        """How far each lasting device in a conversation is."""
        answer = yield Question("receipts.of", {"conversation": conversation})
        return tuple(map(DeviceCursor.from_row, answer["cursors"]))

    @Asked
    def watch_receipts(self, watch: bool = True) -> Steps[None]:
        """Be told how far others are, from now on and over reconnects: `Receipt` events, a few times a second at most,
        of direct conversations and of rooms with at most 50 sessions online."""
        yield Question("receipts.watch", {"watch": watch}, lasting=True)


class Devices(Group[S]):
    """The user's devices: the relay keeps messages for each until it has had them."""

    @Asked
    def list(self) -> Steps[tuple[Device, ...]]:
        """All of them."""
        answer = yield Question("devices.list", {})
        return tuple(map(Device.from_row, answer["devices"]))

    @Asked
    def forget(self, device: str) -> Steps[None]:
        """Keep nothing more for a device. If it is connected it is told, and closed for good."""
        yield Question("devices.forget", {"device": device})


class Blocks(Group[S]):
    """Users one does not want to hear from: their messages and calls are refused, their signals dropped. Rooms are not
    affected."""

    @Asked
    def add(self, user: str) -> Steps[None]:
        """Hear no more from a user."""
        yield Question("blocks.add", {"user": user})

    @Asked
    def remove(self, user: str) -> Steps[None]:
        """Hear from a user again."""
        yield Question("blocks.remove", {"user": user})

    @Asked
    def list(self) -> Steps[tuple[str, ...]]:
        """Whom one blocks, by name."""
        answer: Any = yield Question("blocks.list", {})
        return tuple(answer["users"])


class People(Group[S]):
    """Who is there: online, away, offline."""

    @Asked
    def watch(self, users: Iterable[str] | None = None) -> Steps[tuple[Presence, ...]]:
        """How it stands with these users, and from now on `Presence` events when that changes, over reconnects, too.

        None stands for everybody in one's direct conversations and in rooms of at most 500. Users one shares no
        conversation with are left out. A later call takes the place of an earlier one.
        """
        given: dict[str, Any] = {} if users is None else {"users": list(users)}
        answer = yield Question("presence.watch", given, lasting=True)
        return tuple(map(Presence.from_row, answer["users"]))

    @Asked
    def unwatch(self) -> Steps[None]:
        """Be told no more."""
        yield Question("presence.watch", {"users": []}, lasting=True)

    @Asked
    def set_away(self, away: bool = True) -> Steps[None]:
        """Say that nobody sits at this session, or that somebody does again. It holds over reconnects."""
        yield Question("presence.set", {"state": "away" if away else "online"}, lasting=True)


class History:
    """Reads a conversation page by page. `after`: ascending from there; otherwise descending, from just below `before`
    or from the end. `limit`: how many messages in all, None for all there are."""

    def __init__(self, conversation: str, after: int | None, before: int | None, limit: int | None) -> None:
        if after is not None and before is not None:
            raise BadValue("history is read forwards, after an offset, or backwards, before one: give one of them")
        self._conversation = conversation
        self._after = after
        self._before = before
        self._left = limit

    def next_messages(self) -> Steps[list[ReceivedMessage]]:
        """Some further ones; none at the end."""
        wanted = PAGE_MAX if self._left is None else min(PAGE_MAX, self._left)
        if wanted <= 0:
            return []
        page = yield from read_page(self._conversation, self._after, self._before, wanted)
        found = list(page.messages)
        if not found:
            return []
        if self._after is not None:
            self._after = found[-1].offset
        else:
            self._before = found[0].offset
            found.reverse()
        if self._left is not None:
            self._left -= len(found)
        return found


def room_name(text: str) -> str:
    """A room's name with its mark, prepared. Raises BadAddress."""
    try:
        return "#" + prepare_name(text.removeprefix("#"))
    except AddressError as error:
        raise BadAddress(f"{text!r} cannot name a room: {error}") from None


def read_page(conversation: str, after: int | None, before: int | None, limit: int) -> Steps[Page]:
    """One page of a conversation."""
    if not 1 <= limit <= PAGE_MAX:
        raise BadValue(f"a page has 1 to {PAGE_MAX} messages")
    place: dict[str, Value] = {"conversation": conversation, "limit": limit}
    if after is not None:
        place["after"] = after
    if before is not None:
        place["before"] = before
    return Page.from_row((yield Question("history.read", place)))


def _about_room(what: str, room: str, **arguments: str | bool | None) -> Steps[Room]:
    given = {name: value for name, value in arguments.items() if value is not None}
    answer = yield Question(f"rooms.{what}", {"room": room_name(room), **given})
    return Room.from_row(answer["room"])


def _all_rows(method: str, rows: str, key: str, arguments: Mapping[str, Value]) -> Steps[list[Mapping[str, Any]]]:
    """All rows of a list that the relay gives in pages."""
    found: list[Mapping[str, Any]] = []
    while True:
        page = yield Question(method, {**arguments, "after": found[-1][key] if found else ""})
        found += page[rows]
        if not page["more"] or not page[rows]:
            return found
