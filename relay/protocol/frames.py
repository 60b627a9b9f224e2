"""Frames: a 4-byte big-endian length, then that many bytes. Knows nothing of what they mean.

A length of 0, or over the limit, is refused as soon as its four bytes are there, so a peer can never make us wait
for, or allocate, what it only claims.
"""

from relay.protocol.codes import CloseCode
from relay.protocol.errors import LocalError, RemoteError
from relay.protocol.limits import FRAME_MAX, HEADER_BYTES


def encode_frame(payload: bytes) -> bytes:
    """The payload with its length in front. Raises LocalError for an empty or oversized payload."""
    size = len(payload)
    if not 0 < size <= FRAME_MAX:
        raise LocalError(f"a frame holds 1 to {FRAME_MAX} bytes, not {size}")
    return size.to_bytes(HEADER_BYTES, "big") + payload


def check_length(size: int, limit: int) -> None:
    """Raises RemoteError unless a frame of `size` bytes is acceptable under `limit`."""
    if size == 0:
        raise RemoteError(CloseCode.BAD_FRAME, "a frame of length 0 was received; a frame holds at least one byte")
    if size > limit:
        raise RemoteError(CloseCode.BAD_FRAME, f"a frame of {size} bytes was announced; the limit is {limit}")


class FrameReader:
    """Cuts a byte stream into payloads. `limit` counts payload bytes and may be raised at any time (after login)."""

    __slots__ = ("_buffer", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        """Take in what was received."""
        self._buffer += data

    def starts_with(self, beginning: bytes) -> bool:
        """Whether the bytes not returned yet begin so."""
        return self._buffer.startswith(beginning)

    def next_payload(self) -> bytes | None:
        """The next complete payload, or None until more was fed. Raises RemoteError at an unacceptable length."""
        buffer = self._buffer
        if len(buffer) < HEADER_BYTES:
            return None
        size = int.from_bytes(buffer[:HEADER_BYTES], "big")
        check_length(size, self.limit)
        end = HEADER_BYTES + size
        if end > len(buffer):
            return None
        payload = bytes(buffer[HEADER_BYTES:end])
        del buffer[:end]
        return payload

    def take_rest(self) -> bytes:
        """Everything fed and not returned yet; the reader is empty afterwards."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest
