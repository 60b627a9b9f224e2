"""A connection that can be cut at any byte, on the way out or on the way in."""

import contextlib
import errno
import socket
import struct
from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

from loadtest.torture.loop import READ, WRITE, Loop
from relay.protocol.limits import HEADER_BYTES
from relay.protocol.packets import Close, decode

READ_BYTES = 256 * 1024

# As much waits for the kernel before a sender should pause.
UNSENT_MAX_BYTES = 512 * 1024

# Linux: choose the port only when the destination is known, so that a port serves many destinations.
_IP_BIND_ADDRESS_NO_PORT = 24
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Ending(Enum):
    """How a connection is cut."""

    CLOSE = "our side closes"
    RESET = "our side resets"
    LEAVE = "our side just comes again, the old connection stays open"


class Cut(NamedTuple):
    """Cut after so many bytes, of those we send or of those we get."""

    after_bytes: int
    sending: bool
    ending: Ending


class Link:
    """One connection. `on_data` gets what arrives; `on_lost` is called once, when it ends for whatever reason but our
    own `close` or `leave`; `on_cut` instead of it when the planned cut is reached.
    """

    def __init__(
        self,
        loop: Loop,
        on_data: Callable[[bytes], None],
        on_lost: Callable[[str], None],
        on_cut: Callable[[Ending], None],
        cut: Cut | None = None,
    ) -> None:
        self._loop = loop
        self._on_data = on_data
        self._on_lost = on_lost
        self._on_cut = on_cut
        self._cut = cut
        self._left = cut.after_bytes if cut else 0
        self._out: list[bytes] = []
        self._unsent = 0
        self._sock: socket.socket | None = None
        self._paused = False
        self._events = 0
        self.read_bytes = READ_BYTES

    @property
    def open(self) -> bool:
        return self._sock is not None

    @property
    def has_room(self) -> bool:
        return self._unsent < UNSENT_MAX_BYTES

    def connect(self, address: tuple[str, int], source: str, receive_buffer_bytes: int | None = None) -> None:
        """Begin to connect; what is sent meanwhile waits. The kernel's buffer for what arrives is its own choice, or
        small.
        """
        self._sock = sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if receive_buffer_bytes is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        try:
            sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
            sock.bind((source, 0))
            sock.connect(address)
        except BlockingIOError:
            pass
        except OSError as error:
            reason = str(error)
            self._loop.later(0.0, lambda: self._lose(reason))
        self._watch(READ | WRITE)

    def send(self, frames: bytes) -> None:
        """Send at the end of this turn."""
        if self._sock is None:
            return
        if not self._out:
            self._loop.touch(self)
        self._out.append(frames)
        self._unsent += len(frames)

    def flush(self) -> None:
        """Hand to the kernel what it takes, up to the cut."""
        sock = self._sock
        if sock is None or not self._out:
            return
        data = b"".join(self._out)
        cut = self._cut
        allowed = data[: self._left] if cut and cut.sending else data
        try:
            sent = sock.send(allowed)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as error:
            if error.errno != errno.ENOTCONN:
                # What arrived before is still to be read; the end of that tells that the connection is lost.
                self._out, self._unsent = [], 0
                self._watch(self._reading)
                return
            sent = 0
        self._out = [data[sent:]] if sent < len(data) else []
        self._unsent = len(data) - sent
        if cut and cut.sending:
            self._left -= sent
            if not self._left:
                self._do_cut(cut)
                return
        self._watch(self._reading | (WRITE if self._out else 0))

    def pause(self) -> None:
        """Read nothing until `resume`."""
        self._paused = True
        self._watch(self._events & ~READ)

    def resume(self) -> None:
        """Read on."""
        self._paused = False
        self._watch(self._events | READ)

    def leave(self) -> socket.socket | None:
        """Give the open socket away, unread."""
        sock, self._sock = self._sock, None
        if sock is not None:
            self._loop.forget(sock.fileno())
        return sock

    def close(self, reset: bool = False) -> None:
        """Close now, and report nothing."""
        sock = self.leave()
        if sock is not None:
            with contextlib.suppress(OSError):
                if reset:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
                sock.close()

    @property
    def _reading(self) -> int:
        return 0 if self._paused else READ

    def _watch(self, events: int) -> None:
        if self._sock is not None and events != self._events:
            self._events = events
            self._loop.watch(self._sock.fileno(), events, self._handle)

    def _handle(self, events: int) -> None:
        if events & ~(READ | WRITE) and self._paused:
            self._lose("hung up while it was not read")
            return
        if events & ~WRITE:
            self._read()
        if events & WRITE and self._sock is not None:
            self._watch(self._reading)
            self.flush()

    def _read(self) -> None:
        assert self._sock is not None
        cut = self._cut
        size = min(self.read_bytes, self._left) if cut and not cut.sending else self.read_bytes
        try:
            data = self._sock.recv(size)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._lose(str(error))
            return
        if not data:
            self._lose("the relay hung up")
            return
        if cut and not cut.sending:
            self._left -= len(data)
        self._on_data(data)
        if cut and not cut.sending and not self._left and self._sock is not None:  # on_data may have closed
            self._do_cut(cut)

    def _do_cut(self, cut: Cut) -> None:
        """Neither send nor read anything more; what becomes of the socket is up to the owner."""
        assert self._sock is not None
        self._loop.forget(self._sock.fileno())
        self._out, self._unsent = [], 0
        self._on_cut(cut.ending)

    def _lose(self, reason: str) -> None:
        if self._sock is not None:
            self.close()
            self._on_lost(reason)


def last_words(sock: socket.socket, partial: bytes) -> int | None:
    """The code of the CLOSE that ends what the relay sent, 0 if it ended without; None if it has not ended yet, or was
    reset. `partial` was read before.
    """
    data = partial
    while True:
        try:
            more = sock.recv(READ_BYTES)
        except OSError:
            return None
        if not more:
            break
        data += more
    last = b""
    while data:
        size = HEADER_BYTES + int.from_bytes(data[:HEADER_BYTES], "big")
        last, data = data[HEADER_BYTES:size], data[size:]
    packet = decode(last) if last else None
    return packet.code if isinstance(packet, Close) else 0
