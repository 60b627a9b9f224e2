"""The part of a conversation that is in memory: a run of messages without holes, bounded, that grows at either end.

While it reaches the newest message it follows what comes. Scrolling far back drops the newest from memory, and
scrolling forwards again the oldest; the relay has them all.
"""

from collections.abc import Iterable

from relay_chat.model.entries import Entry

# Messages in memory for a conversation, and those of one request.
WINDOW_MAX = 1000
PAGE = 100

# Messages that came before one in front of them: the relay sends in order, tasks may not run in order.
_AHEAD_MAX = 1000


class Timeline:
    """Messages by ascending offset. `loaded`: whether it has ever been filled. `following`: whether what comes next is
    appended. `complete`: whether nothing older is kept by the relay."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.loaded = False
        self.following = False
        self.complete = False
        self._ahead: dict[int, Entry] = {}
        self._end = 0  # the last offset in memory, or in front of which it begins

    @property
    def low(self) -> int:
        """The first offset in memory; one behind the last if there is none."""
        return self.entries[0].offset or 0 if self.entries else self._end + 1

    @property
    def high(self) -> int:
        """The last offset in memory."""
        return self._end

    @property
    def has_hole(self) -> bool:
        """Whether something came that does not join up yet."""
        return bool(self._ahead)

    def show(self, entries: Iterable[Entry], first: int, head: int) -> None:
        """Begin anew with these, out of a conversation that the relay keeps from `first` to `head`."""
        self.entries = list(entries)
        self._end = self.entries[-1].offset or head if self.entries else head
        self.loaded = True
        self.complete = not self.entries or self.low <= first
        self._join()
        self.following = self._end >= head
        if not self.following:
            self._ahead.clear()

    def add(self, entry: Entry) -> bool:
        """A message that has just come. Whether it is shown now; later, if one in front of it has not come yet."""
        offset = entry.offset or 0
        if not self.following or offset <= self._end:
            return False
        if len(self._ahead) < _AHEAD_MAX:
            self._ahead[offset] = entry
        before = self._end
        self._join()
        return self._end > before

    def add_older(self, entries: list[Entry], first: int) -> None:
        """A page from just before the window. Drops what is newest beyond the bound."""
        fitting = [entry for entry in entries if (entry.offset or 0) < self.low]
        self.entries[:0] = fitting
        self.complete = not fitting or self.low <= first
        if len(self.entries) > WINDOW_MAX:
            del self.entries[WINDOW_MAX:]
            self._end = self.entries[-1].offset or 0
            self.following = False
            self._ahead.clear()

    def add_newer(self, entries: list[Entry], head: int) -> None:
        """A page from just behind the window. Drops what is oldest beyond the bound."""
        self.entries += [entry for entry in entries if (entry.offset or 0) > self._end]
        self._end = max(self._end, self.entries[-1].offset or 0) if entries else head
        self._join()
        self.following = self._end >= head
        if not self.following:
            self._ahead.clear()

    def _join(self) -> None:
        for offset in sorted(self._ahead):
            if offset <= self._end:
                del self._ahead[offset]
            elif offset == self._end + 1:
                self.entries.append(self._ahead.pop(offset))
                self._end = offset
        surplus = len(self.entries) - WINDOW_MAX
        if surplus > 0:
            del self.entries[:surplus]
            self.complete = False

    def index_of(self, offset: int) -> int | None:
        """Where a message is in `entries`."""
        low, high = 0, len(self.entries)
        while low < high:
            middle = (low + high) // 2
            if (self.entries[middle].offset or 0) < offset:
                low = middle + 1
            else:
                high = middle
        found = low < len(self.entries) and self.entries[low].offset == offset
        return low if found else None
