"""Between gevent's event loop and the store's native threads: callables one way, waiting greenlets the other."""

import logging
from collections import deque
from collections.abc import Callable
from typing import TypeVar

import gevent
from gevent.hub import Waiter

T = TypeVar("T")

log = logging.getLogger("relay")


class HubPost:
    """Runs callables on the event loop for other threads. `post` may be called from any thread and never blocks."""

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], None]] = deque()
        self._wakeup = gevent.get_hub().loop.async_()
        self._wakeup.start(self._run)

    def post(self, task: Callable[[], None]) -> None:
        """Have the event loop call `task` soon, in the order of posting. If one raises, that is logged."""
        self._waiting.append(task)
        self._wakeup.send()

    def close(self) -> None:
        """Let the loop forget about this object."""
        self._wakeup.stop()
        self._wakeup.close()

    def _run(self) -> None:
        while self._waiting:
            task = self._waiting.popleft()
            try:
                task()
            except Exception:
                log.exception("an answer of the store could not be handled")


def wait_for(start: Callable[[Callable[[T], None]], None]) -> T:
    """Start an operation that reports to a callback on the event loop, and let this greenlet wait for it. Yields.

    The greenlet goes on inside that callback, without another turn of the loop; so nothing may depend on what comes
    behind the call of `done`.
    """
    waiter: Waiter = Waiter()
    start(waiter.switch)
    result: T = waiter.get()
    return result
