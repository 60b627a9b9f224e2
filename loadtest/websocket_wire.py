"""The client's side of a WebSocket for load generators: one upgrade, masked binary messages out, payload in.

Only what the relay sends is understood: whole, unmasked binary messages (and close frames, which end it).
"""

import struct

WEBSOCKET_PATH = "/ws"

_REQUEST = (
    "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class UpgradeError(Exception):
    """The relay did not agree to a WebSocket; the text holds its answer."""


def upgrade_request(host: str) -> bytes:
    """The request that makes a connection a WebSocket."""
    return _REQUEST.format(path=WEBSOCKET_PATH, host=host).encode()


def split_answer(data: bytes) -> bytes | None:
    """What came behind the answer to the upgrade; None while it is not complete. Raises UpgradeError."""
    head, end, rest = data.partition(b"\r\n\r\n")
    if not end:
        return None
    if not head.startswith(b"HTTP/1.1 101 "):
        raise UpgradeError(f"the relay answered {data[:200]!r}")
    return rest


def client_frame(payload: bytes, key: bytes) -> bytes:
    """One masked binary message."""
    size = len(payload)
    if size < 126:
        head = bytes((0x82, 0x80 | size))
    elif size < 65_536:
        head = struct.pack("!BBH", 0x82, 0xFE, size)
    else:
        head = struct.pack("!BBQ", 0x82, 0xFF, size)
    mask = key * (size // 4) + key[: size % 4]
    masked = int.from_bytes(payload, "little") ^ int.from_bytes(mask, "little")
    return head + key + masked.to_bytes(size, "little")


class Unframer:
    """Payload of the relay's binary messages, as it comes."""

    __slots__ = ("_head", "_left", "closed")

    def __init__(self) -> None:
        self._head = b""
        self._left = 0
        self.closed = False

    def feed(self, data: bytes) -> bytes:
        """The payload in these bytes. Behind a close frame there is none."""
        if self._head:
            data, self._head = self._head + data, b""
        parts, at, end = [], 0, len(data)
        while at < end and not self.closed:
            if self._left:
                stop = min(end, at + self._left)
                parts.append(data[at:stop])
                self._left -= stop - at
                at = stop
                continue
            width = {126: 2, 127: 8}.get(data[at + 1], 0) if end - at > 1 else 8
            if end - at < 2 + width:
                self._head = data[at:]
                break
            self.closed = data[at] & 15 == 8
            self._left = int.from_bytes(data[at + 2 : at + 2 + width], "big") if width else data[at + 1]
            at += 2 + width
        return parts[0] if len(parts) == 1 else b"".join(parts)
