"""A WebSocket client that sends any bytes and reads frames by a parser of its own: twenty lines, no library."""

import socket
from typing import NamedTuple

from relay.protocol.connection import ClientConnection
from relay.protocol.frames import FrameReader
from relay.protocol.limits import FRAME_MAX
from relay.protocol.packets import Pong, Welcome, decode
from tests.transport.masked import client_frame

DEADLINE_S = 30.0

HANDSHAKE = (
    "GET /ws HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class ServerFrame(NamedTuple):
    """A frame from the relay."""

    opcode: int
    payload: bytes


class Outcome(NamedTuple):
    """What came back: tokens of Relay's PONGs, payloads of WebSocket pongs, and the close frame's code.

    `code` is None while the connection is open, 1005 for a close frame without one, 1006 for an end without a frame.
    """

    tokens: list[int]
    pongs: list[bytes]
    code: int | None


class RawClient:
    """One connection. Every wait has a deadline."""

    def __init__(self, address: str, user: str | None = None, password: str = "") -> None:
        """Upgrade, and log in as `user` if there is one."""
        host, _, port = address.rpartition(":")
        self.sock = socket.create_connection((host, int(port)), DEADLINE_S)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._data = b""
        self._frames = FrameReader(FRAME_MAX)
        self.sock.sendall(HANDSHAKE.format(host=address).encode())
        while b"\r\n\r\n" not in self._data:
            self._more()
        head, _, self._data = self._data.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head
        if user is not None:
            self._log_in(user, password)

    def close(self) -> None:
        self.sock.close()

    def send(self, data: bytes, step: int | None = None) -> None:
        """Send bytes, at once or in pieces. The relay may have hung up meanwhile."""
        try:
            for at in range(0, len(data), step or max(1, len(data))):
                self.sock.sendall(data[at : at + (step or len(data))])
        except OSError:
            return

    def frame(self) -> ServerFrame | None:
        """The next frame; None at the end of the connection."""
        while (taken := self._take()) is None:
            try:
                if not self._more():
                    return None
            except ConnectionError:
                return None
        return taken

    def outcome(self, last: int) -> Outcome:
        """Read until the PONG with the token `last`, or the end."""
        tokens: list[int] = []
        pongs: list[bytes] = []
        while (frame := self.frame()) is not None:
            if frame.opcode == 8:
                code = int.from_bytes(frame.payload[:2], "big") if frame.payload else 1005
                return Outcome(tokens, pongs, code)
            if frame.opcode == 10:
                pongs.append(frame.payload)
                continue
            assert frame.opcode == 2, frame
            self._frames.feed(frame.payload)
            while (payload := self._frames.next_payload()) is not None:
                packet = decode(payload)
                if isinstance(packet, Pong):
                    if packet.token == last:
                        return Outcome(tokens, pongs, None)
                    tokens.append(packet.token)
        return Outcome(tokens, pongs, 1006)

    def _take(self) -> ServerFrame | None:
        data = self._data
        if len(data) < 2:
            return None
        assert data[0] & 0xF0 == 0x80, f"a fragment, or a reserved bit: {data[:2].hex()}"
        assert data[1] < 128, "the relay masks"
        size, start = data[1], 2
        if size > 125:
            start = 4 if size == 126 else 10
            if len(data) < start:
                return None
            size = int.from_bytes(data[2:start], "big")
        if len(data) < start + size:
            return None
        self._data = data[start + size :]
        return ServerFrame(data[0] & 15, data[start : start + size])

    def _more(self) -> bool:
        data = self.sock.recv(65536)
        self._data += data
        return bool(data)

    def _log_in(self, user: str, password: str) -> None:
        ends = ClientConnection(user, password, "conformance", "conformance/1")
        while True:
            if data := ends.data_to_send():
                self.sock.sendall(client_frame(data))
            frame = self.frame()
            assert frame is not None, "the relay hung up during the login"
            ends.receive_data(frame.payload)
            if isinstance(ends.next_packet(), Welcome):
                return
