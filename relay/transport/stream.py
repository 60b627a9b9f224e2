"""A connection before its session: what a login and an HTTP request read and write, in a greenlet that waits.

gevent's sockets are such streams; a WebSocket or TLS is one on top of another. `establish` turns any of them into the
callback-driven form that a session has.
"""

import socket
from contextlib import suppress
from typing import Protocol, TypeGuard

from relay.transport.connection import Connection, Loop, Transport


class Stream(Protocol):
    """Bytes both ways. All methods may yield, and raise OSError when the peer is gone."""

    def recv(self, size: int, /) -> bytes:
        """What has arrived, about `size` bytes at most; empty at the end."""

    def sendall(self, data: bytes, /) -> None:
        """Send all of it; returns when the kernel has it."""

    def close(self) -> None:
        """End at once."""


class LayeredStream(Stream, Protocol):
    """A stream on top of another one."""

    def finish(self, code: int) -> None:
        """Say that no more comes. `code`: why, as WebSocket close codes say it."""

    def establish(self, peer: str, loop: Loop) -> Transport:
        """The same connection, driven by loop callbacks. The stream must not be used any more."""


def establish(stream: Stream, peer: str, loop: Loop) -> Transport:
    """The callback-driven form of any stream, which must not be used any more. Does not yield."""
    if _is_layered(stream):
        return stream.establish(peer, loop)
    return Connection(stream, peer, loop)  # type: ignore[arg-type]


def finish(stream: Stream, code: int) -> None:
    """Say that no more comes, in the way of the stream."""
    if _is_layered(stream):
        stream.finish(code)
    else:
        with suppress(OSError):
            stream.shutdown(socket.SHUT_WR)  # type: ignore[attr-defined]


def _is_layered(stream: Stream) -> TypeGuard[LayeredStream]:
    """Not asked of the object itself: a closed socket of gevent raises for whatever it is asked."""
    return hasattr(type(stream), "establish")
