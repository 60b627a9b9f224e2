"""Packets: what is declared goes through unchanged, everything else is refused with BAD_PACKET and a reason."""

import re
import threading
import tracemalloc
from collections.abc import Iterator
from typing import Any, get_args, get_type_hints

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from relay.protocol.codes import CloseCode
from relay.protocol.errors import LocalError, RemoteError
from relay.protocol.limits import FIELDS_MAX, FRAME_MAX, INTEGER_MAX
from relay.protocol.packets import (
    NUMBERS,
    PACKETS,
    Error,
    Message,
    Packet,
    Ping,
    Signal,
    Unknown,
    decode,
    encode,
    encode_payload,
    name_of,
)
from tests.protocol.examples import EXAMPLES, payload_of
from tests.protocol.strategies import packets, scalars

# Payloads longer than this take another way through the decoder; both ways have to refuse the same.
LONG = bytes(3000)

ARRAY_OF_NOTHING, MAP_OF_NOTHING, EXT_OF_NOTHING = b"\x90", b"\x80", b"\xc7\x00\x05"


def refused(payload: bytes) -> RemoteError:
    with pytest.raises(RemoteError) as caught:
        decode(payload)
    assert caught.value.code is CloseCode.BAD_PACKET
    assert caught.value.sentence
    return caught.value


def array(*elements: bytes) -> bytes:
    """A payload from elements that are encoded already."""
    return bytes([0x90 | len(elements)]) + b"".join(elements)


def with_element(packet: Packet, position: int, encoded: bytes) -> bytes:
    """The packet's payload with one element replaced by other bytes."""
    elements = [msgpack.packb(value) for value in (NUMBERS[type(packet)], *packet)]
    elements[position] = encoded
    return array(*elements)


@given(packets)
def test_what_is_encoded_is_decoded(packet: Packet) -> None:
    payload = encode_payload(packet)
    decoded = decode(payload)
    assert decoded == packet
    assert type(decoded) is type(packet)
    assert encode(packet) == len(payload).to_bytes(4, "big") + payload


@given(st.one_of(st.binary(max_size=200), st.binary(min_size=1, max_size=60).map(lambda tail: b"\x96\x10" + tail)))
@example(b"")
@example(b"\x91\x81\x01\x02")
@example(b"\x91\x90")
def test_any_bytes_are_a_packet_or_a_remote_error(payload: bytes) -> None:
    try:
        packet = decode(payload)
    except RemoteError as error:
        assert error.code is CloseCode.BAD_PACKET
        assert error.sentence
    else:
        assert isinstance(packet, (Unknown, *NUMBERS))


@given(packets, st.data())
def test_a_changed_byte_is_a_packet_or_a_remote_error(packet: Packet, data: st.DataObject) -> None:
    payload = bytearray(encode_payload(packet))
    payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    try:
        decode(bytes(payload))
    except RemoteError as error:
        assert error.code is CloseCode.BAD_PACKET


@given(packets, st.lists(scalars, min_size=1, max_size=5))
def test_scalars_behind_the_known_fields_are_ignored(packet: Packet, later: list[object]) -> None:
    elements = [NUMBERS[type(packet)], *packet, *later][:FIELDS_MAX]
    assert decode(msgpack.packb(elements)) == packet


@pytest.mark.parametrize("label", EXAMPLES)
def test_a_truncated_packet_is_refused_wherever_it_ends(label: str) -> None:
    payload = payload_of(label)
    for end in range(len(payload)):
        refused(payload[:end])


@pytest.mark.parametrize("label", EXAMPLES)
@pytest.mark.parametrize("tail", [b"\x00", b"\xc0", b"\x90", b"\xc1"])
def test_bytes_behind_the_array_are_refused(label: str, tail: bytes) -> None:
    refused(payload_of(label) + tail)


def test_bytes_behind_a_long_packet_are_refused() -> None:
    refused(encode_payload(Signal("a/b", "c", None, "", LONG)) + b"\xc0")
    refused(encode_payload(Signal("a/b", "c", None, "", LONG))[:-1])


@pytest.mark.parametrize("kind", NUMBERS, ids=name_of)
def test_too_few_fields_are_refused(kind: type[Packet]) -> None:
    elements = [NUMBERS[kind], *EXAMPLES[name_of(kind)]]
    error = refused(msgpack.packb(elements[:-1]))
    assert f"{name_of(kind)} packet has {len(kind._fields)} fields, not {len(kind._fields) - 1}" in error.sentence


WRONG = {
    "negative": -1,
    "over the exact integers": INTEGER_MAX + 1,
    "the largest msgpack can say": 2**64 - 1,
    "float": 1.0,
    "bool": True,
    "nil": None,
    "str": "1",
    "bin": b"1",
    "array": [1],
    "empty array": [],
    "map": {"a": 1},
    "empty map": {},
    "extension": msgpack.ExtType(5, b"x"),
    "empty extension": msgpack.ExtType(5, b""),
    "timestamp": msgpack.Timestamp(1, 1),
}


def wrong_values() -> Iterator[Any]:
    for number, kind in PACKETS.items():
        hints = get_type_hints(kind)
        for position, field in enumerate(kind._fields, 1):
            accepted = get_args(hints[field]) or (hints[field],)
            for what, value in WRONG.items():
                in_range = type(value) is not int or 0 <= value <= INTEGER_MAX
                if type(value) not in accepted or not in_range:
                    yield pytest.param(number, position, value, id=f"{name_of(kind)}-{field}-{what}")


@pytest.mark.parametrize(("number", "position", "value"), list(wrong_values()))
def test_a_field_of_a_wrong_type_is_refused(number: int, position: int, value: object) -> None:
    packet = EXAMPLES[name_of(PACKETS[number])]
    refused(with_element(packet, position, msgpack.packb(value)))


def test_the_reason_names_the_field() -> None:
    error = refused(with_element(Ping(1), 1, msgpack.packb("one")))
    assert error.sentence == "field 'token' of a PING packet must be an integer from 0 to 9007199254740991"
    error = refused(with_element(EXAMPLES["SIGNAL"], 3, msgpack.packb(b"")))
    assert error.sentence.endswith("must be an integer from 0 to 9007199254740991 or nil")


@pytest.mark.parametrize("value", [0, INTEGER_MAX])
def test_the_bounds_of_integers(value: int) -> None:
    assert decode(encode_payload(Ping(value))) == Ping(value)


@pytest.mark.parametrize(
    "encoded",
    [b"\x2a", b"\xcc\x2a", b"\xcd\x00\x2a", b"\xce\x00\x00\x00\x2a", b"\xd0\x2a", b"\xd3" + bytes(7) + b"\x2a"],
)
def test_every_form_of_an_integer_is_accepted(encoded: bytes) -> None:
    assert decode(array(b"\x05", encoded)) == Ping(42)


@pytest.mark.parametrize("value", [1.0, True, None, "5", b"5", [5], {}, -1, 2**53, 2**64 - 1])
def test_a_type_that_is_no_small_integer_is_refused(value: object) -> None:
    refused(array(msgpack.packb(value), b"\x2a"))


@pytest.mark.parametrize(
    "header", [b"\xdc\x00\x02", b"\xdd\x00\x00\x00\x02", b"\x82", b"\x90", b"\xa2", b"\xc0", b"\x05"]
)
def test_only_the_short_array_header_begins_a_packet(header: bytes) -> None:
    error = refused(header + b"\x05\x2a")
    assert f"0x{header[0]:02x}" in error.sentence


def test_an_empty_payload_is_refused() -> None:
    refused(b"")


CONTAINERS = [
    ARRAY_OF_NOTHING,
    b"\x91\xc0",
    b"\xdc\x00\x00",
    b"\xdd\x00\x00\x00\x00",
    MAP_OF_NOTHING,
    b"\x81\xa1k\x01",
    b"\xde\x00\x00",
    b"\xdf\x00\x00\x00\x00",
    EXT_OF_NOTHING,
    b"\xd4\x05\x00",
    b"\xc7\x01\x05\x00",
    b"\xd6\xff\x00\x00\x00\x00",
]


@pytest.mark.parametrize("container", CONTAINERS, ids=bytes.hex)
@pytest.mark.parametrize("body", [b"", LONG], ids=["short", "long"])
@pytest.mark.parametrize("number", [5, 16, 48], ids=["PING", "SIGNAL", "unknown"])
def test_containers_and_extensions_are_refused_everywhere(container: bytes, body: bytes, number: int) -> None:
    filler = msgpack.packb(body)
    elements = [msgpack.packb(number), b"\x2a", filler, filler, filler, filler]
    for position in range(len(elements)):
        refused(array(*elements[:position], container, *elements[position + 1 :]))


@pytest.mark.parametrize("text", [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\xc0\x80"], ids=bytes.hex)
@pytest.mark.parametrize("body", [b"", LONG], ids=["short", "long"])
def test_invalid_utf8_is_refused(text: bytes, body: bytes) -> None:
    sender = bytes([0xA0 | len(text)]) + text
    refused(array(b"\x10", sender, b"\xa1b", b"\xc0", b"\xa0", msgpack.packb(body)))


@pytest.mark.parametrize("number", [0, 9, 15, 23, 38, 47, 48, 127, 128, INTEGER_MAX])
def test_an_unknown_type_is_reported_with_its_id(number: int) -> None:
    assert decode(msgpack.packb([number, "a/b", "c", 7])) == Unknown(number, 7)
    assert decode(msgpack.packb([number, "a/b", "c"])) == Unknown(number, None)


@pytest.mark.parametrize("identifier", [None, "7", True, -1, INTEGER_MAX + 1, b"7"])
def test_what_is_no_id_is_not_taken_for_one(identifier: object) -> None:
    assert decode(msgpack.packb([48, "a/b", "c", identifier])) == Unknown(48, None)


@pytest.mark.parametrize(
    ("value", "name"),
    [([1], "an array"), ({}, "a map"), (1.5, "a float"), (msgpack.ExtType(5, b""), "an extension type")],
)
def test_the_reason_names_what_is_no_scalar(value: object, name: str) -> None:
    assert refused(msgpack.packb([5, value])).sentence == f"a packet holds scalars only, not {name}"


def test_floats_are_no_scalars_of_ours() -> None:
    refused(msgpack.packb([48, 1.5]))
    refused(msgpack.packb([5, 42, 1.5]))


def nested(header: bytes, depth: int) -> bytes:
    return array(b"\x10", header * depth)


def full_tree(size_max: int) -> bytes:
    """Arrays of arrays in which everything announced is there: 15 branches on each level, `[nil]` for leaves."""
    tree = b"\x91\xc0"
    while 15 * len(tree) + 1 < size_max:
        tree = b"\x9f" + tree * 15
    branches = size_max // len(tree)
    return bytes([0x90 | branches]) + tree * branches


BOMBS = {
    "full tree": full_tree(FRAME_MAX - 16),
    "short, full tree": full_tree(2000),
    "array32 claims four billion": array(b"\x10", b"\xdd\xff\xff\xff\xff"),
    "map32 claims four billion": array(b"\x10", b"\xdf\xff\xff\xff\xff"),
    "str32 claims four billion": array(b"\x10", b"\xdb\xff\xff\xff\xff"),
    "bin32 claims four billion": array(b"\x10", b"\xc6\xff\xff\xff\xff"),
    "ext32 claims four billion": array(b"\x10", b"\xc9\xff\xff\xff\xff\x05"),
    "nested array32 that claim what is there": nested(b"\xdd\x00\x10\x00\x00", 200_000),
    "nested array16": nested(b"\xdc\xff\xff", 300_000),
    "nested fixarray": nested(b"\x9f", 1_000_000),
    "short, nested fixarray": nested(b"\x9f", 2000),
    "short, nested array16": nested(b"\xdc\x00\x0f", 600),
    "nested map": nested(b"\x81\xa1a", 300_000),
    "a million empty arrays": array(b"\x10", *[b"\x9f" + b"\x90" * 15] * 14),
}


@pytest.mark.parametrize("payload", BOMBS.values(), ids=BOMBS)
def test_a_packet_cannot_make_the_decoder_allocate_what_it_only_claims(payload: bytes) -> None:
    assert len(payload) <= FRAME_MAX
    tracemalloc.start()
    try:
        refused(payload)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 * len(payload) + 256 * 1024


def test_the_largest_packet_goes_through() -> None:
    packet = Message("alice/laptop", "bob", 1, "", bytes(FRAME_MAX - 64))
    assert decode(encode(packet)[4:]) == packet


def test_a_packet_that_fits_no_frame_is_our_own_error() -> None:
    with pytest.raises(LocalError):
        encode(Message("alice/laptop", "bob", 1, "", bytes(FRAME_MAX)))


def test_threads_do_not_see_each_others_packets() -> None:
    mixed_up: list[object] = []

    def work(number: int) -> None:
        bodies = [bytes([number]) * size for size in (10, 5000)]
        expected = [Signal("a/b", "c", number, "", body) for body in bodies]
        for _ in range(2000):
            mixed_up.extend(p for p in map(decode, map(encode_payload, expected)) if p not in expected)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert mixed_up == []


def test_numbers_stay_what_they_are() -> None:
    """A number that changes breaks every client: this list only grows."""
    assert {name_of(kind): number for kind, number in NUMBERS.items()} == {
        "HELLO": 1,
        "CHALLENGE": 2,
        "PROOF": 3,
        "WELCOME": 4,
        "PING": 5,
        "PONG": 6,
        "CLOSE": 7,
        "ERROR": 8,
        "SIGNAL": 16,
        "MESSAGE": 17,
        "STORED": 18,
        "DELIVERY": 19,
        "ACK": 20,
        "GAP": 21,
        "STOREDRUN": 22,
        "CALL": 24,
        "RESULT": 25,
        "FAULT": 26,
        "OPEN": 32,
        "ACCEPT": 33,
        "DATA": 34,
        "CREDIT": 35,
        "FINISH": 36,
        "RESET": 37,
    }


@pytest.mark.parametrize("kind", NUMBERS, ids=name_of)
def test_every_packet_leaves_room_for_later_fields(kind: type[Packet]) -> None:
    assert len(kind._fields) + 1 < FIELDS_MAX


def test_reasons_are_sentences_that_fit_into_a_close() -> None:
    for payload in (b"", b"\x91\xa1\xff", b"\x92\x05\xa1x", array(b"\x10", b"\x90"), b"\x91\x05"):
        sentence = refused(payload).sentence
        assert len(sentence.encode()) <= 256
        assert re.match(r"(a|field|an) ", sentence)


def test_error_ids_may_be_absent() -> None:
    assert decode(encode_payload(Error(16, None, 102, "no"))) == Error(16, None, 102, "no")
