"""A conversation as a person sees it: with whom, how much is unread, who types, how far the others are."""

from collections import deque
from collections.abc import Mapping

from relay_client.fate import Progress

from relay_chat.model.clean import clean_line
from relay_chat.model.entries import Entry, Mark
from relay_chat.model.timeline import Timeline

# A signal that somebody is typing counts for this long; writers say it again more often.
TYPING_S = 6.0
TYPERS_MAX = 20

# Own messages that are known to stand behind what was read; beyond that they count as unread.
_OWN_MAX = 1000


class Conversation:
    """`name` is the relay's (`#ops`, `alice@bob`), `address` where to send to (`#ops`, `bob`).

    `role` is one's own in a room (`invited`: not inside yet), None for a direct conversation or a room one has left.
    """

    def __init__(self, name: str, me: str) -> None:
        self.name = name
        self.me = me
        self.is_room = name.startswith("#")
        self.address = name if self.is_room else peer_of(name, me)
        self.title = ""
        self.role: str | None = None
        self.members = 0
        self.head = 0
        self.first = 1
        self.read = 0
        self.last_at = 0.0  # when something happened last, seconds since 1970: the order in the list
        self.timeline = Timeline()
        self.waiting: list[Entry] = []
        self.new_from: int | None = None  # where the line "new" is drawn
        self.draft = ""
        self.people: dict[str, Progress] = {}
        self.member_names: tuple[str, ...] = ()
        self._typing: dict[str, float] = {}
        self._own: deque[int] = deque(maxlen=_OWN_MAX)

    @property
    def label(self) -> str:
        """Its name in lists, cleaned."""
        if not self.is_room and self.address == self.me:
            return f"{clean_line(self.me)} (notes)"
        return clean_line(self.address)

    @property
    def is_invitation(self) -> bool:
        """Whether one was invited and is not inside."""
        return self.role == "invited"

    @property
    def unread(self) -> int:
        """How many messages of others stand behind what was read."""
        floor = max(self.read, self.first - 1)
        return max(0, self.head - floor - sum(1 for offset in self._own if offset > floor))

    def reached(self, offset: int, time_s: float) -> None:
        """The conversation has grown to here."""
        self.head = max(self.head, offset)
        self.last_at = max(self.last_at, time_s)

    def own_at(self, offset: int) -> None:
        """The message at this offset is one's own: it is not unread."""
        if offset > self.read and offset not in self._own:
            self._own.append(offset)

    def read_to(self, offset: int) -> bool:
        """Somebody sitting at one of the own devices has read up to here. Whether that is new."""
        if offset <= self.read:
            return False
        self.read = offset
        while self._own and self._own[0] <= offset:
            self._own.popleft()
        return True

    def begin_anew(self) -> None:
        """The relay's log is another than before: nothing that was known of offsets holds."""
        self.head = self.read = 0
        self.timeline = Timeline()
        self.new_from = None
        self.people = {}
        self._own.clear()

    # Who is typing.

    def typed(self, user: str, now: float) -> None:
        """Somebody else is typing here, now."""
        if len(self._typing) < TYPERS_MAX or user in self._typing:
            self._typing[user] = now + TYPING_S

    def stopped_typing(self, user: str) -> None:
        """She has sent what she typed."""
        self._typing.pop(user, None)

    def typers(self, now: float) -> list[str]:
        """Who is typing, by name."""
        self._typing = {user: until for user, until in self._typing.items() if until > now}
        return sorted(self._typing)

    # What became of own messages.

    def moved(self, user: str, devices: Mapping[str, int], read: int | None) -> None:
        """Somebody is further than before."""
        self.people.setdefault(user, Progress()).move(devices, read or 0)

    def mark(self, entry: Entry) -> Mark:
        """How far an own message is."""
        if not entry.mine:
            return Mark.NONE
        if entry.error:
            return Mark.FAILED
        if entry.offset is None:
            return Mark.QUEUED
        others = [progress for user, progress in self.people.items() if user != self.me]
        if any(progress.read >= entry.offset for progress in others):
            return Mark.READ
        if any(at >= entry.offset for progress in others for at in progress.devices.values()):
            return Mark.DELIVERED
        return Mark.STORED

    def readers(self, offset: int) -> int:
        """How many others have read a message."""
        return sum(1 for user, progress in self.people.items() if user != self.me and progress.read >= offset)


def peer_of(name: str, me: str) -> str:
    """Who is at the other end of a direct conversation; oneself for notes."""
    first, _, second = name.partition("@")
    return second if first == me else first
