"""The fast path for messages: those that follow each other to one receiver are read without decoding each.

As with signals, the first is read field by field, and the bytes that repeat are remembered: everything before the id,
the id's own width, and everything between it and the body. A following frame that has the same bytes at these places
is well-formed, authorised and of the same size. If its id is the next one, it belongs to the same run, and the whole
run goes on as one piece.
"""

from typing import NamedTuple

from relay.protocol.limits import BODY_MAX, CONTENT_TYPE_MAX_BYTES, HEADER_BYTES, MESSAGE_MAX
from relay.protocol.packets import NUMBERS, Message
from relay.protocol.runs import RUN_BYTES_MAX, RUN_MESSAGES_MAX
from relay.router.directory import address_bytes
from relay.session.fields import body_start, string_bounds

# The msgpack markers of an unsigned integer, and how many bytes follow. Ids below 128 and above 2^32 take the slow
# path: a device sends the former once in its life, and the latter may be out of range.
_WIDTHS = {0xCC: 1, 0xCD: 2, 0xCE: 4}


class Shape(NamedTuple):
    """Messages whose frames are `size` bytes long and look like this: `head`, the id, `tail`, and the body.

    `head` ends with the id's marker; the id itself lies between `id_at` and `tail_at`.
    """

    head: bytes
    id_at: int
    tail_at: int
    tail: bytes
    size: int
    to: str


def message_prefix(address: str) -> bytes:
    """How every message of a session begins behind its frame length: array header, type, and its own address."""
    return bytes((0x90 | 1 + len(Message._fields), NUMBERS[Message])) + address_bytes(address)


def learn_shape(data: bytes, start: int, stop: int, prefix: bytes) -> Shape | None:
    """The shape of the frame in `data[start:stop]`, which starts with `prefix`; None for the slow path."""
    to_at = start + HEADER_BYTES + len(prefix)
    name, marker_at = string_bounds(data, to_at, stop)
    if marker_at >= stop or (width := _WIDTHS.get(data[marker_at])) is None:
        return None
    id_at, tail_at = marker_at + 1, marker_at + 1 + width
    content, content_end = string_bounds(data, tail_at, stop)
    body = body_start(data, content_end, stop)
    if body is None or not data[content:content_end].isascii() or not data[name:marker_at].isascii():
        return None
    too_large = stop - start - HEADER_BYTES > MESSAGE_MAX or stop - body > BODY_MAX
    if too_large or content_end - content > CONTENT_TYPE_MAX_BYTES:
        return None
    return Shape(
        data[start:id_at],
        id_at - start,
        tail_at - start,
        data[tail_at:body],
        stop - start,
        data[name:marker_at].decode(),
    )


def read_run(data: bytes, start: int, end: int, shape: Shape) -> tuple[int, int]:
    """(id of the first, how many) of the messages of this shape with successive ids, one behind the other from `start`
    on. None if the first has another shape, or the id 0: the slow path says what is wrong with that.
    """
    head, id_at, tail_at, tail, size, _ = shape
    if start + size > end or not data.startswith(head, start) or not data.startswith(tail, start + tail_at):
        return 0, 0
    first = int.from_bytes(data[start + id_at : start + tail_at], "big")
    if not first:
        return 0, 0
    width = tail_at - id_at
    limit = min((end - start) // size, RUN_MESSAGES_MAX, max(1, RUN_BYTES_MAX // size), (1 << 8 * width) - first)
    for total in range(1, limit):
        start += size
        if not data.startswith(head + (first + total).to_bytes(width, "big") + tail, start):
            return first, total
    return first, limit
