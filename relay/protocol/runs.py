"""Runs: messages with successive ids and frames of one size, handled as one piece from the socket to the disk.

A piece of `total` messages is kept as `packet`: the payload of the MESSAGE if it is one, and the frames as they came,
one behind the other, if it is more.
"""

import msgpack

from relay.protocol.limits import HEADER_BYTES
from relay.protocol.packets import NUMBERS, Delivery, encode

# So many messages, or so many bytes, make a new run: one of them is never read without the others.
RUN_MESSAGES_MAX = 128
RUN_BYTES_MAX = 32 * 1024

_HEAD = bytes((0x90 | 1 + len(Delivery._fields), NUMBERS[Delivery]))

_pack = msgpack.Packer(use_bin_type=True, autoreset=True).pack


def payloads(packet: bytes, total: int) -> list[bytes]:
    """The MESSAGE payloads in a piece of `total` messages."""
    if total == 1:
        return [packet]
    size = len(packet) // total
    return [packet[start + HEADER_BYTES : start + size] for start in range(0, len(packet), size)]


def size_of(packet: bytes, total: int) -> int:
    """How many bytes the MESSAGE payloads in a piece have together."""
    return len(packet) if total == 1 else len(packet) - HEADER_BYTES * total


def payload_at(packet: bytes, total: int, place: int) -> bytes:
    """The MESSAGE payload of one message in a piece, counted from 0."""
    if total == 1:
        return packet
    size = len(packet) // total
    return packet[place * size + HEADER_BYTES : (place + 1) * size]


def deliveries(conversation: str, offset: int, time_ms: int, packet: bytes, total: int) -> bytes:
    """The DELIVERYs of a piece whose first message stands at `offset`: one frame each, as `encode` makes them."""
    if total == 1:
        return encode(Delivery(conversation, offset, time_ms, packet))
    encoded = _pack(offset)
    width = len(encoded) - 1
    if width not in (1, 2, 4) or len(_pack(offset + total - 1)) != len(encoded):
        parts = enumerate(payloads(packet, total), offset)
        return b"".join([encode(Delivery(conversation, at, time_ms, payload)) for at, payload in parts])
    size = len(packet) // total
    start = _HEAD + _pack(conversation) + encoded[:1]
    middle = _pack(time_ms) + _pack(packet[HEADER_BYTES:size])[: HEADER_BYTES - size]
    length = len(start) + width + len(middle) + size - HEADER_BYTES
    start = length.to_bytes(HEADER_BYTES, "big") + start
    pieces: list[bytes] = []
    at = HEADER_BYTES
    for number in range(offset, offset + total):
        pieces += (start, number.to_bytes(width, "big"), middle, packet[at : at + size - HEADER_BYTES])
        at += size
    return b"".join(pieces)
