"""One connection of a socket joined to a stream: bytes both ways, each way as fast as its receiver takes them.

An end of one way ends that way at the other side, too (half-close); a broken connection resets the other side.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from relay_client import RelayError
from relay_client.aio import Stream

from relay.protocol.codes import ErrorCode
from relay_tunnel.places import READ_BYTES, Ends, hang_up, why


class Pipe:
    """`sent_bytes` went from the socket into the stream, `received_bytes` the other way."""

    def __init__(self, stream: Stream, ends: Ends) -> None:
        self._stream = stream
        self._reader, self._writer = ends
        self._problem = ""
        self.sent_bytes = 0
        self.received_bytes = 0

    def __repr__(self) -> str:
        return f"<Pipe of {self._stream!r}: {self.sent_bytes} bytes sent, {self.received_bytes} received>"

    async def run(self) -> str:
        """Carry until both ways have ended, and close both sides. Returns what went wrong; empty if nothing did."""
        sending = asyncio.create_task(self._send())
        try:
            await self._receive()
            await self._writer.wait_closed()
        except RelayError as error:
            self._problem = self._problem or str(error)
        except OSError as error:
            self._break(error)
        except BaseException:
            self._stream.reset(ErrorCode.CANCELLED, "the tunnel was closed")
            raise
        finally:
            sending.cancel()
            hang_up(self._writer)
        return self._problem

    async def _send(self) -> None:
        """From the socket into the stream. When the stream breaks, `_receive` finds out and ends both."""
        try:
            while data := await self._reader.read(READ_BYTES):
                await self._stream.write(data)
                self.sent_bytes += len(data)
            self._stream.finish()
        except RelayError:
            return
        except OSError as error:
            self._break(error)

    async def _receive(self) -> None:
        """From the stream into the socket, until the stream is over."""
        while data := await self._stream.read1():
            self._writer.write(data)
            self.received_bytes += len(data)
            await self._writer.drain()
        self._writer.write_eof()
        await self._stream.wait_over()
        self._writer.close()

    def _break(self, error: OSError) -> None:
        self._problem = self._problem or f"the connection broke: {why(error)}"
        self._stream.reset(ErrorCode.CANCELLED, "the connection at the other end of the tunnel broke")


def told(pipe: Pipe, problem: str) -> str:
    """What became of a connection, for the log."""
    return f"{pipe.sent_bytes} bytes sent, {pipe.received_bytes} received" + (f"; {problem}" if problem else "")


@contextmanager
def running(tasks: set[asyncio.Task[Any]]) -> Iterator[None]:
    """Meanwhile the current task is one of `tasks`."""
    task = asyncio.current_task()
    assert task is not None, "this runs in a task"
    tasks.add(task)
    try:
        yield
    finally:
        tasks.discard(task)


async def cancel_all(tasks: set[asyncio.Task[Any]]) -> None:
    """Cancel them, and wait until they have ended."""
    cancelled = list(tasks)
    for task in cancelled:
        task.cancel()
    await asyncio.gather(*cancelled, return_exceptions=True)
