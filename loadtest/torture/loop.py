"""One event loop for hundreds of clients: descriptors, timers, and what is to be sent at the end of a turn.

Plain epoll, because the clients must cost little beside the relay that they torture on the same machine.
"""

import heapq
import itertools
import select
import time
from collections.abc import Callable
from typing import Protocol

READ = select.EPOLLIN
WRITE = select.EPOLLOUT


class Flushable(Protocol):
    """Something that gathers what it sends during a turn."""

    def flush(self) -> None: ...


class Timer:
    """A call to come; `cancel` it, and it does not."""

    __slots__ = ("callback",)

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class Loop:
    """`run` until `stop`. All callbacks run one after another in the thread that runs the loop."""

    def __init__(self) -> None:
        self._poller = select.epoll()
        self._callbacks: dict[int, Callable[[int], None]] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._numbers = itertools.count()
        self._touched: dict[Flushable, None] = {}
        self._running = False
        self.now = time.monotonic()

    def watch(self, fd: int, events: int, callback: Callable[[int], None]) -> None:
        """Call `callback(events)` when the descriptor is ready for one of `events`; again: watch for others."""
        if fd in self._callbacks:
            self._poller.modify(fd, events)
        else:
            self._poller.register(fd, events)
        self._callbacks[fd] = callback

    def forget(self, fd: int) -> None:
        """Stop watching; to be called before the descriptor is closed."""
        if self._callbacks.pop(fd, None) is not None:
            self._poller.unregister(fd)

    def later(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        """Call `callback` once after so many seconds."""
        timer = Timer(callback)
        heapq.heappush(self._timers, (time.monotonic() + delay_s, next(self._numbers), timer))
        return timer

    def touch(self, sender: Flushable) -> None:
        """Call its `flush` at the end of this turn."""
        self._touched[sender] = None

    def stop(self) -> None:
        """Let `run` return after this turn."""
        self._running = False

    def run(self) -> None:
        """Serve until `stop`."""
        self._running = True
        while self._running:
            ready = self._poller.poll(self._pause_s())
            self.now = time.monotonic()
            for fd, events in ready:
                callback = self._callbacks.get(fd)
                if callback is not None:
                    callback(events)
            while self._timers and self._timers[0][0] <= self.now:
                timer = heapq.heappop(self._timers)[2]
                if timer.callback is not None:
                    timer.callback()
            touched, self._touched = self._touched, {}
            for sender in touched:
                sender.flush()

    def close(self) -> None:
        """Release the descriptor."""
        self._poller.close()

    def _pause_s(self) -> float:
        if self._touched:
            return 0.0
        return max(0.0, min(0.1, self._timers[0][0] - time.monotonic())) if self._timers else 0.1
