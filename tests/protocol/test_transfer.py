"""Records of a transfer: they come back as they were written, and whatever is not one is refused with a code."""

import hashlib
import tracemalloc

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.protocol.codes import ErrorCode
from relay.protocol.limits import FILE_CHUNK_BYTES, FILE_NAME_MAX_BYTES, INTEGER_MAX
from relay.protocol.transfer import (
    RECORD_MAX_BYTES,
    Chunk,
    Done,
    End,
    Have,
    Intake,
    Record,
    RecordReader,
    TransferError,
    Upload,
    check_file_name,
    chunk_head,
    encode_record,
    read_upload,
)

HASH = hashlib.sha256(b"abc").digest()

integers = st.integers(0, INTEGER_MAX)
hashes = st.binary(min_size=32, max_size=32)
bodies = st.binary(min_size=1, max_size=600) | st.sampled_from([255, 256, 65535, 65536, FILE_CHUNK_BYTES]).map(bytes)
records = st.one_of(
    st.builds(lambda offset, hash, body: Chunk(offset, hash, (body,)), integers, hashes, bodies),
    st.builds(End, integers, hashes),
    st.builds(Have, integers),
    st.builds(Done, st.text(st.characters(exclude_categories=["Cs"]), max_size=20), integers, hashes),
)


def whole(record: Record | None) -> Record | None:
    """The record with its bytes in one piece, so that it can be compared."""
    return record._replace(pieces=(record.body(),)) if isinstance(record, Chunk) else record


def read(data: bytes, step: int = 0) -> list[Record | None]:
    reader = RecordReader()
    found = []
    for start in range(0, len(data), step or len(data)):
        reader.feed(data[start : start + (step or len(data))])
        while (record := reader.next_record()) is not None:
            found.append(whole(record))
    assert reader.size == 0
    return found


@given(st.lists(records, max_size=4), st.sampled_from([0, 1, 7, 5000, 65536]))
def test_records_come_back_as_they_were_written_however_they_are_cut(written: list[Record], step: int) -> None:
    data = b"".join(map(encode_record, written))
    if step == 1:
        step = max(1, len(data) // 5000)
    assert read(data, step) == written if data else written == []


def test_the_document_s_examples() -> None:
    examples = {
        "00 00 00 2a 94 01 00 c4 20 {} c4 03 61 62 63": Chunk(0, HASH, (b"abc",)),
        "00 00 00 25 93 02 03 c4 20 {}": End(3, HASH),
        "00 00 00 03 92 03 03": Have(3),
        "00 00 00 32 94 04 ac 6b 71 35 68 7a 75 32 6d 34 79 6c 6f 03 c4 20 {}": Done("kq5hzu2m4ylo", 3, HASH),
    }
    for text, record in examples.items():
        assert encode_record(record) == bytes.fromhex(text.format(HASH.hex()))
        assert read(encode_record(record)) == [record]


def test_a_chunk_is_an_ordinary_array_for_every_msgpack_library() -> None:
    body = bytes(range(256)) * 4096
    data = chunk_head(5 * FILE_CHUNK_BYTES, HASH, len(body)) + body
    assert len(data) - 4 <= RECORD_MAX_BYTES
    assert msgpack.unpackb(data[4:]) == [1, 5 * FILE_CHUNK_BYTES, HASH, body]
    packed = msgpack.packb([1, 5 * FILE_CHUNK_BYTES, HASH, body])
    assert packed == data[4:]


def test_the_longest_record_is_accepted() -> None:
    record = Chunk(INTEGER_MAX, HASH, (bytes(FILE_CHUNK_BYTES),))
    assert read(encode_record(record), 65536) == [record]
    assert len(encode_record(record)) == 4 + RECORD_MAX_BYTES


def frame(payload: bytes) -> bytes:
    return len(payload).to_bytes(4, "big") + payload


@pytest.mark.parametrize(
    "data",
    [
        frame(b""),
        frame(bytes(10)),
        frame(b"\xc0"),
        (RECORD_MAX_BYTES + 1).to_bytes(4, "big"),
        b"GET / HTTP/1.1\r\n",
        frame(msgpack.packb([])),
        frame(msgpack.packb([9, 1])),
        frame(msgpack.packb(["1", 1])),
        frame(msgpack.packb([True, 1])),
        frame(msgpack.packb([[2], 1, HASH])),
        frame(msgpack.packb({2: 1})),
        frame(msgpack.packb([2, 1])),
        frame(msgpack.packb([2, "1", HASH])),
        frame(msgpack.packb([2, True, HASH])),
        frame(msgpack.packb([2, -1, HASH])),
        frame(msgpack.packb([2, 2**53, HASH])),
        frame(msgpack.packb([2, 1, HASH[1:]])),
        frame(msgpack.packb([3, [1]])),
        frame(msgpack.packb([4, b"id", 1, HASH])),
        frame(msgpack.packb([2, 1, HASH]) + b"\x00"),
        frame(msgpack.packb([1, 0, HASH, b""])),
        frame(msgpack.packb([1, 0, HASH, "text"])),
        frame(msgpack.packb([1, 0, HASH, b"body"]) + b"\x00"),
        frame(msgpack.packb([1, 0, HASH, b"body"])[:-1]),
        frame(msgpack.packb([1, 0, HASH])),
        frame(msgpack.packb([1, 0, HASH[1:], b"body"])),
        frame(msgpack.packb([1, -1, HASH, b"body"])),
        frame(msgpack.packb([1, 0, HASH, b"body", 1])),
        frame(msgpack.packb([1, [0], HASH, b"body"])),
        frame(b"\x94\x01\xdd\xff\xff\xff\xff"),
    ],
)
def test_what_is_no_record_is_refused(data: bytes) -> None:
    reader = RecordReader()
    reader.feed(data)
    with pytest.raises(TransferError) as refused:
        reader.next_record()
    assert refused.value.code is ErrorCode.BAD_CHUNK


@pytest.mark.parametrize("over", [1, 2, 8])
def test_a_chunk_over_its_limit_is_refused(over: int) -> None:
    body = bytes(FILE_CHUNK_BYTES + over)
    with pytest.raises(TransferError, match=r"at most 1048576 bytes|was announced"):
        read(frame(msgpack.packb([1, 0, HASH, body])))


@given(st.binary(max_size=80), st.integers(1, 9))
def test_any_bytes_are_records_or_refused(data: bytes, step: int) -> None:
    reader = RecordReader()
    for framed in (data, frame(data), frame(b"\x94\x01" + data), frame(b"\x93\x02" + data)):
        reader = RecordReader()
        try:
            for start in range(0, len(framed), step):
                reader.feed(framed[start : start + step])
                while reader.next_record() is not None:
                    pass
        except TransferError as error:
            assert error.code is ErrorCode.BAD_CHUNK


def test_later_versions_may_put_more_behind_what_is_known() -> None:
    assert read(frame(msgpack.packb([3, 7, "more"]))) == [Have(7)]


def test_single_bytes_do_not_cost_a_multiple_of_themselves() -> None:
    data = encode_record(Chunk(0, HASH, (bytes(100_000),)))
    reader = RecordReader()
    tracemalloc.start()
    for at in range(len(data) - 1):
        reader.feed(data[at : at + 1])
        assert reader.next_record() is None
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 3 * len(data)
    reader.feed(data[-1:])
    assert reader.next_record() is not None


def test_large_pieces_are_not_copied() -> None:
    pieces = [chunk_head(0, HASH, FILE_CHUNK_BYTES), *(bytes([n]) * 65536 for n in range(16))]
    reader = RecordReader()
    for piece in pieces:
        assert reader.next_record() is None
        assert not reader.ready
        reader.feed(piece)
    assert reader.ready
    chunk = reader.next_record()
    assert isinstance(chunk, Chunk)
    assert [piece.obj for piece in chunk.pieces if isinstance(piece, memoryview)] == pieces[1:]


def test_a_chunk_knows_whether_its_hash_is_right() -> None:
    Chunk(0, HASH, (b"a", b"bc")).verify()
    with pytest.raises(TransferError, match="offset 7") as refused:
        Chunk(7, HASH, (b"abd",)).verify()
    assert refused.value.code is ErrorCode.WRONG_HASH


def chunk(offset: int, size: int = FILE_CHUNK_BYTES) -> Chunk:
    return Chunk(offset, HASH, (bytes(size),))


@pytest.mark.parametrize("size", [None, 2 * FILE_CHUNK_BYTES + 5])
def test_a_file_is_taken_in_its_order(size: int | None) -> None:
    intake = Intake(FILE_CHUNK_BYTES, size)
    intake.take(chunk(FILE_CHUNK_BYTES))
    intake.take(chunk(2 * FILE_CHUNK_BYTES, 5))
    intake.finish(End(2 * FILE_CHUNK_BYTES + 5, HASH))
    assert intake.ended


def test_an_empty_file_is_one_too() -> None:
    intake = Intake(0, 0)
    intake.finish(End(0, HASH))
    assert intake.ended


@pytest.mark.parametrize(
    ("code", "sentence", "refused"),
    [
        (ErrorCode.BAD_CHUNK, "gap", chunk(FILE_CHUNK_BYTES)),
        (ErrorCode.BAD_CHUNK, "declared", chunk(0)),
        (ErrorCode.BAD_CHUNK, "END says", End(5, HASH)),
        (ErrorCode.BAD_CHUNK, "ends after 0", End(0, HASH)),
    ],
)
def test_what_does_not_follow_is_refused(code: ErrorCode, sentence: str, refused: Chunk | End) -> None:
    intake = Intake(0, 1000)
    with pytest.raises(TransferError, match=sentence) as error:
        intake.take(refused) if isinstance(refused, Chunk) else intake.finish(refused)
    assert error.value.code is code
    assert intake.offset == 0
    assert not intake.ended


def test_overlap_short_chunk_and_what_comes_after_the_end_are_refused() -> None:
    intake = Intake()
    intake.take(chunk(0))
    with pytest.raises(TransferError, match="overlaps"):
        intake.take(chunk(0))
    intake.take(chunk(FILE_CHUNK_BYTES, 10))
    with pytest.raises(TransferError, match="short"):
        intake.take(chunk(FILE_CHUNK_BYTES + 10))
    intake.finish(End(FILE_CHUNK_BYTES + 10, HASH))
    with pytest.raises(TransferError, match="after the file's END"):
        intake.take(chunk(FILE_CHUNK_BYTES + 10))
    with pytest.raises(TransferError, match="second END"):
        intake.finish(End(FILE_CHUNK_BYTES + 10, HASH))


def test_a_file_of_undeclared_size_stops_at_what_is_allowed() -> None:
    intake = Intake(limit_bytes=FILE_CHUNK_BYTES + 3)
    intake.take(chunk(0))
    with pytest.raises(TransferError, match=f"{FILE_CHUNK_BYTES + 3} bytes allowed") as refused:
        intake.take(chunk(FILE_CHUNK_BYTES, 4))
    assert refused.value.code is ErrorCode.TOO_LARGE


UPLOADS = [
    Upload("u", "a.txt", "text/plain"),
    Upload("x" * 64, "grüße.tar.gz", "", 7, HASH, "#ops"),
    Upload("u", ".hidden", "", 0, None, "bob"),
]


@pytest.mark.parametrize("upload", UPLOADS)
def test_an_upload_is_asked_for_with_a_map(upload: Upload) -> None:
    assert read_upload(upload.value()) == upload


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"upload": ""}, ErrorCode.BAD_ARGUMENTS),
        ({"upload": "x" * 65}, ErrorCode.BAD_ARGUMENTS),
        ({"upload": 7}, ErrorCode.BAD_ARGUMENTS),
        ({"type": "x" * 129}, ErrorCode.BAD_ARGUMENTS),
        ({"size": -1}, ErrorCode.BAD_ARGUMENTS),
        ({"size": "7"}, ErrorCode.BAD_ARGUMENTS),
        ({"size": True}, ErrorCode.BAD_ARGUMENTS),
        ({"size": 2**60}, ErrorCode.TOO_LARGE),
        ({"hash": b"short"}, ErrorCode.BAD_ARGUMENTS),
        ({"hash": "x" * 32}, ErrorCode.BAD_ARGUMENTS),
        ({"to": 7}, ErrorCode.BAD_ARGUMENTS),
        ({"name": "../x"}, ErrorCode.BAD_FILE_NAME),
        ({"name": None}, ErrorCode.BAD_FILE_NAME),
    ],
)
def test_a_wrong_opening_is_refused(change: dict[str, object], code: ErrorCode) -> None:
    with pytest.raises(TransferError) as refused:
        read_upload(UPLOADS[1].value() | change)
    assert refused.value.code is code


@pytest.mark.parametrize("value", [None, 7, b"", "text", []])
def test_an_opening_is_a_map(value: object) -> None:
    with pytest.raises(TransferError, match="map"):
        read_upload(value)


@pytest.mark.parametrize(
    "name", ["a", "a b.txt", "ü", ".bashrc", "...", "x" * 255, "é" * 127, "con", "a:b", "~", "-rf"]
)
def test_names_that_a_file_may_have(name: str) -> None:
    assert check_file_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "..", "/", "../x", "/etc/passwd", "a/b", "a\\b", "..\\x"),
        *("a\0b", "a\nb", "\x1b[2J", "\x7f", "\x85", "a\u2028b", "\ud800"),
        *("x" * (FILE_NAME_MAX_BYTES + 1), "é" * 128, b"a", 7, None),
    ],
)
def test_names_that_it_may_not_have(name: object) -> None:
    with pytest.raises(TransferError) as refused:
        check_file_name(name)
    assert refused.value.code is ErrorCode.BAD_FILE_NAME


@given(st.text(max_size=300))
def test_an_accepted_name_is_a_last_path_component(name: str) -> None:
    try:
        check_file_name(name)
    except TransferError:
        return
    assert name not in ("", ".", "..")
    assert not set(name) & {"/", "\\", "\0", "\n", "\r"}
    assert len(name.encode()) <= FILE_NAME_MAX_BYTES
