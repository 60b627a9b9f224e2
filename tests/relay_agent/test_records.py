"""The codec of a run: every record there and back, whole and byte by byte, and what is none."""

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as some
from relay_agent.records import (
    DATA_MAX_BYTES,
    RECORD_MAX_BYTES,
    TYPES,
    Eof,
    Exit,
    Grant,
    Record,
    RecordError,
    RecordReader,
    Request,
    Resize,
    Signal,
    Stderr,
    Stdin,
    Stdout,
    Terminal,
    decode,
    encode,
    is_term,
    request_from,
)

from relay.protocol.limits import CHUNK_MAX_BYTES

SAMPLES: list[Record] = [
    Stdin(b"in"), Eof(), Signal("INT"), Resize(24, 80),
    Stdout(b"out"), Stderr(b""), Grant(262144), Exit(137, "KILL", 1020, "it took too long"),
]  # fmt: skip


def test_there_is_a_sample_of_each() -> None:
    assert [type(sample) for sample in SAMPLES] == list(TYPES.values())


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: type(sample).__name__)
def test_whole_byte_by_byte_and_with_more_behind(sample: Record) -> None:
    data = encode(sample)
    assert list(RecordReader().feed(data)) == [sample]
    assert list(RecordReader().feed(data + encode(Eof()) + data[:3])) == [sample, Eof()]
    reader = RecordReader()
    assert [record for byte in data for record in reader.feed(bytes([byte]))] == [sample]


def test_bytes_of_the_document() -> None:
    assert encode(Stdout(b"hi\n")).hex(" ") == "00 00 00 07 92 10 c4 03 68 69 0a"
    assert encode(Exit(0, "", 0, "")).hex(" ") == "00 00 00 06 95 13 00 a0 00 a0"


def test_the_largest_output_fits_into_one_packet() -> None:
    assert len(encode(Stdout(bytes(DATA_MAX_BYTES)))) <= CHUNK_MAX_BYTES


def test_types_and_fields_of_later_versions_are_ignored() -> None:
    assert decode(msgpack.packb([99, "x"])) is None
    assert decode(msgpack.packb([17, b"err", True, 3])) == Stderr(b"err")


BAD = [b"", b"\xc1", b"\x01", b"\x90", msgpack.packb(["1"]), msgpack.packb([True]), msgpack.packb([1]),
       msgpack.packb([1, "text"]), msgpack.packb([4, 24, True]), msgpack.packb([1, [b"x"]]),
       msgpack.packb({1: b"x"}), msgpack.packb([3, b"INT"]), b"\xdd\xff\xff\xff\xff"]  # fmt: skip


@pytest.mark.parametrize("payload", BAD)
def test_what_is_no_record_is_a_sentence(payload: bytes) -> None:
    with pytest.raises(RecordError, match=r"\w"):
        decode(payload)


def test_a_record_that_only_claims_to_be_large() -> None:
    with pytest.raises(RecordError):
        list(RecordReader().feed((RECORD_MAX_BYTES + 1).to_bytes(4, "big")))


@given(some.binary(max_size=100))
def test_nothing_that_comes_breaks_the_reader(data: bytes) -> None:
    try:
        for record in RecordReader().feed(data):
            assert type(record) in TYPES.values()
    except RecordError as error:
        assert str(error)


def test_requests_there_and_back() -> None:
    for request in (Request("make", ("test", "-k")), Request("top", (), Terminal(24, 80, "xterm"))):
        assert request_from(request.to_value()) == request
    assert request_from({"command": "make"}) == Request("make", ())


@pytest.mark.parametrize(
    "value",
    [None, [], b"", {"command": ""}, {"command": "x" * 65}, {"command": "x", "arguments": [1]},
     {"command": "x", "arguments": "y"}, {"command": "x", "arguments": ["a\0b"]}, {"command": "x", "terminal": 1},
     {"command": "x", "arguments": ["x"] * 257}, {"command": "x", "arguments": ["x" * 65_537]},
     {"command": "x", "terminal": {"rows": 1}}, {"command": "x", "terminal": {"rows": 1, "columns": 10_000}},
     {"command": "x", "terminal": {"rows": True, "columns": 1}},
     {"command": "x", "terminal": {"rows": 1, "columns": 1, "term": "../x"}}],
)  # fmt: skip
def test_what_is_no_request_is_a_sentence(value: object) -> None:
    with pytest.raises(RecordError, match=r"\w"):
        request_from(value)  # type: ignore[arg-type]


def test_what_term_may_say() -> None:
    assert is_term("xterm-256color") and is_term("") and is_term("screen.xterm+x_y")
    assert not is_term("x y") and not is_term("../x") and not is_term("ü") and not is_term("x" * 65)
