"""What waits to be sent: one bounded queue per session, written once per loop turn.

Putting bytes in only appends to a list; at the end of the loop turn each touched outbox is joined and handed to the
kernel in one call. A write watcher exists only while the kernel's buffer is full.
"""

import logging
from collections import deque
from collections.abc import Callable

from relay.protocol.limits import FRAME_MAX
from relay.router.gate import Lane
from relay.transport.connection import Transport

log = logging.getLogger("relay.session")

# Streams get at most this much of a connection in one loop turn: what is queued meanwhile for the other verbs goes
# first in the next. Half of it costs a third more CPU for each byte, for more of the kernel's calls.
_STREAMS_PER_TURN_BYTES = 256 * 1024

# So much of streams goes out at the end of the turn, as everything else. More is deferred: it takes time from others.
_PROMPT_BYTES = 16 * 1024

# What the gate lets through stays far below this. A session that has so much of streams waiting makes others send it
# what it does not read: resets, for one, which need no credit.
_STREAMS_MAX_BYTES = 32 * 1024 * 1024


class Turn:
    """The outboxes touched since the last flush, and work that can wait. `run_soon` runs a callable at the end of the
    loop turn, `run_late` (for want of it `run_soon`) in the next turn, behind everything that is ready then.
    """

    def __init__(
        self,
        run_soon: Callable[[Callable[[], None]], object],
        run_late: Callable[[Callable[[], None]], object] | None = None,
    ) -> None:
        self._run_soon = run_soon
        self._run_late = run_late or run_soon
        self._touched: list[Outbox] = []
        self._late: deque[Callable[[], None]] = deque()

    def add(self, outbox: "Outbox") -> None:
        """Flush this outbox at the end of the turn."""
        if not self._touched:
            self._run_soon(self.flush)
        self._touched.append(outbox)

    def flush(self) -> None:
        """Send what was put in; called once per turn."""
        touched, self._touched = self._touched, []
        for outbox in touched:
            try:
                outbox.flush()
            except Exception:
                log.exception("an outbox could not be flushed; the others are")

    def defer(self, work: Callable[[], None]) -> None:
        """Move much data, some 256 KiB, in a later turn: one such piece of work in each, so that nobody who has little
        to say waits for longer than that takes.
        """
        if not self._late:
            self._run_late(self._work_late)
        self._late.append(work)

    def _work_late(self) -> None:
        self.flush()
        work = self._late.popleft()
        if self._late:
            self._run_late(self._work_late)
        try:
            work()
        except Exception:
            log.exception("a piece of a stream could not be moved; the others are")


class Outbox:
    """Bytes for one session. `limit` counts queued bytes: signals above it are dropped, everything else may go up to
    twice as far (and a whole frame, or page of the log, fits into an empty outbox however low the limit); beyond that
    `on_overflow` is called, because the session leaves answers unread.

    Frames of streams wait in a queue of their own, behind everything else, and are not counted: the gate of the session
    bounds them (`relay.router.gate`).

    No method yields.
    """

    __slots__ = (
        "_chunks",
        "_connection",
        "_deferred",
        "_limit",
        "_on_drained",
        "_on_empty",
        "_on_overflow",
        "_overflow",
        "_streams",
        "_streams_bytes",
        "_turn",
        "_waiting",
        "dropped",
        "progress",
        "size",
    )

    def __init__(
        self,
        connection: Transport,
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
        self._on_empty: Callable[[], None] | None = None
        self._overflow = 2 * max(limit, FRAME_MAX)
        self._chunks: list[bytes] = []
        self._streams: deque[tuple[bytes | memoryview, Lane, int]] | None = None
        self._streams_bytes = 0
        self._deferred = False
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
        if size > self._limit and not self.has_room(len(frames)):
            self.dropped += count
            return
        self.size = size
        if not self._chunks:
            self._turn.add(self)
        self._chunks.append(frames)

    def push(self, frames: bytes) -> None:
        """Queue frames that must not be dropped. After `seal` they are thrown away."""
        if self._on_empty is not None:
            return
        self.size += len(frames)
        if not self._chunks:
            self._turn.add(self)
        self._chunks.append(frames)
        if self.size > self._overflow:
            # Much may be put in during one turn; only what the kernel does not take piles up.
            self.flush()
            if self.size > self._overflow:
                self._on_overflow()

    def stream(self, frame: bytes | memoryview, lane: Lane, size: int) -> None:
        """Queue a frame of a stream with `size` bytes of data. After `seal` it is thrown away."""
        if self._on_empty is not None:
            return
        if self._streams is None:
            self._streams = deque()
            self._connection.keep_short()
        if not self._streams and not self._chunks:
            self._turn.add(self)
        self._streams.append((frame, lane, size))
        self._streams_bytes += len(frame)
        if self._streams_bytes > 2 * self._limit + _STREAMS_MAX_BYTES:
            self._on_overflow()

    def seal(self, frames: bytes, on_empty: Callable[[], None]) -> None:
        """Queue the last frames of this connection, and call `on_empty` once everything is with the kernel."""
        self.push(frames)
        self._on_empty = on_empty
        self._limit = -1
        self._waiting = False
        self._streams = None
        self.flush()

    def has_room(self, size: int) -> bool:
        """Whether `size` more bytes stay within the bound. An empty outbox has room for any, a sealed one never."""
        return self.size + size <= self._limit or (not self.size and self._on_empty is None)

    def call_when_drained(self) -> None:
        """Call `on_drained` once the queue has fallen to half its bound: at the end of this turn at the earliest."""
        self._waiting = True

    def flush(self) -> None:
        """Hand to the kernel what it takes."""
        if self._chunks:
            self._flush_chunks()
        if self._streams and not self._chunks:
            if self._streams_bytes <= _PROMPT_BYTES:
                self._flush_streams()
            elif not self._deferred:
                self._deferred = True
                self._turn.defer(self._flush_deferred)

    def _flush_chunks(self) -> None:
        chunks = self._chunks
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        sent = self._connection.send(data)
        if sent == len(data):
            self._chunks = []
            self.size = 0
            self._connection.stop_waiting()
            if self._on_empty is not None:
                self._on_empty()
        else:
            self._chunks = [data[sent:]]
            self.size = len(data) - sent
            self._connection.wait_writable()
        self.progress = self.progress or sent > 0
        if self._waiting and self.size <= self._limit // 2:
            self._waiting = False
            self._on_drained()

    def _flush_streams(self) -> None:
        """Hand over one turn's share. A frame that the kernel takes only in part is next, whatever else comes."""
        streams, frames, share = self._streams, [], 0
        for frame, _, _ in streams or ():
            frames.append(frame)
            share += len(frame)
            if share >= _STREAMS_PER_TURN_BYTES:
                break
        sent = left = self._connection.send_pieces(frames)
        self.progress = self.progress or sent > 0
        gone = []
        while left > 0 and streams:
            frame, lane, size = streams.popleft()
            gone.append((lane, size))
            self._streams_bytes -= len(frame)
            left -= len(frame)
            if left < 0:
                self._chunks = [bytes(memoryview(frame)[left:])]
                self.size = -left
        if sent < share:
            self._connection.wait_writable()
        else:
            self._connection.stop_waiting()
            if streams:
                self._turn.add(self)
        for lane, size in gone:
            lane.handle_sent(size)

    def _flush_deferred(self) -> None:
        self._deferred = False
        if self._streams and not self._chunks:
            self._flush_streams()

    def clear(self) -> None:
        """Forget everything queued, whatever comes, and whom to tell: the connection is gone.

        An outbox and its session refer to each other, and would otherwise stay until the garbage collector comes by.
        """
        self._on_empty = self._on_drained = self._on_overflow = _nothing
        self._limit = -1
        self._chunks = []
        self._streams = None
        self.size = 0
        self._waiting = False


def _nothing() -> None:
    """What happens when the outbox of a lost connection is empty."""
