"""What the router needs of the store: an asynchronous face whose answers come back as callbacks on the event loop.

`relay.store.worker.StoreWorker` is one; no method yields or blocks.
"""

from collections.abc import Callable
from typing import Protocol, TypeVar

from relay.store.base import Append, Reader, Store, StoreError

T = TypeVar("T")


class Log(Protocol):
    """Store operations that run on other threads."""

    def append(self, item: Append) -> bool:
        """Queue a message, or a run of them, for the disk; False if too many wait.

        The answer comes to `Conversations.handle_appended`.
        """

    def write(self, operation: Callable[[Store], T], done: Callable[[T | StoreError], None]) -> None:
        """Run an operation behind everything queued before it; `done` gets its result or its error."""

    def read(self, operation: Callable[[Reader], T], done: Callable[[T | StoreError], None]) -> None:
        """Run a read beside the writes; `done` gets its result or its error."""
