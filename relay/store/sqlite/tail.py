"""The end of the log that is not indexed yet, held in memory, and the window of message ids of each device.

The thread that writes adds to it, readers of other threads look into it without a lock. That is safe because
arrays only grow at the end, a reader believes nothing above `committed_seq`, and whatever is taken out of memory was
committed to the index before: who looks into memory first and into the database afterwards misses nothing.
"""

import struct
import sys
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence

from relay.protocol.limits import MESSAGE_WINDOW


class Run:
    """The seqs of consecutive offsets of one conversation, from offset `first` on."""

    __slots__ = ("first", "seqs")

    def __init__(self, first: int) -> None:
        self.first = first
        self.seqs = array("q")


class Window:
    """The latest message ids of one device, ascending, and the seq of each.

    The last `MESSAGE_WINDOW` count. More are held until the index has caught up. Ids need not be without gaps, and one
    that was refused may come later than higher ones.
    """

    __slots__ = ("_shuffled", "device_id", "ids", "last_id", "persisted", "seen_ms", "seqs")

    def __init__(self, device_id: int) -> None:
        self.device_id = device_id
        self.last_id = 0
        self.ids = array("q")
        self.seqs = array("q")
        self.seen_ms = 0
        # How many ids the blocks in the database hold.
        self.persisted = 0
        # Whether an id came after a higher one, so that seqs do not ascend.
        self._shuffled = False

    def insert(self, message_id: int, seq: int) -> None:
        """Note a message. In order this costs two appends; the log has them inline."""
        if message_id > self.last_id:
            self.last_id = message_id
            self._shuffled = self._shuffled or bool(self.seqs and seq < self.seqs[-1])
            self.ids.append(message_id)
            self.seqs.append(seq)
            return
        place = bisect_left(self.ids, message_id)
        if self.ids[place] != message_id:
            self.ids.insert(place, message_id)
            self.seqs.insert(place, seq)
            self._shuffled = True

    def find(self, message_id: int) -> int | None:
        """The seq of the message, or None if it is not in the window."""
        place = bisect_left(self.ids, message_id)
        known = place < len(self.ids) and self.ids[place] == message_id and place >= len(self.ids) - MESSAGE_WINDOW
        return self.seqs[place] if known else None

    def is_past(self, message_id: int) -> bool:
        """Whether an id that is not in the window lies below it."""
        return len(self.ids) >= MESSAGE_WINDOW and message_id < self.ids[-MESSAGE_WINDOW]

    def trim(self) -> None:
        """Let go of the ids that do not count any more."""
        del self.ids[:-MESSAGE_WINDOW]
        del self.seqs[:-MESSAGE_WINDOW]

    def between(self, above: int, up_to: int) -> tuple[Sequence[int], Sequence[int]]:
        """The ids, and the seqs, of the messages with `above` < seq <= `up_to`, by id."""
        if not self._shuffled:
            part = slice(bisect_right(self.seqs, above), bisect_right(self.seqs, up_to))
            return self.ids[part], self.seqs[part]
        places = [place for place, seq in enumerate(self.seqs) if above < seq <= up_to]
        return [self.ids[place] for place in places], [self.seqs[place] for place in places]


class Tail:
    """What was appended after seq `start`: runs by conversation id, windows by device id."""

    __slots__ = ("runs", "start", "windows")

    def __init__(self, start: int) -> None:
        self.start = start
        self.runs: dict[int, Run] = {}
        self.windows: dict[int, Window] = {}


class Unindexed:
    """All that is not indexed yet: the tail that grows, and before it the one that is being indexed.

    Shared with readers of other threads. They must read `committed_seq` before `tails`.
    """

    __slots__ = ("committed_seq", "tails")

    def __init__(self) -> None:
        self.committed_seq = 0
        self.tails: tuple[Tail, ...] = ()

    def snapshot(self) -> "Unindexed":
        """What is here and committed now; it stays so."""
        copy = Unindexed()
        copy.committed_seq = self.committed_seq
        copy.tails = self.tails
        return copy

    def head(self, conversation_id: int) -> int | None:
        """The last committed offset of the conversation, or None if it has no message here."""
        committed = self.committed_seq
        for tail in reversed(self.tails):
            run = tail.runs.get(conversation_id)
            if run and (count := bisect_right(run.seqs, committed)):
                return run.first + count - 1
        return None

    def after(self, conversation_id: int, offset: int, limit: int) -> tuple[int, list[int]] | None:
        """The first offset held here, and up to `limit` seqs of the offsets above `offset` that are committed.

        None if the conversation has no message here.
        """
        committed = self.committed_seq
        first = 0
        seqs: list[int] = []
        for tail in self.tails:
            run = tail.runs.get(conversation_id)
            if run is None or not (count := bisect_right(run.seqs, committed)):
                continue
            first = first or run.first
            begin = max(0, offset + 1 - run.first)
            seqs += run.seqs[begin : min(count, begin + limit - len(seqs))]
        return (first, seqs) if first else None

    def window(self, device_id: int) -> Window | None:
        """The window of a device that sent something lately."""
        for tail in self.tails:
            if device_id in tail.windows:
                return tail.windows[device_id]
        return None


def encode_integers(values: Iterable[int]) -> bytes:
    """8 bytes each, little-endian."""
    numbers = values if isinstance(values, array) else array("q", values)
    if sys.byteorder == "big":
        numbers = array("q", numbers)
        numbers.byteswap()
    return numbers.tobytes()


def decode_integers(data: bytes) -> Sequence[int]:
    """The integers in `data`; see `encode_integers`."""
    return struct.unpack(f"<{len(data) // 8}q", data)
