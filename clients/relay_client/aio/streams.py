# ruff: noqa: ASYNC109 - timeouts are arguments here, as they are in the blocking client
"""Streams of the asyncio client: what waits."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Self

from relay.protocol.codes import ErrorCode
from relay.protocol.payloads import Value
from relay_client.aio.carrier import Carrier
from relay_client.core import Phase
from relay_client.core.streams import StreamEnd, StreamState
from relay_client.errors import stream_reset
from relay_client.sentences import UNSENT_MAX_BYTES
from relay_client.shell import remaining_s
from relay_client.streams import GRACE_S, ShellStream, open_timeout_s

Buffer = bytes | bytearray | memoryview


class Stream(ShellStream):
    """One end of a stream: `await read`, `await write`, `async for chunk in stream`, `async with stream`.

    `accept`, `finish`, `close` and `reset` do not wait and are not awaited. Errors, and what a block that is left by an
    exception means, as in the blocking client. One task may read while another writes.
    """

    def __init__(self, end: StreamEnd, carrier: Carrier) -> None:
        super().__init__(end, lambda: carrier)
        self._carrier = carrier
        self._waiters: set[asyncio.Future[None]] = set()
        end.on_change = self._wake

    async def read(self, n: int | None = -1) -> bytes:
        """Exactly `n` bytes, fewer only at the end; without `n` everything up to the end. If it raises, or is
        cancelled, nothing of what came is lost."""
        missing = -1 if n is None else n
        parts: list[bytes] = []
        try:
            while missing and (part := await self.read1(missing)):
                parts.append(part)
                missing -= len(part) if missing > 0 else 0
        except BaseException:
            self._end.put_back(b"".join(parts))
            raise
        return b"".join(parts)

    async def read1(self, n: int = -1) -> bytes:
        """What is there, at least one byte and at most `n`; waits for the first. Empty at the end."""
        if n == 0:
            return b""
        self._accept_first()
        if not await self._wait_for(lambda: self._end.may_take, self.timeout):
            raise self._silent("sent nothing")
        with self._carrier:
            return self._end.take(n if n > 0 else None)

    async def write(self, data: Buffer) -> int:
        """Send all of it, as the other end takes it, and return how many bytes that is. If it raises, or is cancelled,
        a part may have been sent."""
        self._accept_first()
        view = memoryview(data).cast("B")
        sent = 0
        while sent < len(view):
            if not await self._wait_to_write():
                raise self._silent(f"took {sent} of {len(view)} bytes, and no more")
            with self._carrier:
                sent += self._end.write(view[sent:])
        return sent

    async def wait_over(self) -> None:
        """Wait until the stream is over: both ends have finished. Raises why if it ended otherwise."""
        await self._wait_for(lambda: self._end.state is StreamState.OVER, None)
        if self._end.error is not None:
            raise self._end.error.with_traceback(None)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while chunk := await self.read1():
            yield chunk

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._quit(error)

    async def _opened(self, timeout_s: float) -> None:
        """Wait until the other end has accepted or refused. Raises why it is not open; TimedOut if no answer came."""
        if not await self._wait_for(lambda: self._end.opened.done, timeout_s):
            raise stream_reset(ErrorCode.TIMED_OUT, "no answer came in time", self.service, self.peer)
        self._end.opened.result()

    async def _wait_to_write(self) -> bool:
        """Wait until there is credit, and then until the socket takes more. False if time ran out."""
        if not await self._wait_for(lambda: self._end.may_write, self.timeout):
            return False
        if self._carrier.unsent_bytes < UNSENT_MAX_BYTES:
            return True
        over = StreamState.OVER
        return await self._carrier.wait_for(
            lambda: self._end.state is over or self._carrier.unsent_bytes < UNSENT_MAX_BYTES, self.timeout
        )

    async def _wait_for(self, condition: Callable[[], bool], timeout_s: float | None) -> bool:
        """As that of the carrier, for what the stream itself changes: a client with many streams is not to wake up all
        that wait for each packet that comes.
        """
        if condition():
            return True
        try:
            async with asyncio.timeout(timeout_s):
                while not condition():
                    await self._changed()
        except TimeoutError:
            return condition()
        return True

    async def _changed(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _accept_first(self) -> None:
        if self._end.state is StreamState.OFFERED:
            self.accept()


class Streams:
    """`me.streams`."""

    def __init__(self, carrier: Carrier, timeout_s: float) -> None:
        self._carrier = carrier
        self._timeout_s = timeout_s

    async def open(self, to: str, service: str, data: Value = None, *, timeout: float | None = None) -> Stream:
        """Open a stream to a service of a user (one of the sessions that offer it) or of one session. `data` is for its
        handler: `stream.opening`. Waits at most `timeout` seconds, up to 60, for it to be accepted. Errors as in the
        blocking client."""
        timeout_s = open_timeout_s(timeout, self._timeout_s)
        deadline_at = time.monotonic() + timeout_s
        core = self._carrier.core
        await self._carrier.wait_for(lambda: core.phase in (Phase.OPEN, Phase.ENDED), timeout_s)
        with self._carrier:
            end = core.open_stream(to, service, data, timeout_s=timeout_s)
            stream = Stream(end, self._carrier)
        try:
            await stream._opened(remaining_s(deadline_at + GRACE_S))
        except BaseException:
            with self._carrier:
                end.reset(ErrorCode.CANCELLED, "the opener does not wait any more")
            raise
        return stream
