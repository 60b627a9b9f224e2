"""A request whose outcome is not known yet."""

from collections.abc import Callable
from typing import Generic, TypeVar

from relay_client.errors import RelayError

T = TypeVar("T")


class Pending(Generic[T]):
    """Settled exactly once, with a value or an error; later settlements are ignored.

    `on_done` is called at that moment, by whoever settles it. `id` is the packet's id, where it has one.
    """

    __slots__ = ("_error", "_value", "done", "id", "on_done")

    def __init__(self, identifier: int = 0) -> None:
        self.id = identifier
        self.done = False
        self.on_done: Callable[[], None] | None = None
        self._value: T | None = None
        self._error: RelayError | None = None

    def settle(self, value: T) -> None:
        """It worked."""
        if not self.done:
            self._value = value
            self._finish()

    def fail(self, error: RelayError) -> None:
        """It did not."""
        if not self.done:
            self._error = error
            self._finish()

    def result(self) -> T:
        """The value; raises the error. Only when `done`."""
        assert self.done
        if self._error is not None:
            raise self._error.with_traceback(None)
        return self._value  # type: ignore[return-value]

    @property
    def error(self) -> RelayError | None:
        """The error, if it failed."""
        return self._error

    def _finish(self) -> None:
        self.done = True
        if self.on_done is not None:
            self.on_done()
