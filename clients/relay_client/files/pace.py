"""How a transfer goes on after a cut: what passes, how long to wait for it, and whom to tell of progress."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from relay.protocol.codes import ErrorCode
from relay_client.errors import ConnectionLost, NotConnected, RelayError, StreamReset, TimedOut
from relay_client.files.effects import Pause, Work

log = logging.getLogger("relay_client")

T = TypeVar("T")

Progress = Callable[[int, int | None], object]

# Without progress on a connection that is there. A dead connection is noticed long before, by its own ends; here the
# program at the other end hangs, or hashes what it has of a very large file.
STALL_S = 600.0

SHORTEST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 2.0


class Pace:
    """`patience_s`: how long to try without any progress; None for ever. `progress(done, size)` is told in bytes."""

    def __init__(self, patience_s: float | None, progress: Progress | None = None) -> None:
        self._patience_s = patience_s
        self._progress = progress
        self._moved_at = time.monotonic()
        self._pause_s = SHORTEST_PAUSE_S
        self._furthest = -1
        self.begun = False

    def report(self, done: int, size: int | None) -> None:
        """So much of it is there."""
        if self._progress is not None:
            self._progress(done, size)

    def moved(self, position: int) -> None:
        """Something happened there; it is progress if nothing has happened so far in the file before."""
        self.begun = True
        if position > self._furthest:
            self._furthest = position
            self._moved_at = time.monotonic()
            self._pause_s = SHORTEST_PAUSE_S

    def persist(self, attempt: Callable[[], Work[T]]) -> Work[T]:
        """Attempt it until it works, or fails for a reason that does not pass."""
        while True:
            try:
                return (yield from attempt())
            except RelayError as error:
                if not self.passes(error) or self._is_over():
                    raise
                if self._pause_s == SHORTEST_PAUSE_S:
                    log.warning("a transfer was interrupted, and goes on as soon as it can: %s", error)
            yield Pause(self._pause_s)
            self._pause_s = min(LONGEST_PAUSE_S, 2 * self._pause_s)

    def passes(self, error: RelayError) -> bool:
        """Whether the same may work later. That the other end is not there passes if it was there before."""
        if isinstance(error, StreamReset):
            absent = error.code in (ErrorCode.NO_SUCH_SESSION, ErrorCode.NO_SUCH_SERVICE)
            return 300 <= error.code < 400 or (absent and self.begun)
        return isinstance(error, ConnectionLost | NotConnected | TimedOut)

    def _is_over(self) -> bool:
        return self._patience_s is not None and time.monotonic() - self._moved_at >= self._patience_s
