"""The books of one user: what she sent and was acknowledged, what she received, and whether that was in order.

A stream is everything of one kind from one sender to one receiver; its numbers count from 1. A conversation is what
the relay orders, with contiguous offsets: both directions between two users, or a room.

A peer is who a stream goes to: the number of a user, or `room_peer` of a room. What arrives is kept by `stream_key`:
its sender, and the room it came through if it did.
"""

from collections.abc import Iterable
from enum import Enum
from typing import Any

from loadtest.books.stamp import Stamp
from loadtest.books.tally import Tally

_ROOM_SHIFT = 32


def room_peer(room: int) -> int:
    """A room (0, 1, ...) as a peer; users are 0 and above, rooms below."""
    return -1 - room


def stream_key(sender: int, room: int | None) -> int:
    """Whose stream something belongs to, as its receiver sees it."""
    return sender if room is None else (room + 1) << _ROOM_SHIFT | sender


def split_key(key: int, receiver: int) -> tuple[int, int]:
    """(sender, peer) of a stream that `receiver` keeps under `key`."""
    room = key >> _ROOM_SHIFT
    return key & ((1 << _ROOM_SHIFT) - 1), -room if room else receiver


class Numbers:
    """A set of numbers as ascending ranges; adding the next one costs nothing."""

    __slots__ = ("_ranges",)

    def __init__(self, ranges: Iterable[Iterable[int]] = ()) -> None:
        self._ranges: list[list[int]] = [list(each) for each in ranges]

    def __repr__(self) -> str:
        return f"<Numbers {', '.join(f'{first}-{last}' for first, last in self._ranges)}>"

    def __len__(self) -> int:
        return sum(last - first + 1 for first, last in self._ranges)

    def __contains__(self, number: int) -> bool:
        return any(first <= number <= last for first, last in reversed(self._ranges))

    @property
    def highest(self) -> int:
        """The highest number; 0 if there is none."""
        return self._ranges[-1][1] if self._ranges else 0

    def add(self, number: int) -> None:
        """Add a number that is not in yet."""
        if self._ranges and number == self._ranges[-1][1] + 1:
            self._ranges[-1][1] = number
        elif number > self.highest:
            self._ranges.append([number, number])
        else:
            self._rebuild({*self, number})

    def __iter__(self) -> Any:
        for first, last in self._ranges:
            yield from range(first, last + 1)

    def minus(self, other: "Numbers") -> list[int]:
        """The numbers that are here and not in the other."""
        if self._ranges == other._ranges:
            return []
        return sorted(set(self) - set(other))

    def to_plain(self) -> list[list[int]]:
        """For msgpack."""
        return self._ranges

    def _rebuild(self, numbers: set[int]) -> None:
        self._ranges = []
        for number in sorted(numbers):
            self.add(number)


class Place(Enum):
    """What an offset is, measured by what arrived before."""

    NEXT = "the next one"
    AGAIN = "known from an earlier connection, or from its own STORED"
    TWICE = "delivered before on the same connection"
    AHEAD = "something before it is missing"


class Conversation:
    """Where one user stands in one conversation. See docs/protocol.md on cursors."""

    __slots__ = ("_delivered", "_known", "_own_ahead", "cursor")

    def __init__(self) -> None:
        self.cursor = 0
        # The highest offset of a DELIVERY on this connection, and what was known when the connection began.
        self._delivered = 0
        self._known = 0
        self._own_ahead: set[int] = set()

    def arrive(self, offset: int, own: bool) -> Place:
        """A DELIVERY came. Moves the cursor, over a hole too, so that one hole is reported once."""
        if offset <= self._delivered:
            return Place.TWICE
        self._delivered = offset
        if offset <= self.cursor:
            return Place.AGAIN if own or offset <= self._known else Place.TWICE
        place = Place.NEXT if offset == self.cursor + 1 else Place.AHEAD
        self._move(offset)
        return place

    def stored(self, offset: int) -> None:
        """An own message got this offset. A conversation that is read from the log is not there yet."""
        if offset == self.cursor + 1:
            self._move(offset)
        elif offset > self.cursor:
            self._own_ahead.add(offset)

    def reconnected(self) -> None:
        """A new connection begins: the relay may offer again what we have."""
        self._known = self.cursor
        self._delivered = 0

    def _move(self, offset: int) -> None:
        self.cursor = offset
        while self.cursor + 1 in self._own_ahead:
            self.cursor += 1
            self._own_ahead.remove(self.cursor)


class Books:
    """One user's ledger. `tally` is shared by everybody in the process."""

    __slots__ = (
        "_tally",
        "conversations",
        "messages_acked",
        "messages_in",
        "messages_sent",
        "signals_in",
        "signals_sent",
    )

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self.conversations: dict[str, Conversation] = {}
        self.messages_sent: dict[int, int] = {}
        self.messages_acked: dict[int, Numbers] = {}
        self.messages_in: dict[int, Numbers] = {}
        self.signals_sent: dict[int, int] = {}
        self.signals_in: dict[int, Numbers] = {}

    def conversation(self, name: str) -> Conversation:
        """The conversation of that name."""
        found = self.conversations.get(name)
        if found is None:
            found = self.conversations[name] = Conversation()
        return found

    def send_message(self, peer: int) -> int:
        """The number of a new message."""
        self._tally["messages_sent"] += 1
        number = self.messages_sent[peer] = self.messages_sent.get(peer, 0) + 1
        return number

    def send_signal(self, peer: int, receivers: int) -> int:
        """The number of a new signal that so many users are to receive."""
        self._tally["signals_sent"] += 1
        self._tally["signals_expected"] += receivers
        number = self.signals_sent[peer] = self.signals_sent.get(peer, 0) + 1
        return number

    def message_stored(self, peer: int, number: int, receivers: int) -> None:
        """The relay has acknowledged a message that so many users are to receive."""
        self._tally["messages_stored"] += 1
        self._tally["messages_expected"] += receivers
        _numbers(self.messages_acked, peer).add(number)

    def message_arrived(self, place: Place, own: bool, stamp: Stamp | None, room: int | None = None) -> bool:
        """A DELIVERY came; `own` if it is this session's message. Whether it is somebody else's and new."""
        if place is Place.AHEAD:
            self._tally["messages_skipped"] += 1
        if stamp is None:
            self._tally["messages_corrupted"] += 1
        if own or stamp is None:
            return False
        received = _numbers(self.messages_in, stream_key(stamp.sender, room))
        known = stamp.number in received
        if place is Place.AGAIN:
            # What is offered again under an offset has to be what it was.
            self._tally["messages_redelivered" if known else "messages_corrupted"] += 1
        elif known:
            self._tally["messages_duplicated"] += 1
        else:
            self._take(received, stamp.number, "messages")
            return True
        return False

    def signal_arrived(self, stamp: Stamp | None, room: int | None = None) -> bool:
        """A SIGNAL came. Whether it is as it should be."""
        if stamp is None:
            self._tally["signals_corrupted"] += 1
            return False
        received = _numbers(self.signals_in, stream_key(stamp.sender, room))
        if stamp.number in received:
            self._tally["signals_duplicated"] += 1
            return False
        self._take(received, stamp.number, "signals")
        return True

    def reconnected(self) -> None:
        """A new connection begins."""
        for conversation in self.conversations.values():
            conversation.reconnected()

    def to_plain(self) -> dict[str, Any]:
        """What `settle` needs, for msgpack."""
        return {
            "messages_sent": self.messages_sent,
            "messages_acked": {peer: numbers.to_plain() for peer, numbers in self.messages_acked.items()},
            "messages_in": {peer: numbers.to_plain() for peer, numbers in self.messages_in.items()},
            "signals_sent": self.signals_sent,
            "signals_in": {peer: numbers.to_plain() for peer, numbers in self.signals_in.items()},
        }

    def _take(self, received: Numbers, number: int, kind: str) -> None:
        if number < received.highest:
            self._tally[f"{kind}_reordered"] += 1
        received.add(number)
        self._tally[f"{kind}_received"] += 1


def _numbers(streams: dict[int, Numbers], key: int) -> Numbers:
    numbers = streams.get(key)
    if numbers is None:
        numbers = streams[key] = Numbers()
    return numbers
