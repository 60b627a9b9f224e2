"""The fast path of streams: where DATA goes and how much it carries, and what CREDIT grants, without decoding them.

A DATA packet is some 40 bytes of header and up to 64 KiB of body; decoding would copy the body twice. For each there
is a CREDIT on the way back.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from relay.protocol.limits import CHUNK_MAX_BYTES, HEADER_BYTES, INTEGER_MAX
from relay.protocol.packets import Credit, Data
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
        if chunk[2] >= LARGE_FRAME_BYTES:
            session.defer()
        session.router.streams.data(session, *chunk, cut(data, start, stop))
    return chunk is not None


def cut(data: bytes, start: int, stop: int) -> "bytes | memoryview":
    """The frame `data[start:stop]`. A large one is not copied, although it keeps all of `data` in memory."""
    return memoryview(data)[start:stop] if stop - start >= LARGE_FRAME_BYTES else data[start:stop]


def take_credit(session: "Session", data: bytes, start: int, stop: int) -> bool:
    """Pass on the CREDIT in the frame `data[start:stop]`. False leaves it to the slow path, which explains."""
    sender = address_bytes(session.address)
    sender_at = start + HEADER_BYTES + OPENING_BYTES
    grant = read_credit(data, sender_at + len(sender), stop) if data.startswith(sender, sender_at) else None
    if grant is not None:
        session.router.streams.grant(session, *grant, data[start:stop])
    return grant is not None


def read_data(data: bytes, start: int, stop: int) -> tuple[str, int, int] | None:
    """Receiver, id and size of the body of a DATA, whose fields from the receiver on are `data[start:stop]`.

    None for what is not in its limits, or is written in an unusual form.
    """
    found = _read_stream(data, start, stop)
    if found is None:
        return None
    to, id, id_end = found
    body = body_start(data, id_end, stop)
    return (to, id, stop - body) if body is not None and 0 < stop - body <= CHUNK_MAX_BYTES else None


def read_credit(data: bytes, start: int, stop: int) -> tuple[str, int, int] | None:
    """Receiver, id and size of a CREDIT, as `read_data`. The size may be any integer."""
    found = _read_stream(data, start, stop)
    if found is None:
        return None
    to, id, id_end = found
    size, end = _read_integer(data, id_end, stop)
    return (to, id, size) if end == stop else None


def _read_stream(data: bytes, start: int, stop: int) -> tuple[str, int, int] | None:
    """Receiver, id, and where the next field begins, which is there."""
    to, to_end = string_bounds(data, start, stop)
    id, id_end = _read_integer(data, to_end, stop)
    if id_end >= stop:
        return None
    try:
        return data[to:to_end].decode(), id, id_end
    except UnicodeDecodeError:
        return None


def _read_integer(data: bytes, start: int, stop: int) -> tuple[int, int]:
    """The integer at `start`, and where it ends; beyond `stop` if there is none in its limits."""
    if start >= stop:
        return 0, stop + 1
    marker = data[start]
    if marker < _POSITIVE_FIXINT_END:
        return marker, start + 1
    width = _INTEGERS.get(marker, 0)
    end = start + 1 + width
    number = int.from_bytes(data[start + 1 : end], "big")
    return (number, end) if width and number <= INTEGER_MAX else (0, stop + 1)


TAKERS: dict[bytes, Callable[["Session", bytes, int, int], bool]] = {
    opening(Data): take_data,
    opening(Credit): take_credit,
}
