"""What waits to be sent: one bounded queue per session, written once per loop turn.

Putting bytes in only appends to a list; at the end of the loop turn each touched outbox is joined and handed to the
kernel in one call. A write watcher exists only while the kernel's buffer is full.
"""

from collections.abc import Callable

from relay.transport.connection import Connection


class Turn:
    """The outboxes touched since the last flush. `run_soon` runs a callable at the end of the loop turn."""

    def __init__(self, run_soon: Callable[[Callable[[], None]], object]) -> None:
        self._run_soon = run_soon
        self._touched: list[Outbox] = []

    def add(self, outbox: "Outbox") -> None:
        """Flush this outbox at the end of the turn."""
        if not self._touched:
            self._run_soon(self.flush)
        self._touched.append(outbox)

    def flush(self) -> None:
        """Send what was put in; called once per turn."""
        touched, self._touched = self._touched, []
        for outbox in touched:
            outbox.flush()


class Outbox:
    """Bytes for one session. `limit` counts queued bytes: signals above it are dropped, everything else may go up to
    twice as far; beyond that `on_overflow` is called, because the session leaves answers unread.

    No method yields.
    """

    __slots__ = (
        "_chunks",
        "_connection",
        "_limit",
        "_on_drained",
        "_on_overflow",
        "_turn",
        "_waiting",
        "dropped",
        "progress",
        "size",
    )

    def __init__(
        self,
        connection: Connection,
        turn: Turn,
        limit: int,
        on_drained: Callable[[], None],
        on_overflow: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._turn = turn
        self._limit = limit
        self._on_drained = on_drained
        self._on_overflow = on_overflow
        self._chunks: list[bytes] = []
        self._waiting = False
        # Bytes queued, signals dropped, and whether the kernel took anything since somebody last set it to False.
        self.size = 0
        self.dropped = 0
        self.progress = False

    def __repr__(self) -> str:
        return f"<Outbox: {self.size} bytes queued, {self.dropped} signals dropped>"

    def signal(self, frames: bytes, count: int) -> None:
        """Queue `count` frames of signals, or drop them if they would exceed the bound."""
        size = self.size + len(frames)
        if size > self._limit:
            self.dropped += count
            return
        self.size = size
        if not self._chunks:
            self._turn.add(self)
        self._chunks.append(frames)

    def push(self, frames: bytes) -> None:
        """Queue frames that must not be dropped."""
        self.size += len(frames)
        if not self._chunks:
            self._turn.add(self)
        self._chunks.append(frames)
        if self.size > 2 * self._limit:
            self._on_overflow()

    def has_room(self, size: int) -> bool:
        """Whether `size` more bytes stay within the bound."""
        return self.size + size <= self._limit

    def call_when_drained(self) -> None:
        """Call `on_drained` once the queue has fallen to half its bound: at the end of this turn at the earliest."""
        self._waiting = True

    def flush(self) -> None:
        """Hand to the kernel what it takes."""
        chunks = self._chunks
        if not chunks:
            return
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        sent = self._connection.send(data)
        if sent == len(data):
            self._chunks = []
            self.size = 0
            self._connection.stop_waiting()
        else:
            self._chunks = [data[sent:]]
            self.size = len(data) - sent
            self._connection.wait_writable()
        self.progress = self.progress or sent > 0
        if self._waiting and self.size <= self._limit // 2:
            self._waiting = False
            self._on_drained()

    def clear(self) -> None:
        """Forget everything queued: the connection is gone."""
        self._chunks = []
        self.size = 0
        self._waiting = False
