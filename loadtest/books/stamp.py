"""What every body of the load test carries: whose it is, its number in its stream, and when it was meant to be sent.

The rest of a body is a fixed pattern, so that a receiver sees at once whether anything was cut, mixed up or changed.
"""

import struct
from typing import NamedTuple

# Mark, sender, number, intended time in microseconds of the monotonic clock, length of the whole body.
_HEAD = struct.Struct(">4sIIQI")
_MARK = b"load"
BODY_MIN_BYTES = _HEAD.size
BODY_MAX_BYTES = 256 * 1024
_PATTERN = bytes(range(256)) * (BODY_MAX_BYTES // 256)


class Stamp(NamedTuple):
    """The head of a body. `number` counts from 1 in the stream from `sender` to the receiver."""

    sender: int
    number: int
    intended_us: int


def encode_stamp(stamp: Stamp, size: int) -> bytes:
    """A body of `size` bytes, BODY_MIN_BYTES to BODY_MAX_BYTES."""
    return _HEAD.pack(_MARK, *stamp, size) + _PATTERN[: size - BODY_MIN_BYTES]


def decode_stamp(body: bytes) -> Stamp | None:
    """The stamp of a body; None if it is not exactly what some sender made."""
    if len(body) < BODY_MIN_BYTES:
        return None
    mark, sender, number, intended_us, size = _HEAD.unpack_from(body)
    if mark != _MARK or size != len(body) or body[BODY_MIN_BYTES:] != _PATTERN[: size - BODY_MIN_BYTES]:
        return None
    return Stamp(sender, number, intended_us)
