"""The end of the log that is not indexed yet, held in memory.

The thread that writes adds to it, readers of other threads look into it without a lock. That is safe because
arrays only grow at the end, a reader believes nothing above `committed_seq`, and whatever is taken out of memory was
committed to the index before: who looks into memory first and into the database afterwards misses nothing.
"""

from array import array
from bisect import bisect_right

from relay.store.sqlite.window import Window


class Run:
    """The seqs of consecutive offsets of one conversation, from offset `first` on."""

    __slots__ = ("first", "seqs")

    def __init__(self, first: int) -> None:
        self.first = first
        self.seqs = array("q")

    def add(self, seq: int, total: int) -> None:
        """Note so many messages with seqs from this one on."""
        self.seqs.extend(range(seq, seq + total))


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
