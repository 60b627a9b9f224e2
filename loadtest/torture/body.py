"""What each message carries: who sent it, its number among those of that device, and a checksum over all of it."""

import struct
import zlib
from typing import NamedTuple

# Mark, number of the device, number of the message, length of the whole body.
_HEAD = struct.Struct(">4sIQI")
_CRC = struct.Struct(">I")
_MARK = b"seal"
_PATTERN = bytes(range(256)) * 64
SIZE_MIN = _HEAD.size + _CRC.size
SIZE_MAX = SIZE_MIN + len(_PATTERN)


class Seal(NamedTuple):
    """Who wrote a body. `device` is a number from the plan; `serial` counts from 1 and is never used twice."""

    device: int
    serial: int


def seal(device: int, serial: int, size: int) -> bytes:
    """A body of `size` bytes, SIZE_MIN to SIZE_MAX."""
    body = _HEAD.pack(_MARK, device, serial, size) + _PATTERN[: size - SIZE_MIN]
    return body + _CRC.pack(zlib.crc32(body))


def unseal(body: bytes) -> Seal | None:
    """Who wrote it; None if it is not, byte for byte, what somebody sealed."""
    if len(body) < SIZE_MIN:
        return None
    mark, device, serial, size = _HEAD.unpack_from(body)
    if mark != _MARK or size != len(body) or zlib.crc32(body[:-4]) != int.from_bytes(body[-4:], "big"):
        return None
    return Seal(device, serial)
