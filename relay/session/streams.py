"""The fast path of streams: where a DATA packet goes and how much it carries, without decoding it.

A DATA packet is some 40 bytes of header and up to 64 KiB of body; decoding would copy the body twice.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from relay.protocol.limits import CHUNK_MAX_BYTES, HEADER_BYTES, INTEGER_MAX
from relay.protocol.packets import Data
from relay.router.directory import address_bytes
from relay.session.calls import OPENING_BYTES, opening
from relay.session.fields import body_start, string_bounds

if TYPE_CHECKING:
    from relay.session.session import Session

# A frame of this size or more is not copied. It keeps the whole read in memory, at worst eight times its own size.
LARGE_FRAME_BYTES = 32 * 1024

_POSITIVE_FIXINT_END = 0x80

# The markers of longer integers, and how many bytes follow them.
_INTEGERS = {0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8}


def take_data(session: "Session", data: bytes, start: int, stop: int) -> bool:
    """Forward the DATA in the frame `data[start:stop]`. False leaves it to the slow path, which explains."""
    sender = address_bytes(session.address)
    sender_at = start + HEADER_BYTES + OPENING_BYTES
    chunk = read_data(data, sender_at + len(sender), stop) if data.startswith(sender, sender_at) else None
    if chunk is not None:
        session.router.streams.data(session, *chunk, cut(data, start, stop))
    return chunk is not None


def cut(data: bytes, start: int, stop: int) -> "bytes | memoryview":
    """The frame `data[start:stop]`. A large one is not copied, although it keeps all of `data` in memory."""
    return memoryview(data)[start:stop] if stop - start >= LARGE_FRAME_BYTES else data[start:stop]


def read_data(data: bytes, start: int, stop: int) -> tuple[str, int, int] | None:
    """Receiver, id and size of the body of a DATA, whose fields from the receiver on are `data[start:stop]`.

    None for what is not in its limits, or is written in an unusual form.
    """
    to, to_end = string_bounds(data, start, stop)
    if to_end >= stop:
        return None
    id, id_end = data[to_end], to_end + 1
    if id >= _POSITIVE_FIXINT_END:
        width = _INTEGERS.get(id, 0)
        id, id_end = int.from_bytes(data[id_end : id_end + width], "big"), id_end + width
        if not width or id > INTEGER_MAX:
            return None
    body = body_start(data, id_end, stop) if id_end < stop else None
    if body is None or not 0 < stop - body <= CHUNK_MAX_BYTES:
        return None
    try:
        return data[to:to_end].decode(), id, stop - body
    except UnicodeDecodeError:
        return None


TAKERS: dict[bytes, Callable[["Session", bytes, int, int], bool]] = {opening(Data): take_data}
