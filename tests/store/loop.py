"""An event loop for tests of the worker: what is posted to it runs when the test says so, in the test's thread."""

from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

# Only a defect makes a test wait so long.
DEADLINE_S = 20


class Loop:
    """A queue of posted callables."""

    def __init__(self) -> None:
        self._posted: SimpleQueue[Callable[[], None]] = SimpleQueue()

    def post(self, task: Callable[[], None]) -> None:
        self._posted.put(task)

    def run_until(self, happened: Callable[[], Any]) -> None:
        """Run what is posted until something has happened. Raises queue.Empty if it does not."""
        while not happened():
            self._posted.get(timeout=DEADLINE_S)()

    def run_one(self) -> None:
        self._posted.get(timeout=DEADLINE_S)()

    def ask(self, start: Callable[[Callable[[Any], None]], None]) -> Any:
        """Start an operation that reports to a callback and wait for its outcome."""
        outcomes: list[Any] = []
        start(outcomes.append)
        self.run_until(lambda: outcomes)
        return outcomes[0]
