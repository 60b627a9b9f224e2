"""The checksum that each message carries in the log, because SQLite has none for its pages.

CRC-32 finds every single flipped bit, and every burst of up to 32; of other damage it misses one case in 4 billion.
It covers everything that is told about a message, so that a row cannot pass for another one either. It costs 0.3 us a
message where it is stored and where it is read.
"""

import struct
from typing import Any
from zlib import crc32

# The columns of table `log` that `is_intact` wants, in their order.
CHECKED = 'log.conversation_id, log."offset", log.time_ms, log.device_id, log.message_id, log.packet, log.checksum'

_pack = struct.Struct("<qqqqq").pack


def message_checksum(  # noqa: PLR0913, PLR0917 - the columns of a row
    conversation_id: int, offset: int, time_ms: int, device_id: int, message_id: int, packet: bytes
) -> int:
    """The CRC-32 of a row of table `log`: five integers of 8 bytes, little-endian, and the packet."""
    return crc32(packet, crc32(_pack(conversation_id, offset, time_ms, device_id, message_id)))


def is_intact(row: tuple[Any, ...]) -> bool:
    """Whether a row of the columns CHECKED is what was stored. Damage may have changed even the types of its values."""
    try:
        return bool(message_checksum(*row[:-1]) == row[-1])
    except (struct.error, TypeError):
        return False
