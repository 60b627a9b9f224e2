"""The window of message ids of a device: what recognises a repetition, and how it is kept in the database.

Ids and seqs are arrays of integers, 16 bytes a message, because thousands of devices may be busy at once.
"""

import struct
import sys
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence

from relay.protocol.limits import MESSAGE_WINDOW
from relay.store.sqlite.database import Database


class Window:
    """The latest message ids of one device, ascending, and the seq of each.

    The last `MESSAGE_WINDOW` count. More are held until the index has caught up. Ids need not be without gaps, and one
    that was refused may come later than higher ones.
    """

    __slots__ = ("_shuffled", "device_id", "ids", "last_id", "persisted", "seen_ms", "seqs", "whole")

    def __init__(self, device_id: int, whole: bool = True) -> None:
        self.device_id = device_id
        # False after a start: what the database knows of earlier ids was not read yet, see `complete`.
        self.whole = whole
        self.last_id = 0
        self.ids = array("q")
        self.seqs = array("q")
        self.seen_ms = 0
        # How many ids the blocks in the database hold.
        self.persisted = 0
        # Whether an id came after a higher one, so that seqs do not ascend.
        self._shuffled = False

    def insert(self, message_id: int, seq: int) -> None:
        """Note a message, unless it is there."""
        if message_id > self.last_id:
            self.last_id = message_id
            self._shuffled = self._shuffled or bool(self.seqs and seq < self.seqs[-1])
            self.ids.append(message_id)
            self.seqs.append(seq)
            return
        place = bisect_left(self.ids, message_id)
        if place == len(self.ids) or self.ids[place] != message_id:
            self.ids.insert(place, message_id)
            self.seqs.insert(place, seq)
            self._shuffled = True

    def add(self, message_id: int, seq: int, total: int) -> None:
        """Note a run of messages, the first of which is higher than all before."""
        self.last_id = message_id + total - 1
        self.ids.extend(range(message_id, message_id + total))
        self.seqs.extend(range(seq, seq + total))

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


def complete(database: Database, window: Window) -> Window:
    """Add what the database knows of the device's earlier ids. Raises apsw.Error.

    At a start this is left for later: reading it for each device that sent something lately would take seconds.
    """
    known = dict(zip(window.ids, window.seqs, strict=True))
    stored: dict[int, int] = {}
    last_id = 0
    sql = "SELECT pairs, time_ms, last_id FROM sent WHERE device_id = ?"
    for pairs, time_ms, block_last_id in database.rows(sql, (window.device_id,)):
        last_id = max(last_id, block_last_id)
        ids, seqs = decode_pairs(pairs)
        stored.update(zip(ids, seqs, strict=True))
        window.persisted += len(ids)
        window.seen_ms = max(window.seen_ms, time_ms)
    window.ids, window.seqs, window.last_id = array("q"), array("q"), 0
    for message_id, seq in sorted((stored | known).items()):
        window.insert(message_id, seq)
    # The message with the highest id may be gone, and its id with it.
    window.last_id = max(window.last_id, last_id)
    window.whole = True
    return window


def encode_pairs(ids: Sequence[int], seqs: Sequence[int]) -> bytes:
    """A block for the table `sent`."""
    return encode_integers(ids) + encode_integers(seqs)


def decode_pairs(data: bytes) -> tuple[Sequence[int], Sequence[int]]:
    """The ids and the seqs in a block."""
    numbers = decode_integers(data)
    half = len(numbers) // 2
    return numbers[:half], numbers[half:]


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
