"""Calls about rooms. What is allowed is decided in membership.py, on the store's thread; here calls are read, and what
changed is made known.
"""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from relay.protocol.codes import ErrorCode
from relay.protocol.payloads import Value
from relay.router import membership
from relay.router.events import event_frame
from relay.router.membership import Change, Outcome
from relay.router.methods.reply import Arguments, Method, RefusedError, Reply
from relay.router.subscriber import Subscriber
from relay.store.base import Member, Membership, Reader, Refusal, Role, Room, Store, StoreError

if TYPE_CHECKING:
    from relay.router.router import Router

TITLE_MAX_BYTES = 256
PAGE_MAX = 1000


def create(router: "Router", session: Subscriber, arguments: Arguments, reply: Reply) -> None:
    """Make a room."""
    name, title, public = arguments.room(), _title(arguments, ""), arguments.flag("public", True)
    bounds, now_ms = router.limits.rooms, router.clock_ms()

    def operation(store: Store) -> Outcome:
        return membership.create(store, session.user, name, title or "", bool(public), bounds, now_ms)

    _act(router, session, reply, operation)


def join(router: "Router", session: Subscriber, arguments: Arguments, reply: Reply) -> None:
    """Enter a public room, or one the user was invited to."""
    name, bounds, now_ms = arguments.room(), router.limits.rooms, router.clock_ms()
    _act(router, session, reply, lambda store: membership.join(store, session.user, name, bounds, now_ms))


def leave(router: "Router", session: Subscriber, arguments: Arguments, reply: Reply) -> None:
    """Leave a room, or decline an invitation."""
    name, now_ms = arguments.room(), router.clock_ms()
    _act(router, session, reply, lambda store: membership.leave(store, session.user, name, now_ms))


def invite(router: "Router", session: Subscriber, arguments: Arguments, reply: Reply) -> None:
    """Let somebody in."""
    name, user, now_ms = arguments.room(), arguments.user(), router.clock_ms()
    _act(router, session, reply, lambda store: membership.invite(store, session.user, name, user, now_ms))


def remove(router: "Router", session: Subscriber, arguments: Arguments, reply: Reply) -> None:
    """Put somebody out."""
    name, user, now_ms = arguments.room(), arguments.user(), router.clock_ms()
    _act(router, session, reply, lambda store: membership.remove(store, session.user, name, user, False, now_ms))


def ban(router: "Router", session: Subscriber, arguments: Arguments, reply: Reply) -> None:
    """Put somebody out for good."""
    name, user, now_ms = arguments.room(), arguments.user(), router.clock_ms()
    _act(router, session, reply, lambda store: membership.remove(store, session.user, name, user, True, now_ms))


def unban(router: "Router", session: Subscriber, arguments: Arguments, reply: Reply) -> None:
    """Let a banned user come back."""
    name, user, now_ms = arguments.room(), arguments.user(), router.clock_ms()
    _act(router, session, reply, lambda store: membership.unban(store, session.user, name, user, now_ms))


def set_role(router: "Router", session: Subscriber, arguments: Arguments, reply: Reply) -> None:
    """Make somebody owner, moderator or member."""
    name, user, now_ms = arguments.room(), arguments.user(), router.clock_ms()
    wanted = arguments.text("role")
    if wanted not in (Role.OWNER, Role.MODERATOR, Role.MEMBER):
        raise RefusedError(ErrorCode.BAD_ARGUMENTS, "role is owner, moderator or member")
    role = Role(wanted)
    _act(router, session, reply, lambda store: membership.set_role(store, session.user, name, user, role, now_ms))


def change(router: "Router", session: Subscriber, arguments: Arguments, reply: Reply) -> None:
    """Give a room another title, open or close it."""
    name, title, public = arguments.room(), _title(arguments, None), arguments.flag("public")
    _act(router, session, reply, lambda store: membership.change_room(store, session.user, name, title, public))


def list_rooms(router: "Router", session: Subscriber, arguments: Arguments, reply: Reply) -> None:
    """The user's own rooms, and with `all` the public ones too."""
    everything = arguments.flag("all", False)
    after, limit = arguments.text("after", ""), arguments.number("limit", PAGE_MAX, PAGE_MAX) or PAGE_MAX

    def operation(reader: Reader) -> list[Membership]:
        own = {found.room.name: found for found in reader.rooms_of(session.user)}
        if everything:
            for room in reader.public_rooms(after, limit + 1):
                own.setdefault(room.name, Membership(room, None))
        return sorted((found for name, found in own.items() if name > after), key=lambda found: found.room.name)

    def finish(found: list[Membership]) -> None:
        rooms: list[Value] = [_describe(room, role) for room, role in found[:limit]]
        reply.result({"rooms": rooms, "more": len(found) > limit})

    router.log.read(operation, reply.when(finish))


def list_members(router: "Router", session: Subscriber, arguments: Arguments, reply: Reply) -> None:
    """The members of a room the user is in, or of a public one, by name."""
    name, after = arguments.room(), arguments.text("after", "")
    limit = arguments.number("limit", PAGE_MAX, PAGE_MAX) or PAGE_MAX

    def operation(reader: Reader) -> list[Member] | Refusal:
        room, role = reader.room(name), reader.role(name, session.user)
        if room is None or role is Role.BANNED or (role is None and not room.public):
            return membership.no_such_room(name)
        return reader.members(name, after, limit + 1)

    def finish(found: list[Member]) -> None:
        members: list[Value] = [{"user": user, "role": str(role)} for user, role in found[:limit]]
        reply.result({"members": members, "more": len(found) > limit})

    router.log.read(operation, reply.when(finish))


def _act(router: "Router", session: Subscriber, reply: Reply, operation: Callable[[Store], Outcome]) -> None:
    def act(store: Store) -> tuple[Change, Role | None] | Refusal:
        outcome = operation(store)
        return outcome if isinstance(outcome, Refusal) else (outcome, store.role(outcome.name, session.user))

    finish: Callable[[tuple[Change, Role | None]], None] = partial(_make_known, router, session, reply)
    done: Callable[[tuple[Change, Role | None] | Refusal | StoreError], None] = reply.when(finish)
    router.log.write(act, done)


def _make_known(router: "Router", session: Subscriber, reply: Reply, changed: tuple[Change, Role | None]) -> None:
    """Tell everybody in the room, and the user concerned; then answer with the room and the asker's role in it."""
    change, own = changed
    fields: dict[str, Value] = {"room": change.name, "what": change.what, "user": change.user, "by": session.user}
    if change.role is not None:
        fields["role"] = str(change.role)
    # Those who leave hear of it as well: the sessions are gathered before and after.
    audience = dict.fromkeys(router.rooms.sessions_in(change.name))
    if change.role is not None and change.role.inside:
        router.rooms.join(change.name, change.user)
    else:
        router.rooms.leave(change.name, change.user)
    audience.update(dict.fromkeys(router.directory.sessions_of(change.user)))
    audience.update(dict.fromkeys(router.rooms.sessions_in(change.name)))
    frame = event_frame(change.name, "room", **fields)
    for listener in audience:
        listener.outlet.signal(frame, 1)
    reply.result({} if change.room is None else {"room": _describe(change.room, own)})


def _describe(room: Room, role: Role | None) -> Value:
    return {
        "room": room.name,
        "title": room.title,
        "public": room.public,
        "role": None if role is None else str(role),
        "members": room.members,
        "head": room.head,
    }


def _title(arguments: Arguments, default: str | None) -> str | None:
    title = arguments.optional_text("title")
    if title is not None and (len(title.encode()) > TITLE_MAX_BYTES or not title.isprintable()):
        raise RefusedError(
            ErrorCode.BAD_ARGUMENTS, f"a title has at most {TITLE_MAX_BYTES} bytes and no control characters"
        )
    return default if title is None else title


METHODS: dict[str, Method] = {
    "rooms.create": create,
    "rooms.join": join,
    "rooms.leave": leave,
    "rooms.invite": invite,
    "rooms.remove": remove,
    "rooms.ban": ban,
    "rooms.unban": unban,
    "rooms.set_role": set_role,
    "rooms.set": change,
    "rooms.list": list_rooms,
    "rooms.members": list_members,
}
