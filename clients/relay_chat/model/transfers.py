"""Files on their way: how far each is, in words and as a bar."""

import time
from dataclasses import dataclass, field
from enum import Enum

from relay_chat.model.entries import size_text

BAR_CELLS = 20

# How often the screen is told about progress.
TOLD_EVERY_S = 0.1


class TransferState(Enum):
    """Where a transfer stands."""

    UNDER_WAY = "under way"
    DONE = "done"
    FAILED = "failed"


@dataclass
class Transfer:
    """One file, sent or fetched. `verb`: `sending` or `fetching`; `outcome`: what to say at its end."""

    verb: str
    size: int
    done: int = 0
    state: TransferState = TransferState.UNDER_WAY
    outcome: str = ""
    _first: tuple[float, int] | None = None  # when bytes moved first, and how many were there
    _told_at: float = field(default=0.0)

    def move(self, done: int, size: int | None, now: float) -> bool:
        """So many bytes are there. Whether it is time to show it."""
        if self._first is None:
            self._first = (now, done)
        self.done, self.size = done, self.size if size is None else size
        if now - self._told_at < TOLD_EVERY_S and done < self.size:
            return False
        self._told_at = now
        return True

    def end(self, outcome: str, failed: bool = False) -> None:
        """It is over."""
        self.state = TransferState.FAILED if failed else TransferState.DONE
        self.outcome = outcome

    def text(self, now: float | None = None) -> str:
        """A line about it."""
        if self.state is not TransferState.UNDER_WAY:
            return self.outcome
        share = min(1.0, self.done / self.size) if self.size else 0.0
        filled = round(share * BAR_CELLS)
        bar = "━" * filled + "─" * (BAR_CELLS - filled)
        return f"{bar} {share:4.0%}  {self.verb}{self._pace(time.monotonic() if now is None else now)}"

    def _pace(self, now: float) -> str:
        if self._first is None or now - self._first[0] < 0.5:
            return ""
        return f", {size_text(round((self.done - self._first[1]) / (now - self._first[0])))}/s"
