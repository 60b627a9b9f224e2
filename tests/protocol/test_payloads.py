"""Bodies: values come back as they went in, and a hostile body is refused before it costs anything."""

import json
import tracemalloc

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.protocol.limits import BODY_DEPTH_MAX, BODY_MAX
from relay.protocol.payloads import BYTES, MSGPACK, TEXT, PayloadError, Value, decode_body, encode_body

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | texts | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


@given(values)
def test_values_come_back_as_they_went_in(value: Value) -> None:
    assert decode_body(*encode_body(value)) == value


@pytest.mark.parametrize(
    ("value", "content_type", "body"),
    [
        ("grüß", TEXT, "grüß".encode()),
        (b"\x00\xff", BYTES, b"\x00\xff"),
        (bytearray(b"ab"), BYTES, b"ab"),
        (memoryview(b"ab"), BYTES, b"ab"),
        ({"a": [1, 2.5, None]}, MSGPACK, b"\x81\xa1a\x93\x01\xcb\x40\x04\x00\x00\x00\x00\x00\x00\xc0"),
        ((1, 2), MSGPACK, b"\x92\x01\x02"),
        (True, MSGPACK, b"\xc3"),
    ],
)
def test_what_travels(value: Value, content_type: str, body: bytes) -> None:
    assert encode_body(value) == (content_type, body)


@pytest.mark.parametrize(
    "value",
    [object(), {1, 2}, 2**64, -(2**63) - 1, 1j, "\ud800", ["\ud800"], {"a": object()}],
    ids=["object", "set", "large", "small", "complex", "surrogate", "surrogate inside", "object inside"],
)
def test_what_msgpack_cannot_say_is_refused(value: Value) -> None:
    with pytest.raises(PayloadError, match="cannot be sent"):
        encode_body(value)


@pytest.mark.parametrize("value", ["x" * (BODY_MAX + 1), bytes(BODY_MAX + 1), ["x" * BODY_MAX]], ids=type)
def test_a_body_over_the_limit_is_refused(value: Value) -> None:
    with pytest.raises(PayloadError, match=f"at most {BODY_MAX} bytes"):
        encode_body(value)


def test_a_body_at_the_limit_is_fine() -> None:
    assert len(encode_body(bytes(BODY_MAX))[1]) == BODY_MAX


def deep(levels: int) -> list[object]:
    value: list[object] = []
    for _ in range(levels - 1):
        value = [value]
    return value


def test_depth_is_limited_both_ways() -> None:
    assert decode_body(*encode_body(deep(BODY_DEPTH_MAX))) == deep(BODY_DEPTH_MAX)  # type: ignore[arg-type]
    too_deep = deep(BODY_DEPTH_MAX + 1)
    with pytest.raises(PayloadError, match=f"more than {BODY_DEPTH_MAX} deep"):
        encode_body(too_deep)  # type: ignore[arg-type]
    with pytest.raises(PayloadError, match=f"more than {BODY_DEPTH_MAX} deep"):
        decode_body(MSGPACK, msgpack.packb(too_deep))
    with pytest.raises(PayloadError, match="deep"):
        decode_body(MSGPACK, msgpack.packb({"a": too_deep}))


@given(st.binary(max_size=100))
def test_any_bytes_are_a_value_that_can_be_printed_or_a_payload_error(body: bytes) -> None:
    try:
        value = decode_body(MSGPACK, body)
    except PayloadError:
        return
    json.dumps(value, default=repr)


@given(st.binary(max_size=50))
def test_text_is_utf8_or_refused(body: bytes) -> None:
    try:
        text = body.decode()
    except UnicodeDecodeError:
        with pytest.raises(PayloadError, match="not UTF-8"):
            decode_body(TEXT, body)
    else:
        assert decode_body(TEXT, body) == text


def test_text_may_have_parameters() -> None:
    assert decode_body("text/plain; lang=de", b"gut") == "gut"


@pytest.mark.parametrize("content_type", ["", "image/png", "application/json", "application/msgpackx"])
def test_other_types_arrive_as_bytes(content_type: str) -> None:
    assert decode_body(content_type, b"\x93\xff") == b"\x93\xff"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        b"\x92\x01",
        b"\x01\x01",
        b"\xa1\xff",
        b"\x81\x01\x02",
        b"\x81\x91\x01\x02",
        b"\xd4\x05\x00",
        b"\xc7\x00\x05",
        b"\xc7\x03\xff\x00\x00\x00",
    ],
    ids=bytes.hex,
)
def test_what_is_no_msgpack_of_ours_is_refused(body: bytes) -> None:
    with pytest.raises(PayloadError, match="not msgpack"):
        decode_body(MSGPACK, body)


def test_a_timestamp_becomes_seconds() -> None:
    assert decode_body(MSGPACK, msgpack.packb(msgpack.Timestamp(1_767_225_600, 500_000_000))) == 1_767_225_600.5


BOMBS = {
    "one claim of four billion": b"\xdd\xff\xff\xff\xff",
    "nested claims of as many as there are bytes": b"\xdd\x00\x00\x14\x00" * 1000 + bytes(1000),
    "nested maps": b"\xdf\x00\x00\x14\x00" * 1000 + bytes(1000),
    "text": b"\xdb\xff\xff\xff\xff",
    "nested fixarray": b"\x9f" * 100_000,
}


@pytest.mark.parametrize("body", BOMBS.values(), ids=BOMBS)
def test_a_body_cannot_make_its_reader_allocate_what_it_only_claims(body: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(PayloadError):
            decode_body(MSGPACK, body)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 * len(body) + 256 * 1024


def test_what_is_really_there_costs_what_the_contract_says() -> None:
    body = b"\xdd\x00\x01\x86\xa0" + b"\x90" * 100_000
    tracemalloc.start()
    try:
        decode_body(MSGPACK, body)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100 * len(body)
