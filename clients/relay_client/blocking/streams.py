"""Streams of the blocking client: what waits."""

import time
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from relay.protocol.codes import ErrorCode
from relay.protocol.payloads import Value
from relay_client.blocking.pump import Pump
from relay_client.core import Phase
from relay_client.core.streams import StreamEnd, StreamState
from relay_client.errors import stream_reset
from relay_client.sentences import UNSENT_MAX_BYTES
from relay_client.shell import remaining_s
from relay_client.streams import GRACE_S, ShellStream, open_timeout_s

Buffer = bytes | bytearray | memoryview


class Stream(ShellStream):
    """One end of a stream, like a file: `read`, `write`, `close`, `for chunk in stream`, `with stream`.

    Reading and writing raise StreamReset, ConnectionLost, TimedOut after `timeout` seconds, StreamClosed, or what ended
    the client. What came before a reset can still be read with `read1`. One thread may read while another writes.
    A `with` block that is left by an exception resets the stream (CANCELLED, or the code of a MethodError).
    """

    def __init__(self, end: StreamEnd, pump: Pump) -> None:
        super().__init__(end, lambda: pump)
        self._pump = pump

    def read(self, n: int | None = -1) -> bytes:
        """Exactly `n` bytes, fewer only at the end; without `n` everything up to the end. If it raises, nothing of
        what came is lost."""
        missing = -1 if n is None else n
        parts: list[bytes] = []
        try:
            while missing and (part := self.read1(missing)):
                parts.append(part)
                missing -= len(part) if missing > 0 else 0
        except BaseException:
            with self._pump:
                self._end.put_back(b"".join(parts))
            raise
        return b"".join(parts)

    def read1(self, n: int = -1) -> bytes:
        """What is there, at least one byte and at most `n`; waits for the first. Empty at the end."""
        if n == 0:
            return b""
        self._accept_first()
        with self._pump:
            if not self._pump.changed.wait_for(lambda: self._end.may_take, self.timeout):
                raise self._silent("sent nothing")
            return self._end.take(n if n > 0 else None)

    def readinto(self, buffer: bytearray | memoryview) -> int:
        """As `read1`, into a buffer. Returns how many bytes; 0 at the end."""
        view = memoryview(buffer).cast("B")
        part = self.read1(len(view))
        view[: len(part)] = part
        return len(part)

    def write(self, data: Buffer) -> int:
        """Send all of it, as the other end takes it, and return how many bytes that is. If it raises, a part may have
        been sent."""
        self._accept_first()
        view = memoryview(data).cast("B")
        sent = 0
        while sent < len(view):
            with self._pump:
                if not self._pump.changed.wait_for(self._may_write, self.timeout):
                    raise self._silent(f"took {sent} of {len(view)} bytes, and no more")
                sent += self._end.write(view[sent:])
        return sent

    def wait_over(self) -> None:
        """Wait until the stream is over: both ends have finished. Raises why if it ended otherwise."""
        with self._pump:
            self._pump.changed.wait_for(lambda: self._end.state is StreamState.OVER)
            if self._end.error is not None:
                raise self._end.error.with_traceback(None)

    def __iter__(self) -> Iterator[bytes]:
        while chunk := self.read1():
            yield chunk

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._quit(error)

    def _may_write(self) -> bool:
        over = self._end.state is StreamState.OVER
        return over or (self._end.may_write and self._pump.unsent_bytes < UNSENT_MAX_BYTES)

    def _accept_first(self) -> None:
        if self._end.state is StreamState.OFFERED:
            self.accept()


class Streams:
    """`me.streams`."""

    def __init__(self, pump: Pump, timeout_s: float) -> None:
        self._pump = pump
        self._timeout_s = timeout_s

    def open(self, to: str, service: str, data: Value = None, *, timeout: float | None = None) -> Stream:
        """Open a stream to a service of a user (one of the sessions that offer it) or of one session. `data` is for its
        handler: `stream.opening`. Waits at most `timeout` seconds, up to 60, for it to be accepted.

        Raises StreamReset (NO_SUCH_SERVICE, NO_SUCH_SESSION, or why the handler refused), StreamTimedOut, NotConnected,
        ConnectionLost, BadAddress, BadValue, or what ended the client.
        """
        timeout_s = open_timeout_s(timeout, self._timeout_s)
        deadline_at = time.monotonic() + timeout_s
        end = self._begin(to, service, data, timeout_s)
        try:
            with self._pump.changed:
                self._pump.changed.wait_for(lambda: end.opened.done, remaining_s(deadline_at + GRACE_S))
            if not end.opened.done:
                raise stream_reset(ErrorCode.TIMED_OUT, "no answer came in time", service, to)
            end.opened.result()
        except BaseException:
            with self._pump:
                end.reset(ErrorCode.CANCELLED, "the opener does not wait any more")
            raise
        return Stream(end, self._pump)

    def _begin(self, to: str, service: str, data: Value, timeout_s: float) -> StreamEnd:
        with self._pump as core:
            self._pump.changed.wait_for(lambda: core.phase in (Phase.OPEN, Phase.ENDED), timeout_s)
            return core.open_stream(to, service, data, timeout_s=timeout_s)
