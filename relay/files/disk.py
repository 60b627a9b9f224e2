"""The threads that wait for the disk of contents, so that the event loop never does."""

from collections.abc import Callable
from typing import Generic, ParamSpec, TypeVar

from gevent.event import AsyncResult
from gevent.threadpool import ThreadPool

P = ParamSpec("P")
T = TypeVar("T")

# Each works on one chunk at a time. More would only compete for the same disk, and for the interpreter.
THREADS = 4


class Pending(Generic[T]):
    """An operation that a thread works on. Both methods yield until it is over."""

    def __init__(self, result: AsyncResult) -> None:
        self._result = result

    def get(self) -> T:
        """What it returned, or raises what it raised."""
        value, error = self._result.get()
        if error is not None:
            raise error
        return value  # type: ignore[no-any-return]

    def wait(self) -> None:
        """Let it come to its end."""
        self._result.wait()


class Disk:
    """A small pool of native threads. Made on the event loop's thread, and closed there."""

    def __init__(self, threads: int = THREADS) -> None:
        self._pool = ThreadPool(threads)

    def run(self, operation: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """What the operation returns, or raises. Yields; other greenlets run meanwhile."""
        return self.start(operation, *arguments, **named).get()

    def start(self, operation: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> Pending[T]:
        """Begin an operation whose result is asked for later. Yields while all threads are busy."""

        def attempt() -> tuple[T | None, Exception | None]:
            try:
                return operation(*arguments, **named), None
            except Exception as error:
                return None, error

        return Pending(self._pool.spawn(attempt))

    def close(self) -> None:
        """End the threads, once they have done what they were asked for. Yields."""
        self._pool.join()
        self._pool.kill()
