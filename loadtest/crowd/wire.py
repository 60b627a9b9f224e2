"""One logged-in connection: whole packets in, frames out, by callbacks of the event loop. Nothing here yields."""

import _socket  # its socket type stays the system's own; once patched, socket.socket waits in greenlets
import contextlib
import os
import socket
import struct
from collections.abc import Callable
from typing import Any

import gevent

from loadtest.websocket_wire import Unframer, client_frame
from relay.protocol.errors import RemoteError
from relay.protocol.limits import HEADER_BYTES
from relay.protocol.packets import Packet, Unknown, decode

_READ, _WRITE = 1, 2
READ_BYTES = 64 * 1024
_RESET = struct.pack("ii", 1, 0)  # linger on, for no time


class Wire:
    """`on_packet` gets every packet, `on_lost` the reason when the connection has ended without `hang_up`."""

    __slots__ = ("_on_lost", "_on_packet", "_partial", "_reader", "_sock", "_unframer", "_unsent", "_writer")

    def __init__(
        self,
        sock: socket.socket,
        on_packet: Callable[[Packet | Unknown], None],
        on_lost: Callable[[str], None],
        unframer: Unframer | None = None,
    ) -> None:
        """Takes the descriptor out of `sock`, which must not be used any more. `unframer`: if it is a WebSocket."""
        self._unframer = unframer
        self._sock = _socket.socket(sock.family, sock.type, sock.proto, sock.detach())
        self._sock.setblocking(False)
        self._on_packet = on_packet
        self._on_lost: Callable[[str], None] | None = on_lost
        self._partial = b""
        self._unsent = bytearray()
        self._writer: Any = None
        self._reader: Any = gevent.get_hub().loop.io(self._sock.fileno(), _READ)

    @property
    def open(self) -> bool:
        """Whether anything can be sent."""
        return self._on_lost is not None

    def start(self, received: bytes = b"") -> None:
        """Begin to read; `received` is what came behind the login."""
        self._reader.start(self.read)
        if received:
            self._take(received)

    def pause(self) -> None:
        """Leave in the kernel what comes, until `read` or `resume`."""
        if self._reader is not None:
            self._reader.stop()

    def resume(self) -> None:
        """Read what comes as it comes."""
        if self._reader is not None and not self._reader.active:
            self._reader.start(self.read)

    def read(self, limit_bytes: int = READ_BYTES) -> None:
        """Act on what is there, at most so many bytes."""
        if self._on_lost is None:
            return
        try:
            data = self._sock.recv(limit_bytes)
        except BlockingIOError:
            return
        except OSError as error:
            self._lose(error.strerror or str(error))
            return
        if data:
            self._take(self._unframer.feed(data) if self._unframer else data)
        else:
            self._lose("the relay closed the connection without a word")

    def send(self, frame: bytes) -> None:
        """Send a frame now, or as soon as the kernel takes it."""
        if self._on_lost is None:
            return
        if self._unframer is not None:
            frame = client_frame(frame, os.urandom(4))
        if not self._unsent:
            try:
                sent = self._sock.send(frame)
            except BlockingIOError:
                sent = 0
            except OSError as error:
                self._lose(error.strerror or str(error))
                return
            if sent == len(frame):
                return
            frame = frame[sent:]
        self._unsent += frame
        self._wait_writable()

    def hang_up(self, last: bytes = b"") -> None:
        """Send `last` if the kernel takes it and end the connection; nothing is reported any more."""
        if self._on_lost is not None:
            self._on_lost = None
            if last and self._unframer is not None:
                last = client_frame(last, os.urandom(4))
            if last and not self._unsent:
                with contextlib.suppress(OSError):
                    self._sock.send(last)
            self._close()

    def vanish(self) -> None:
        """End the connection with a reset, as a program that crashed; nothing is reported any more."""
        if self._on_lost is not None:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.hang_up()

    def _take(self, data: bytes) -> None:
        if self._partial:
            data = self._partial + data
        start, end = 0, len(data)
        try:
            while end - start >= HEADER_BYTES and self._on_lost is not None:
                stop = start + HEADER_BYTES + int.from_bytes(data[start : start + HEADER_BYTES], "big")
                if stop > end:
                    break
                self._on_packet(decode(data[start + HEADER_BYTES : stop]))
                start = stop
        except RemoteError as error:
            self._lose(f"the relay sent what cannot be read: {error.sentence}")
        self._partial = data[start:]

    def _wait_writable(self) -> None:
        if self._writer is None:
            self._writer = gevent.get_hub().loop.io(self._sock.fileno(), _WRITE)
            self._writer.start(self._write_on)

    def _write_on(self) -> None:
        try:
            sent = self._sock.send(self._unsent)
        except BlockingIOError:
            return
        except OSError as error:
            self._lose(error.strerror or str(error))
            return
        del self._unsent[:sent]
        if not self._unsent:
            self._writer.stop()
            self._writer.close()
            self._writer = None

    def _lose(self, reason: str) -> None:
        on_lost, self._on_lost = self._on_lost, None
        if on_lost is not None:
            self._close()
            on_lost(reason)

    def _close(self) -> None:
        for watcher in (self._reader, self._writer):
            if watcher is not None:
                watcher.stop()
                watcher.close()
        self._reader = self._writer = None
        self._sock.close()
