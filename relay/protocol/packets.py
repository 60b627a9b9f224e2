"""Packets: one flat msgpack array of scalars each, `[type, ...]`.

Each class below is one packet type: its fields in wire order, their types and what they mean. `encode` and `decode`
work from those declarations alone, so a new packet is a new class and nothing else. See docs/protocol.md.

Two rules let versions meet: a receiver ignores fields behind those it knows, and a packet of an unknown type is
answered with an error (by the relay) or ignored (by a client) without ending the connection.
"""

from collections.abc import Sequence
from itertools import islice, product
from types import NoneType, UnionType
from typing import NamedTuple, Union, get_args, get_origin, get_type_hints

import msgpack

from relay.protocol.codes import CloseCode
from relay.protocol.errors import RemoteError
from relay.protocol.frames import encode_frame
from relay.protocol.limits import FIELDS_MAX, INTEGER_MAX


class Hello(NamedTuple):
    """Client's first packet: which versions it speaks, who it is, and the first message of the login mechanism."""

    version_min: int
    version_max: int
    user: str
    device: str
    mechanism: str
    data: bytes
    agent: str


class Challenge(NamedTuple):
    """Relay's answer to HELLO: the version of this connection and the mechanism's server-first message."""

    version: int
    data: bytes


class Proof(NamedTuple):
    """Client's answer to CHALLENGE: the mechanism's client-final message."""

    data: bytes


class Welcome(NamedTuple):
    """The login succeeded. `data` proves that the relay knows the user's key (server-final message).

    `last_message_id`: the highest message id the relay has stored from this device; the next one is higher.
    `keepalive_ms`: the relay sends PING after that much silence. `ticket`: for the next login, or nil. `generation`:
    names the relay's logs; another one than before means that they were restored, and offsets are others'.
    """

    version: int
    session: str
    data: bytes
    keepalive_ms: int
    time_ms: int
    last_message_id: int
    frame_max: int
    ticket: bytes | None
    agent: str
    generation: str


class Ping(NamedTuple):
    """Are you there? Either side, at any time after login."""

    token: int


class Pong(NamedTuple):
    """Yes; `token` is the ping's."""

    token: int


class Close(NamedTuple):
    """The last packet on a connection. `retry_ms`: how long to wait before reconnecting, or nil for no advice."""

    code: int
    sentence: str
    retry_ms: int | None


class Error(NamedTuple):
    """The packet of type `refused` with `id` was refused; the connection stays open."""

    refused: int
    id: int | None
    code: int
    sentence: str


class Signal(NamedTuple):
    """At most once, to live sessions only. With id nil a signal to nobody vanishes without an ERROR."""

    sender: str
    to: str
    id: int | None
    content_type: str
    body: bytes


class Message(NamedTuple):
    """To be stored, then delivered. `id` grows with each message of a device; a repetition keeps its id."""

    sender: str
    to: str
    id: int
    content_type: str
    body: bytes


class Stored(NamedTuple):
    """The message is on the relay's disk, at this offset of this conversation."""

    id: int
    conversation: str
    offset: int
    time_ms: int


class Delivery(NamedTuple):
    """A stored message: where it stands, when it was stored, and the sender's MESSAGE packet byte for byte."""

    conversation: str
    offset: int
    time_ms: int
    packet: bytes


class Ack(NamedTuple):
    """This device has processed all messages of the conversation up to `delivered`; a person read up to `read`."""

    conversation: str
    delivered: int
    read: int | None


class Gap(NamedTuple):
    """Offsets `first` to `last` of the conversation no longer exist for this device (retention)."""

    conversation: str
    first: int
    last: int


class StoredRun(NamedTuple):
    """`total` messages are on the relay's disk: ids from `id` on, at offsets from `offset` on, one by one.

    It says what as many STOREDs would say; the relay sends it for messages that were stored together.
    """

    id: int
    conversation: str
    offset: int
    time_ms: int
    total: int


class Call(NamedTuple):
    """A question that gets exactly one answer, RESULT or FAULT, within `timeout_ms`."""

    sender: str
    to: str
    id: int
    method: str
    timeout_ms: int
    content_type: str
    body: bytes


class Result(NamedTuple):
    """The answer to the call `id` of session `to`."""

    sender: str
    to: str
    id: int
    content_type: str
    body: bytes


class Fault(NamedTuple):
    """The call `id` of session `to` failed: from its callee, or from `relay` when the callee could not answer."""

    sender: str
    to: str
    id: int
    code: int
    sentence: str


class Open(NamedTuple):
    """May I have a stream to `service`? `id` is even, and higher than that of any stream this session opened before.

    In what follows the opener writes this id, and the other end the id plus 1.
    """

    sender: str
    to: str
    id: int
    service: str
    timeout_ms: int
    content_type: str
    body: bytes


class Accept(NamedTuple):
    """You may. The stream is open, and neither end has credit yet."""

    sender: str
    to: str
    id: int
    content_type: str
    body: bytes


class Data(NamedTuple):
    """The next bytes, for which the receiver has granted credit."""

    sender: str
    to: str
    id: int
    body: bytes


class Credit(NamedTuple):
    """Send `size` more bytes than I have granted so far."""

    sender: str
    to: str
    id: int
    size: int


class Finish(NamedTuple):
    """No more DATA comes from me; yours may. A stream that both have finished is over."""

    sender: str
    to: str
    id: int


class Reset(NamedTuple):
    """The stream is over, both ways: refused, given up or failed."""

    sender: str
    to: str
    id: int
    code: int
    sentence: str


Packet = (
    Hello
    | Challenge
    | Proof
    | Welcome
    | Ping
    | Pong
    | Close
    | Error
    | Signal
    | Message
    | Stored
    | Delivery
    | Ack
    | Gap
    | StoredRun
    | Call
    | Result
    | Fault
    | Open
    | Accept
    | Data
    | Credit
    | Finish
    | Reset
)

# Every packet type of version 1.
PACKETS: dict[int, type[Packet]] = {
    1: Hello,
    2: Challenge,
    3: Proof,
    4: Welcome,
    5: Ping,
    6: Pong,
    7: Close,
    8: Error,
    16: Signal,
    17: Message,
    18: Stored,
    19: Delivery,
    20: Ack,
    21: Gap,
    22: StoredRun,
    24: Call,
    25: Result,
    26: Fault,
    32: Open,
    33: Accept,
    34: Data,
    35: Credit,
    36: Finish,
    37: Reset,
}
NUMBERS: dict[type[Packet], int] = {kind: number for number, kind in PACKETS.items()}


class Unknown(NamedTuple):
    """A well-formed packet of a type this version does not know. `id` is its fourth field if that is an integer."""

    number: int
    id: int | None


def _accepted(hint: object) -> frozenset[type]:
    kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    return frozenset(k for k in kinds if isinstance(k, type))


class _Shape(NamedTuple):
    """What decoding needs to know of one packet type."""

    kind: type[Packet]
    # What each field may be, in wire order.
    fields: tuple[frozenset[type], ...]
    # Every sequence of element types that is right, the type number's first: two where a field may be nil.
    signatures: frozenset[tuple[type, ...]]
    # The positions in the array, counted from the type number at 0, that may hold an integer.
    integers: tuple[int, ...]


def _shape(kind: type[Packet]) -> _Shape:
    hints = get_type_hints(kind)
    fields = tuple(_accepted(hints[name]) for name in kind._fields)
    integers = tuple(position for position, accepted in enumerate(fields, 1) if int in accepted)
    return _Shape(kind, fields, frozenset(product((int,), *fields)), integers)


_SHAPES = {number: _shape(kind) for number, kind in PACKETS.items()}
_SCALARS = frozenset({int, str, bytes, bool, NoneType})

_pack = msgpack.Packer(use_bin_type=True, autoreset=True).pack


def encode_payload(packet: Packet) -> bytes:
    """The packet as msgpack, without the frame's length. The caller has checked the fields' types and sizes."""
    return _pack((NUMBERS[type(packet)], *packet))  # type: ignore[no-any-return]


def encode(packet: Packet) -> bytes:
    """The packet as one frame. Raises LocalError if it does not fit into one."""
    return encode_frame(encode_payload(packet))


# A payload up to this length is decoded in one call of msgpack's. That lets nested arrays through, which cost up to
# 30 bytes of memory per byte (measured) before they are refused. A longer one goes through an Unpacker, which refuses
# a container at its header and costs half a microsecond more.
_SHORT_BYTES = 2048


def _read(payload: bytes) -> Sequence[object]:
    """The array's elements. Nested containers may still be among them."""
    first = payload[0] if payload else 0
    if not 0x91 <= first <= 0x9F:
        raise RemoteError(
            CloseCode.BAD_PACKET,
            f"a packet is a msgpack array of 1 to {FIELDS_MAX} elements, which begins with a byte 0x91 to 0x9f, "
            f"not 0x{first:02x}",
        )
    try:
        if len(payload) > _SHORT_BYTES:
            return _read_long(payload, first & 0x0F)
        elements: Sequence[object] = msgpack.unpackb(
            payload, use_list=False, max_array_len=FIELDS_MAX, max_map_len=0, max_ext_len=0
        )
    except Exception as error:  # msgpack's errors are no family: see its documentation
        raise RemoteError(
            CloseCode.BAD_PACKET,
            f"a packet could not be decoded ({_plain(error)}); it is one msgpack array of scalars and nothing else",
        ) from None
    return elements


def _read_long(payload: bytes, count: int) -> Sequence[object]:
    unpacker = msgpack.Unpacker(max_array_len=0, max_map_len=0, max_ext_len=0, max_buffer_size=len(payload))
    unpacker.feed(memoryview(payload)[1:])
    elements = tuple(islice(unpacker, count))
    if len(elements) != count or unpacker.tell() != len(payload) - 1:
        raise ValueError(f"its header says {count} elements, its bytes say otherwise")
    return elements


def _plain(error: Exception) -> str:
    return str(error)[:80] or type(error).__name__


def decode(payload: bytes) -> Packet | Unknown:
    """The packet in a frame's payload. Raises RemoteError with BAD_PACKET; never anything else.

    Fields behind the known ones are ignored if they are scalars.
    """
    elements = _read(payload)
    number = elements[0]
    if type(number) is int:
        shape = _SHAPES.get(number)
        if shape is not None and tuple(map(type, elements)) in shape.signatures:
            for position in shape.integers:
                value = elements[position]
                if value is not None and not 0 <= value <= INTEGER_MAX:  # type: ignore[operator]
                    break
            else:
                return tuple.__new__(shape.kind, elements[1:])
    return _decode_unusual(elements)


def _decode_unusual(elements: Sequence[object]) -> Packet | Unknown:
    """The packet, where it has more fields than this version knows or an unknown type; what is wrong with it else."""
    number = elements[0]
    if type(number) is not int or not 0 <= number <= INTEGER_MAX:
        raise RemoteError(CloseCode.BAD_PACKET, "a packet's first element is its type, a small positive integer")
    for value in elements:
        if type(value) not in _SCALARS:
            raise RemoteError(CloseCode.BAD_PACKET, f"a packet holds scalars only, not {_container_name(value)}")
    shape = _SHAPES.get(number)
    if shape is None:
        return Unknown(number, _id_of(elements))
    name = name_of(shape.kind)
    if len(elements) <= len(shape.fields):
        raise RemoteError(
            CloseCode.BAD_PACKET, f"a {name} packet has {len(shape.fields)} fields, not {len(elements) - 1}"
        )
    for position, accepted in enumerate(shape.fields, 1):
        if not _fits(elements[position], accepted):
            field = shape.kind._fields[position - 1]
            raise RemoteError(CloseCode.BAD_PACKET, f"field {field!r} of a {name} packet must be {_wanted(accepted)}")
    return shape.kind._make(elements[1 : len(shape.fields) + 1])


def _container_name(value: object) -> str:
    return {tuple: "an array", dict: "a map", float: "a float"}.get(type(value), "an extension type")


def _fits(value: object, accepted: frozenset[type]) -> bool:
    return type(value) in accepted and (type(value) is not int or 0 <= value <= INTEGER_MAX)


def _id_of(elements: Sequence[object]) -> int | None:
    identifier = elements[3] if len(elements) > 3 else None
    return identifier if type(identifier) is int and 0 <= identifier <= INTEGER_MAX else None


def _wanted(accepted: frozenset[type]) -> str:
    names = {int: f"an integer from 0 to {INTEGER_MAX}", str: "a string", bytes: "binary", NoneType: "nil"}
    return " or ".join(names[kind] for kind in (int, str, bytes, NoneType) if kind in accepted)


def unfold(run: StoredRun) -> list[Stored]:
    """The STOREDs that a STOREDRUN stands for."""
    return [Stored(run.id + step, run.conversation, run.offset + step, run.time_ms) for step in range(run.total)]


def name_of(kind: type[Packet]) -> str:
    """The name of a packet type as the specification writes it: `HELLO`."""
    return kind.__name__.upper()
