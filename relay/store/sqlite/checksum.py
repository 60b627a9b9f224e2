"""The checksum that each message carries in the log, because SQLite has none for its pages.

CRC-32 finds every single flipped bit, and every burst of up to 32; of other damage it misses one case in 4 billion.
It covers everything that is told about a message, so that a row cannot pass for another one either. It costs 0.3 us a
message where it is stored and where it is read; a run has one for all its messages.
"""

import struct
from collections.abc import Sequence
from typing import Any
from zlib import crc32

# The columns of table `log` that `is_intact` wants, in their order.
CHECKED = (
    'log.conversation_id, log."offset", log.time_ms, log.device_id, log.message_id, log.packet, log.total, log.checksum'
)

_pack = struct.Struct("<qqqqq").pack
_pack_run = struct.Struct("<qqqqqq").pack

# zlib gives the interpreter lock away for more than 5 KiB at once. For a run that is a bad bargain: the sum takes
# microseconds, and getting the lock back from a busy event loop half a millisecond.
_PIECE_BYTES = 5 * 1024
_WHOLE_BYTES = 64 * 1024


def message_checksum(  # noqa: PLR0913, PLR0917 - the columns of a row
    conversation_id: int, offset: int, time_ms: int, device_id: int, message_id: int, packet: bytes, total: int = 1
) -> int:
    """The CRC-32 of a row of table `log`: five integers of 8 bytes, little-endian, and the packet. Of a run they are
    six, `total` being the last.
    """
    if total == 1:
        return crc32(packet, crc32(_pack(conversation_id, offset, time_ms, device_id, message_id)))
    checksum = crc32(_pack_run(conversation_id, offset, time_ms, device_id, message_id, total))
    if not _PIECE_BYTES < len(packet) <= _WHOLE_BYTES:
        return crc32(packet, checksum)
    view = memoryview(packet)
    for start in range(0, len(packet), _PIECE_BYTES):
        checksum = crc32(view[start : start + _PIECE_BYTES], checksum)
    return checksum


def is_intact(row: Sequence[Any]) -> bool:
    """Whether a row of the columns CHECKED is what was stored. Damage may have changed even the types of its values."""
    try:
        return bool(message_checksum(*row[:-1]) == row[-1])
    except (struct.error, TypeError):
        return False
