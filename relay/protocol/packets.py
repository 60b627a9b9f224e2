"""Packets: one flat msgpack array of scalars each, `[type, ...]`.

Each class below is one packet type: its fields in wire order, their types and what they mean. `encode` and `decode`
work from those declarations alone, so a new packet is a new class and nothing else. See docs/protocol.md.

Two rules let versions meet: a receiver ignores fields behind those it knows, and a packet of an unknown type is
answered with an error (by the relay) or ignored (by a client) without ending the connection.
"""

from itertools import islice
from types import NoneType, UnionType
from typing import NamedTuple, Union, get_args, get_origin, get_type_hints

import msgpack

from relay.protocol.codes import CloseCode
from relay.protocol.errors import RemoteError
from relay.protocol.frames import encode_frame
from relay.protocol.limits import FIELDS_MAX, FRAME_MAX, INTEGER_MAX


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
    `keepalive_ms`: the relay sends PING after that much silence. `ticket`: for the next login, or nil.
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
    | Call
    | Result
    | Fault
)

# Every packet type of version 1. 32 to 47 are set aside for streams.
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
    24: Call,
    25: Result,
    26: Fault,
}
NUMBERS: dict[type[Packet], int] = {kind: number for number, kind in PACKETS.items()}


class Unknown(NamedTuple):
    """A well-formed packet of a type this version does not know. `id` is its fourth field if that is an integer."""

    number: int
    id: int | None


def _accepted(hint: object) -> frozenset[type]:
    kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    return frozenset(k for k in kinds if isinstance(k, type))


# For every type: what each field may be, in wire order.
_SHAPES: dict[int, tuple[frozenset[type], ...]] = {
    number: tuple(_accepted(hint) for hint in (get_type_hints(kind)[name] for name in kind._fields))
    for number, kind in PACKETS.items()
}
_SCALARS = frozenset({int, str, bytes, bool, NoneType})

_pack = msgpack.Packer(use_bin_type=True, autoreset=True).pack


def encode_payload(packet: Packet) -> bytes:
    """The packet as msgpack, without the frame's length. The caller has checked the fields' types and sizes."""
    return _pack((NUMBERS[type(packet)], *packet))  # type: ignore[no-any-return]


def encode(packet: Packet) -> bytes:
    """The packet as one frame. Raises LocalError if it does not fit into one."""
    return encode_frame(encode_payload(packet))


def _new_unpacker() -> msgpack.Unpacker:
    # Limits of zero refuse every non-empty container at its header, before anything is allocated for it; empty
    # containers come out as objects that the type check refuses.
    return msgpack.Unpacker(
        raw=False,
        max_array_len=0,
        max_map_len=0,
        max_ext_len=0,
        max_buffer_size=FRAME_MAX,
        max_str_len=FRAME_MAX,
        max_bin_len=FRAME_MAX,
    )


class _FlatReader:
    """Decodes flat arrays. One msgpack Unpacker serves all packets of the process: making one costs more than using it.

    An Unpacker that raised, or kept bytes, is thrown away (using it again crashed before msgpack 1.2.1).
    """

    def __init__(self) -> None:
        self._unpacker = _new_unpacker()

    def read(self, payload: bytes) -> list[object]:
        count = payload[0] & 0x0F
        if payload[0] & 0xF0 != 0x90 or count == 0:
            raise RemoteError(
                CloseCode.BAD_PACKET,
                f"a packet is a msgpack array of 1 to {FIELDS_MAX} fields, which begins with a byte 0x91 to 0x9f, "
                f"not 0x{payload[0]:02x}",
            )
        unpacker = self._unpacker
        before = unpacker.tell()
        try:
            unpacker.feed(payload[1:])
            fields = list(islice(unpacker, count))
            whole = len(fields) == count and unpacker.tell() - before == len(payload) - 1
        except Exception as error:  # msgpack's errors are no family: see its documentation
            self._unpacker = _new_unpacker()
            raise RemoteError(
                CloseCode.BAD_PACKET, f"a packet could not be decoded: {_plain(error)}; its fields are scalars only"
            ) from None
        if not whole:
            self._unpacker = _new_unpacker()
            raise RemoteError(CloseCode.BAD_PACKET, f"a packet's header says {count} fields, its bytes say otherwise")
        return fields


def _plain(error: Exception) -> str:
    return str(error)[:80] or type(error).__name__


_reader = _FlatReader()


def decode(payload: bytes) -> Packet | Unknown:
    """The packet in a frame's payload (at least one byte). Raises RemoteError with BAD_PACKET; never anything else.

    Fields behind the known ones are ignored if they are scalars.
    """
    fields = _reader.read(payload)
    number = fields[0]
    if type(number) is not int or not 0 <= number <= INTEGER_MAX:
        raise RemoteError(CloseCode.BAD_PACKET, "a packet's first field is its type, a small positive integer")
    shape = _SHAPES.get(number)
    if shape is None:
        _check_scalars(fields)
        third = fields[3] if len(fields) > 3 else None
        return Unknown(number, third if type(third) is int else None)
    kind = PACKETS[number]
    if len(fields) <= len(shape):
        raise RemoteError(
            CloseCode.BAD_PACKET, f"a {name_of(kind)} packet has {len(shape)} fields, not {len(fields) - 1}"
        )
    for position, (value, accepted) in enumerate(zip(islice(fields, 1, None), shape, strict=False)):
        found = type(value)
        if found not in accepted or (found is int and not 0 <= value <= INTEGER_MAX):  # type: ignore[operator]
            raise RemoteError(
                CloseCode.BAD_PACKET,
                f"field {kind._fields[position]!r} of a {name_of(kind)} packet must be {_wanted(accepted)}",
            )
    known = len(shape) + 1
    if len(fields) > known:
        _check_scalars(fields[known:])
    return kind._make(fields[1:known])


def _check_scalars(values: list[object]) -> None:
    for value in values:
        if type(value) not in _SCALARS:
            raise RemoteError(CloseCode.BAD_PACKET, f"a packet holds scalars only, not {type(value).__name__}")


def _wanted(accepted: frozenset[type]) -> str:
    names = {int: f"an integer from 0 to {INTEGER_MAX}", str: "a string", bytes: "binary", NoneType: "nil"}
    return " or ".join(names[kind] for kind in (int, str, bytes, NoneType) if kind in accepted)


def name_of(kind: type[Packet]) -> str:
    """The name of a packet type as the specification writes it: `HELLO`."""
    return kind.__name__.upper()
