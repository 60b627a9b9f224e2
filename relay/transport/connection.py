"""An established connection: a socket driven by event loop callbacks, without a greenlet of its own.

It moves bytes and owns the descriptor; it never looks into the bytes. A greenlet that waits in `recv` costs 9 KB and
a switch per wake-up; a loop watcher costs 1 KB and a call (measured in docs/benchmarks.md).

No method yields. `on_data` and `on_lost` are called from the event loop and must not yield either.
"""

import _socket  # its socket type stays the system's own; once patched, socket.socket waits in greenlets
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol

# Read at most this much per connection and loop turn: enough to gather long runs, little enough that nobody waits long
# for a busy neighbour. A fresh block of this size for each read is cheaper than one buffer to copy from, as long as the
# allocator keeps it between reads: see allocator.py.
READ_BYTES = 256 * 1024

# How much of large data the kernel keeps that it may not send yet (TCP_NOTSENT_LOWAT, which Python names from 3.12 on):
# what is said meanwhile stands behind it. The usual buffer grows to 4 MiB, seconds on a slow line.
UNSENT_MAX_BYTES = 128 * 1024
_TCP_NOTSENT_LOWAT = getattr(socket, "TCP_NOTSENT_LOWAT", 25 if sys.platform == "linux" else None)

# How long a closing connection waits for the peer to hang up before its unread bytes turn our last packet into a reset.
LINGER_S = 2.0

_READ = 1
_WRITE = 2


class Loop(Protocol):
    """The part of gevent's event loop that is used here."""

    def io(self, fd: int, events: int) -> Any: ...
    def timer(self, after: float) -> Any: ...
    def run_callback(self, function: Callable[..., None], *args: object) -> Any: ...


class Transport(Protocol):
    """What a session needs of its connection. `Connection` says what each method has to do."""

    @property
    def peer(self) -> str: ...
    def start(
        self,
        on_data: Callable[[bytes], None],
        on_writable: Callable[[], None],
        on_lost: Callable[[str], None],
    ) -> None: ...
    def send(self, data: bytes | memoryview) -> int: ...
    def send_pieces(self, pieces: Sequence[bytes | memoryview]) -> int: ...
    def defer(self, later: Callable[[Callable[[], None]], None]) -> None: ...
    def keep_short(self) -> None: ...
    def wait_writable(self) -> None: ...
    def stop_waiting(self) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def finish(self, code: int = ...) -> None: ...
    def abort(self) -> None: ...


class Connection:
    """One connected stream socket (TCP or Unix). `start` begins to read; `lost` is reported exactly once."""

    __slots__ = (
        "_deferred",
        "_later",
        "_loop",
        "_on_data",
        "_on_lost",
        "_on_writable",
        "_reader",
        "_sock",
        "_timer",
        "_writer",
        "peer",
    )

    def __init__(self, sock: socket.socket, peer: str, loop: Loop) -> None:
        """Takes the descriptor out of `sock`, which must not be used any more."""
        self.peer = peer
        self._sock = _socket.socket(sock.family, sock.type, sock.proto, sock.detach())
        self._sock.setblocking(False)
        self._loop = loop
        self._reader: Any = None
        self._writer: Any = None
        self._timer: Any = None
        self._later: Callable[[Callable[[], None]], None] | None = None
        self._deferred = False
        self._on_data: Callable[[bytes], None] | None = None
        self._on_lost: Callable[[str], None] | None = None
        self._on_writable: Callable[[], None] | None = None

    def __repr__(self) -> str:
        return f"<Connection {self.peer} {'closed' if self._on_lost is None else 'open'}>"

    def start(
        self,
        on_data: Callable[[bytes], None],
        on_writable: Callable[[], None],
        on_lost: Callable[[str], None],
    ) -> None:
        """Begin to read. `on_lost` gets the reason when the peer is gone."""
        self._on_data = on_data
        self._on_writable = on_writable
        self._on_lost = on_lost
        self._reader = self._loop.io(self._sock.fileno(), _READ)
        self._reader.start(self._handle_readable)

    def send(self, data: bytes | memoryview) -> int:
        """Hand bytes to the kernel; returns how many it took. A dead connection takes all: its loss is reported."""
        try:
            return self._sock.send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            self._report_lost(error.strerror or str(error))
            return len(data)

    def send_pieces(self, pieces: Sequence[bytes | memoryview]) -> int:
        """As `send`, for bytes that lie in several places: sparing to join them pays for large ones."""
        if len(pieces) == 1:
            return self.send(pieces[0])
        try:
            return self._sock.sendmsg(pieces)
        except BlockingIOError:
            return 0
        except OSError as error:
            self._report_lost(error.strerror or str(error))
            return sum(map(len, pieces))

    def defer(self, later: Callable[[Callable[[], None]], None]) -> None:
        """Much is coming: have the next read done by `later`, which runs it when others have had their turn."""
        self._later = later

    def keep_short(self) -> None:
        """Much will be sent: have the kernel take no more of it ahead than UNSENT_MAX_BYTES, where it can."""
        if _TCP_NOTSENT_LOWAT is not None and self._sock.family != socket.AF_UNIX:
            with suppress(OSError):
                self._sock.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, UNSENT_MAX_BYTES)

    def wait_writable(self) -> None:
        """Call `on_writable` when the kernel takes bytes again, until `stop_waiting`."""
        if self._on_lost is None or self._writer is not None or self._on_writable is None:
            return
        self._writer = self._loop.io(self._sock.fileno(), _WRITE)
        self._writer.start(self._on_writable)

    def stop_waiting(self) -> None:
        """The opposite of `wait_writable`."""
        if self._writer is not None:
            self._writer.stop()
            self._writer.close()
            self._writer = None

    def pause(self) -> None:
        """Stop reading: the peer feels it as TCP backpressure."""
        if self._reader is not None:
            self._reader.stop()

    def resume(self) -> None:
        """Read again."""
        if self._reader is not None and not self._reader.active:
            self._reader.start(self._handle_readable)

    def finish(self, code: int = 1000) -> None:
        """End the connection after what was sent: say that no more comes, then wait briefly for the peer to hang up.

        `code`, a WebSocket's close code, cannot be told here.
        A plain close with unread input would reset the connection and take our last packet with it (RFC 1122
        section 4.2.2.13).
        """
        if self._on_lost is None or self._timer is not None:
            return
        self.stop_waiting()
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._report_lost("closed")
            return
        self._on_data = None
        self.resume()
        self._timer = self._loop.timer(LINGER_S)
        self._timer.start(self._report_lost, "closed")

    def abort(self) -> None:
        """End the connection now."""
        self._report_lost("closed")

    def _handle_readable(self) -> None:
        if self._later is not None:
            self._defer_read(self._later)
            return
        try:
            data = self._sock.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._report_lost(error.strerror or str(error))
            return
        if not data:
            self._report_lost("the peer closed the connection")
        elif self._on_data is not None:
            self._on_data(data)

    def _defer_read(self, later: Callable[[Callable[[], None]], None]) -> None:
        if not self._deferred:
            self._deferred = True
            later(self._read_deferred)

    def _read_deferred(self) -> None:
        self._deferred = False
        self._later = None
        if self._reader is not None and self._reader.active:
            self._handle_readable()

    def _report_lost(self, reason: str) -> None:
        on_lost, self._on_lost = self._on_lost, None
        if on_lost is None:
            return
        self.stop_waiting()
        for watcher in (self._reader, self._timer):
            if watcher is not None:
                watcher.stop()
                watcher.close()
        self._reader = self._timer = self._on_data = self._on_writable = None
        self._sock.close()
        on_lost(reason)
