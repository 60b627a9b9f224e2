"""What a receiver does with senders that break the rules: each gets a code and a sentence, and nothing is left."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from relay_client import Client, Stream
from relay_client.errors import StreamReset

from relay.protocol.codes import ErrorCode
from relay.protocol.limits import FILE_CHUNK_BYTES
from relay.protocol.transfer import RECEIVE, Chunk, Done, End, Have, RecordReader, Upload, encode_record
from tests.relay_client.peer import DEADLINE_S, until
from tests.relay_client.town import Town

FULL = b"x" * FILE_CHUNK_BYTES


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    town = Town(tmp_path_factory.mktemp("town"))
    town.add("alice", "bob")
    with town.open():
        yield town


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def alice(town: Town) -> Iterator[Client]:
    with Client(town.url("alice"), timeout=DEADLINE_S) as client:
        yield client


@pytest.fixture
def inbox(town: Town, tmp_path: Path) -> Iterator[Path]:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    with Client(town.url("bob"), timeout=DEADLINE_S) as bob:
        bob.files.serve(inbox)
        yield inbox


def opening(**changes: Any) -> dict[str, Any]:
    return Upload("u1", "a.txt", "text/plain", None, None).value() | changes


def begin(alice: Client, **changes: Any) -> Stream:
    return alice.streams.open("bob", RECEIVE, opening(**changes))


def chunk(offset: int, body: bytes) -> bytes:
    return encode_record(Chunk(offset, hashlib.sha256(body).digest(), (body,)))


def end(content: bytes) -> bytes:
    return encode_record(End(len(content), hashlib.sha256(content).digest()))


def refusal(stream: Stream) -> StreamReset:
    with pytest.raises(StreamReset) as caught:
        while stream.read1():
            pass
    return caught.value


def done(stream: Stream) -> Done:
    reader = RecordReader()
    while not isinstance(record := reader.next_record(), Done):
        if record is None:
            reader.feed(stream.read1())
    return record


BAD_RECORDS = {
    "a gap": (chunk(0, FULL) + chunk(2 * FILE_CHUNK_BYTES, FULL), ErrorCode.BAD_CHUNK),
    "an overlap": (chunk(0, FULL) + chunk(0, FULL), ErrorCode.BAD_CHUNK),
    "a chunk behind a short one": (chunk(0, b"short") + chunk(5, b"more"), ErrorCode.BAD_CHUNK),
    "the wrong hash of a chunk": (encode_record(Chunk(0, bytes(32), (b"x",))), ErrorCode.WRONG_HASH),
    "the wrong hash of the whole": (chunk(0, b"abc") + encode_record(End(3, bytes(32))), ErrorCode.WRONG_HASH),
    "the wrong size": (chunk(0, b"abc") + encode_record(End(4, hashlib.sha256(b"abc").digest())), ErrorCode.BAD_CHUNK),
    "no record": (b"\xff\xff\xff\xff", ErrorCode.BAD_CHUNK),
    "a keeper's record": (encode_record(Have(0)), ErrorCode.BAD_CHUNK),
}


@pytest.mark.parametrize("case", BAD_RECORDS)
def test_bad_records(alice: Client, inbox: Path, state: Path, case: str) -> None:
    data, code = BAD_RECORDS[case]
    stream = begin(alice)
    stream.write(data)
    assert refusal(stream).code == code
    until(lambda: list(inbox.iterdir()) == [], "nothing is left")
    until(lambda: not any(path.is_file() for path in state.rglob("*")), "nothing is noted")


@pytest.mark.parametrize("declared", [2, 4])
def test_a_declared_size_that_is_not_kept(alice: Client, inbox: Path, declared: int) -> None:
    stream = begin(alice, size=declared)
    stream.write(chunk(0, b"abc") + end(b"abc"))
    assert refusal(stream).code == ErrorCode.BAD_CHUNK
    until(lambda: list(inbox.iterdir()) == [], "nothing is left")


def test_a_declared_hash_that_is_not_kept(alice: Client, inbox: Path) -> None:
    stream = begin(alice, hash=bytes(32))
    stream.write(chunk(0, b"abc") + end(b"abc"))
    assert refusal(stream).code == ErrorCode.WRONG_HASH
    until(lambda: list(inbox.iterdir()) == [], "nothing is left")


BAD_OPENINGS = {
    "no map": ([1, 2], ErrorCode.BAD_ARGUMENTS),
    "nothing": (None, ErrorCode.BAD_ARGUMENTS),
    "no upload": (opening(upload=""), ErrorCode.BAD_ARGUMENTS),
    "a long upload": (opening(upload="x" * 65), ErrorCode.BAD_ARGUMENTS),
    "a size below zero": (opening(size=-1), ErrorCode.BAD_ARGUMENTS),
    "1 EiB": (opening(size=2**60), ErrorCode.TOO_LARGE),
    "half a hash": (opening(hash=bytes(16)), ErrorCode.BAD_ARGUMENTS),
    "up": (opening(name="../a.txt"), ErrorCode.BAD_FILE_NAME),
    "absolute": (opening(name="/etc/passwd"), ErrorCode.BAD_FILE_NAME),
    "empty": (opening(name=""), ErrorCode.BAD_FILE_NAME),
    "dots": (opening(name=".."), ErrorCode.BAD_FILE_NAME),
    "a control character": (opening(name="a\x1b[2Jb"), ErrorCode.BAD_FILE_NAME),
    "a zero byte": (opening(name="a\0b"), ErrorCode.BAD_FILE_NAME),
    "a long name": (opening(name="x" * 256), ErrorCode.BAD_FILE_NAME),
}


@pytest.mark.parametrize("case", BAD_OPENINGS)
def test_bad_openings(alice: Client, inbox: Path, case: str) -> None:
    data, code = BAD_OPENINGS[case]
    with pytest.raises(StreamReset) as caught:
        alice.streams.open("bob", RECEIVE, data)
    assert caught.value.code == code and list(inbox.iterdir()) == []


def test_a_sender_that_is_gone_in_the_middle_goes_on_later(alice: Client, inbox: Path) -> None:
    stream = begin(alice)
    stream.write(chunk(0, FULL) + chunk(FILE_CHUNK_BYTES, FULL)[:1000])
    until(lambda: any(path.stat().st_size for path in inbox.iterdir()), "a chunk is there")
    stream.reset()
    until(lambda: begin_at(alice) == FILE_CHUNK_BYTES, "it goes on behind the chunk")
    stream = begin(alice)
    stream.write(chunk(FILE_CHUNK_BYTES, b"end") + end(FULL + b"end"))
    assert done(stream) == Done("", FILE_CHUNK_BYTES + 3, hashlib.sha256(FULL + b"end").digest())
    assert (inbox / "a.txt").read_bytes() == FULL + b"end"


def begin_at(alice: Client) -> int:
    with begin(alice) as stream:
        return int(stream.answer["offset"])  # type: ignore[index, call-overload, arg-type]


def test_a_new_stream_takes_the_place_of_the_old_one(alice: Client, inbox: Path) -> None:
    old = begin(alice)
    old.write(chunk(0, FULL))
    until(lambda: any(path.stat().st_size for path in inbox.iterdir()), "a chunk is there")
    new = begin(alice)
    assert new.answer["offset"] == FILE_CHUNK_BYTES  # type: ignore[index, call-overload]
    assert refusal(old).code == ErrorCode.UPLOAD_CONTINUED
    new.write(end(FULL))
    assert done(new).size == FILE_CHUNK_BYTES


def test_the_end_of_a_transfer_may_be_asked_for_again(alice: Client, inbox: Path, state: Path) -> None:
    stream = begin(alice)
    stream.write(chunk(0, b"abc") + end(b"abc"))
    first = done(stream)
    stream.reset()  # as if it had not come
    again = begin(alice)
    assert again.answer == {"offset": 3, "chunk": FILE_CHUNK_BYTES, "done": list(first)}
    again.close()
    assert [path.name for path in inbox.iterdir()] == ["a.txt"]
    until(lambda: not any(path.is_file() for path in state.rglob("*")), "nothing is noted any more")


def test_a_link_in_the_way_is_not_followed(alice: Client, inbox: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("precious")
    (inbox / "a.txt").symlink_to(outside)
    with pytest.raises(StreamReset, match="of this name already"):
        begin(alice)
    assert outside.read_text() == "precious"


def test_a_directory_that_has_gone(alice: Client, inbox: Path) -> None:
    inbox.rmdir()
    with pytest.raises(StreamReset, match="cannot write it") as caught:
        begin(alice)
    assert str(inbox) not in str(caught.value)
