"""Uploads to the relay: only what was verified is kept, they go on after any end, and each wrong turn is explained."""

import _thread
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest

from relay.protocol.codes import ErrorCode
from relay.protocol.transfer import Chunk, Done, End, Have, Upload, encode_record
from relay.store.base import Role, StoreError, StoreFullError
from relay.store.blobs import Partial
from relay.store.files import FilePage
from tests.files.stage import MIB, C, Client, ClientStream, Stage, chunks, eventually, sha, upload_of


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path / "data")
    yield made
    made.close()
    assert made.service.statistics() == (0, 0, 0)


def refused(stream: ClientStream | tuple[Any, str], code: ErrorCode, *words: str) -> None:
    assert isinstance(stream, ClientStream)
    eventually(lambda: stream.reset, "the refusal")
    assert stream.reset is not None
    assert stream.reset.code == code, stream.reset
    for word in words:
        assert word in stream.reset.sentence


@pytest.mark.parametrize("size", [0, 1, C - 1, C, C + 1, 3 * C + 17])
def test_a_file_is_kept_under_its_hash(stage: Stage, size: int) -> None:
    data = os.urandom(size)
    done = Client(stage).upload(upload_of(data), data)
    assert done[1:] == (size, sha(data))
    file = stage.store.file("bob", done.id, stage.time_ms)
    assert file is not None
    assert file[:5] == (done.id, "a.bin", "", size, sha(data))
    assert (stage.data / "blobs" / sha(data).hex()).read_bytes() == data
    stage.settle()
    assert [name for name in stage.names() if not name.startswith("blobs/")] == []
    assert stage.store.partials() == []


def test_a_file_of_unknown_size_and_known_hash(stage: Stage) -> None:
    data = os.urandom(2 * C)
    done = Client(stage).upload(upload_of(data, size=None, hash=sha(data)), data)
    assert done.size == len(data)


def test_progress_is_told_to_who_takes_it(stage: Stage) -> None:
    data, client = os.urandom(9 * C), Client(stage)
    stream = client.put(upload_of(data))
    assert stream.accepted == {"offset": 0, "chunk": C}
    client.grant(stream)
    client.send_file(stream, data)
    eventually(lambda: stream.finished)
    client.finish(stream)
    assert stream.records[:2] == [Have(4 * C), Have(8 * C)]
    assert isinstance(stream.records[2], Done)


def test_done_waits_for_credit(stage: Stage) -> None:
    client = Client(stage)
    stream = client.put(upload_of(b"abc"))
    client.send_file(stream, b"abc")
    eventually(lambda: stage.store.files("bob", FilePage(10), stage.time_ms), "the file")
    assert stream.records == []
    client.grant(stream, 1)
    eventually(lambda: stream.finished)
    client.finish(stream)
    assert isinstance(stream.records[0], Done)


def test_what_is_granted_bounds_what_may_be_under_way(stage: Stage) -> None:
    client = Client(stage)
    stream = client.put(upload_of(bytes(10 * C)))
    eventually(lambda: stream.credit >= C, "credit for a chunk")
    gevent.sleep(0)
    assert stream.credit <= 7 * C // 4
    client.give_up(stream)


@pytest.mark.parametrize("kept", [0, 1, 3])
@pytest.mark.parametrize("end", ["leave_streams", "give_up"])
def test_an_upload_goes_on_where_it_was_cut(stage: Stage, kept: int, end: str) -> None:
    data, client = os.urandom(3 * C + 1000), Client(stage)
    stream = client.put(upload_of(data))
    client.send(stream, b"".join(encode_record(chunk) for chunk in chunks(data[: kept * C])))
    eventually(lambda: client.stage.names() and _stored(stage) == kept * C, "the chunks on the disk")
    client.send(stream, encode_record(Chunk(kept * C, sha(b""), (data[:C],)))[:1000])
    getattr(client, end)(*([stream] if end == "give_up" else []))
    stage.settle()
    again = Client(stage, device="phone").put(upload_of(data))
    assert again.accepted["offset"] == kept * C
    Client(stage, device="third").upload(upload_of(data), data)
    assert (stage.data / "blobs" / sha(data).hex()).read_bytes() == data


def _stored(stage: Stage) -> int:
    """What is kept of the only upload: the chunks whose hashes are there."""
    partials = list((stage.data / "partial").iterdir())
    hashes = sum(path.stat().st_size for path in partials if path.suffix == ".chunks")
    return min(hashes // 32 * C, sum(path.stat().st_size for path in partials if not path.suffix))


def test_an_upload_goes_on_at_another_relay_on_the_same_disk(stage: Stage) -> None:
    data, client = os.urandom(5 * C), Client(stage)
    stream = client.put(upload_of(data))
    client.send(stream, b"".join(encode_record(chunk) for chunk in chunks(data[: 2 * C])))
    eventually(lambda: _stored(stage) == 2 * C)
    other = Stage(stage.data, store=stage.store)
    assert Client(other).upload(upload_of(data), data).hash == sha(data)
    other.close()


def test_a_lost_done_is_told_again(stage: Stage) -> None:
    data = os.urandom(1000)
    done = Client(stage).upload(upload_of(data), data)
    stream = Client(stage).put(upload_of(data))
    assert stream.accepted == {"offset": 1000, "chunk": C, "done": list(done)}
    assert stream.finished


def test_what_was_complete_when_the_relay_was_killed_is_not_sent_again(stage: Stage) -> None:
    data, client = os.urandom(C + 5), Client(stage)
    stream = client.put(upload_of(data))
    client.send(stream, b"".join(map(encode_record, chunks(data))))
    eventually(lambda: _stored(stage) == len(data))
    (name,) = stage.store.partials()
    # What a kill leaves between the last sync and the store's knowledge of it.
    stage.directory.seal(name, sha(data), len(data))
    other = Stage(stage.data, store=stage.store)
    client = Client(other)
    assert client.upload(upload_of(data), b"").hash == sha(data)
    other.settle()
    assert [name for name in other.names() if not name.startswith("blobs/")] == []
    other.close()


def test_the_same_content_is_stored_once(stage: Stage) -> None:
    data = os.urandom(C + 1)
    first = Client(stage).upload(upload_of(data), data)
    second = Client(stage, "carol").upload(upload_of(data, hash=sha(data)), data)
    assert first.id != second.id
    assert len([name for name in stage.names() if name.startswith("blobs/") and "." not in name]) == 1


def test_who_may_see_the_content_need_not_send_it(stage: Stage) -> None:
    data = os.urandom(C + 1)
    Client(stage).upload(upload_of(data), data)
    stream = Client(stage, "bob").put(upload_of(data, to="carol", hash=sha(data)))
    assert stream.accepted["done"][1:] == [len(data), sha(data)]
    stream = Client(stage, "carol").put(upload_of(data, "u2", to="alice", hash=sha(data)))
    assert "done" in stream.accepted
    # A stranger learns nothing by a hash alone.
    other = os.urandom(10)
    Client(stage).upload(upload_of(other, "u3"), other)
    assert "done" not in Client(stage, "carol").put(upload_of(other, "u3", hash=sha(other))).accepted


def test_a_file_into_a_room(stage: Stage) -> None:
    stage.store.create_room("#ops", "", False, "alice", 0)
    stage.store.set_role("#ops", "carol", Role.MEMBER, 0)
    done = Client(stage).upload(upload_of(b"abc", to="#ops"), b"abc")
    assert Client(stage, "carol").download(done.id) == b"abc"


# Bad input.

WRONG = sha(b"something else")


@pytest.mark.parametrize(
    ("records", "code", "words"),
    [
        ([Chunk(0, WRONG, (b"abc",))], ErrorCode.WRONG_HASH, ["chunk at offset 0"]),
        ([*chunks(bytes(2 * C)), End(2 * C, WRONG)], ErrorCode.WRONG_HASH, ["END says"]),
        ([Chunk(C, sha(b"abc"), (b"abc",))], ErrorCode.BAD_CHUNK, ["gap", "begins at 0"]),
        ([*chunks(bytes(C)), *chunks(bytes(C))], ErrorCode.BAD_CHUNK, ["overlap", f"begins at {C}"]),
        ([*chunks(b"abc"), Chunk(3, sha(b"abc"), (b"abc",))], ErrorCode.BAD_CHUNK, ["short"]),
        ([*chunks(bytes(2 * C)), *list(chunks(bytes(3 * C)))[2:]], ErrorCode.BAD_CHUNK, ["declared"]),
        ([*chunks(b"abc"), End(4, sha(b"abc"))], ErrorCode.BAD_CHUNK, ["4 bytes", "3 were"]),
        ([*chunks(b"abc"), End(3, sha(b"abc"))], ErrorCode.BAD_CHUNK, ["declared"]),
        ([Have(0)], ErrorCode.BAD_CHUNK, ["CHUNKs and one END"]),
        ([Done("", 0, WRONG)], ErrorCode.BAD_CHUNK, ["CHUNKs and one END"]),
    ],
    ids=lambda value: value[0] if isinstance(value, list) and isinstance(value[0], str) else "",
)
def test_records_that_do_not_fit(stage: Stage, records: list[Any], code: ErrorCode, words: list[str]) -> None:
    client = Client(stage)
    stream = client.put(upload_of(bytes(2 * C)))
    for record in records:
        client.send_record(stream, record)
    refused(stream, code, *words)
    data = bytes(2 * C)
    assert client.upload(upload_of(data), data).hash == sha(data)


@pytest.mark.parametrize(
    "data",
    [
        encode_record(Chunk(0, WRONG, (bytes(C),)))[:50].replace(b"\x00\x10\x00\x00", b"\x00\x10\x00\x01")
        + bytes(C + 1),
        (2 * MIB).to_bytes(4, "big"),
        bytes(4),
        b"\x00\x00\x00\x02\x91\x90",
        b"GET / HTTP/1.1\r\n\r\n",
    ],
    ids=["chunk over 1 MiB", "announced", "empty", "array", "http"],
)
def test_bytes_that_are_no_records(stage: Stage, data: bytes) -> None:
    client = Client(stage)
    stream = client.put(upload_of(bytes(4 * C)))
    client.send(stream, data)
    refused(stream, ErrorCode.BAD_CHUNK)


def test_a_hash_that_was_announced_wrongly(stage: Stage) -> None:
    client = Client(stage)
    stream = client.put(upload_of(b"abc", hash=WRONG))
    client.send_file(stream, b"abc")
    refused(stream, ErrorCode.WRONG_HASH, "announced")
    stage.settle()
    assert stage.names() == []
    assert stage.store.partials() == []


def test_a_wrong_whole_leaves_nothing(stage: Stage) -> None:
    client = Client(stage)
    stream = client.put(upload_of(bytes(C)))
    client.send_record(stream, next(chunks(bytes(C))))
    client.send_record(stream, End(C, WRONG))
    refused(stream, ErrorCode.WRONG_HASH)
    stage.settle()
    assert stage.names() == []


def test_a_stream_finished_before_the_end(stage: Stage) -> None:
    client = Client(stage)
    stream = client.put(upload_of(bytes(C)))
    client.finish(stream)
    refused(stream, ErrorCode.BAD_CHUNK, "before the file's END")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"name": "../../etc/passwd"}, ErrorCode.BAD_FILE_NAME),
        ({"name": "/etc/passwd"}, ErrorCode.BAD_FILE_NAME),
        ({"name": ""}, ErrorCode.BAD_FILE_NAME),
        ({"name": "a\x1b[2Jb"}, ErrorCode.BAD_FILE_NAME),
        ({"name": "."}, ErrorCode.BAD_FILE_NAME),
        ({"upload": "../../x"}, None),
        ({"upload": ""}, ErrorCode.BAD_ARGUMENTS),
        ({"size": 2**60}, ErrorCode.TOO_LARGE),
        ({"size": 2**50}, ErrorCode.QUOTA_EXCEEDED),
        ({"to": "nobody"}, ErrorCode.NO_SUCH_USER),
        ({"to": "#none"}, ErrorCode.NO_SUCH_ROOM),
        ({"to": "bob/phone"}, ErrorCode.BAD_ADDRESS),
        ({"to": "Bob"}, ErrorCode.BAD_ADDRESS),
        ({"to": ""}, ErrorCode.BAD_ADDRESS),
        ({"to": "../bob"}, ErrorCode.BAD_ADDRESS),
    ],
)
def test_openings_that_are_refused(stage: Stage, change: dict[str, Any], code: ErrorCode | None) -> None:
    stream = Client(stage).begin("files.put", upload_of(b"abc").value() | change)
    if code is None:
        assert stream.accepted
        return
    refused(stream, code)
    stage.settle()
    assert stage.names() == []
    assert stage.store.partials() == []


@pytest.mark.parametrize("value", [None, b"\xff", 7, "text", [1]])
def test_openings_that_are_no_map(stage: Stage, value: Any) -> None:
    refused(Client(stage).begin("files.put", value), ErrorCode.BAD_ARGUMENTS)


def test_another_file_under_the_same_upload(stage: Stage) -> None:
    Client(stage).upload(upload_of(b"abc"), b"abc")
    refused(Client(stage).put(upload_of(b"abcd")), ErrorCode.ID_REUSED, "'u1'")


def test_the_later_of_two_streams_goes_on_with_an_upload(stage: Stage) -> None:
    data, first, second = os.urandom(2 * C), Client(stage), Client(stage, device="phone")
    stream = first.put(upload_of(data))
    first.send_record(stream, next(chunks(data)))
    eventually(lambda: _stored(stage) == C)
    third = [Client(stage, device=f"d{n}") for n in range(3)]
    opened = [client.open("files.put", upload_of(data).value()) for client in third]
    refused(stream, ErrorCode.UPLOAD_CONTINUED)
    assert second.upload(upload_of(data), data).hash == sha(data)
    for other in opened:
        assert isinstance(other, ClientStream)
        eventually(lambda: other.reset or (other.accepted and "done" in other.accepted))  # noqa: B023


def test_a_file_that_outgrows_the_quota_is_thrown_away(tmp_path: Path) -> None:
    stage = Stage(tmp_path, quota_bytes=2 * C + 5)
    data, client = os.urandom(3 * C), Client(stage)
    stream = client.put(upload_of(data, size=None))
    client.send_file(stream, data)
    refused(stream, ErrorCode.QUOTA_EXCEEDED, str(2 * C + 5))
    stage.settle()
    assert stage.names() == []
    assert stage.store.file_usage("alice", stage.time_ms) == 0
    assert client.upload(upload_of(data[:C], "u2"), data[:C]).size == C
    stage.close()


def test_a_right_that_ends_meanwhile(stage: Stage) -> None:
    client = Client(stage)
    stream = client.put(upload_of(b"abc"))
    stage.store.block("bob", "alice")
    client.send_file(stream, b"abc")
    refused(stream, ErrorCode.BLOCKED)
    stage.settle()
    assert stage.names() == []


def test_a_full_disk_is_said_and_leaves_nothing(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    client, real = Client(stage), os.pwrite

    def pwrite(descriptor: int, data: Any, offset: int) -> int:
        if offset >= C:
            raise OSError(28, "No space left on device")
        return real(descriptor, data, offset)

    data = os.urandom(3 * C)
    stream = client.put(upload_of(data))
    monkeypatch.setattr(os, "pwrite", pwrite)
    client.send_file(stream, data)
    refused(stream, ErrorCode.STORE_FAILED, "no room")
    stage.settle()
    assert stage.names() == []
    assert stage.store.partials() == []
    monkeypatch.undo()
    assert client.upload(upload_of(data), data).hash == sha(data)


def test_a_file_for_which_the_disk_has_no_room(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage.directory, "free_bytes", lambda: 1000)
    refused(Client(stage).put(upload_of(bytes(1001))), ErrorCode.STORE_FAILED, "1001", "1000")
    stage.settle()
    assert stage.names() == []


def test_a_disk_that_stands_still_makes_the_sender_wait(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    may_go_on, real = _thread.allocate_lock(), Partial.write
    may_go_on.acquire()

    def write(partial: Partial, chunk: Chunk) -> None:
        may_go_on.acquire()
        may_go_on.release()
        real(partial, chunk)

    monkeypatch.setattr(Partial, "write", write)
    client, data = Client(stage), os.urandom(4 * C)
    stream = client.put(upload_of(data))
    client.grant(stream, 1)
    sending = gevent.spawn(client.send_file, stream, data)
    eventually(lambda: client.sent >= C, "a chunk on its way")
    for _ in range(200):
        gevent.sleep(0)
    assert client.sent <= 7 * C // 4
    may_go_on.release()
    with gevent.Timeout(30):
        sending.get()
    eventually(lambda: stream.finished)
    client.finish(stream)
    assert stage.directory.hashes() == {sha(data)}


def test_a_disk_that_fails_behind_is_noticed(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def flush(partial: Partial) -> None:
        raise StoreError("the disk failed")

    monkeypatch.setattr(Partial, "flush", flush)
    client = Client(stage)
    stream = client.put(upload_of(bytes(40 * C)))
    client.send_file(stream, bytes(40 * C))
    refused(stream, ErrorCode.STORE_FAILED, "the disk failed")
    assert _stored(stage) == 32 * C
    monkeypatch.undo()
    assert client.upload(upload_of(bytes(40 * C)), bytes(40 * C)).size == 40 * C


def test_a_store_that_fails_is_said(stage: Stage) -> None:
    client = Client(stage)
    stream = client.put(upload_of(b"abc"))
    stage.log.broken = StoreFullError("no room for the database")
    client.send_file(stream, b"abc")
    refused(stream, ErrorCode.STORE_FAILED, "no room")
    stage.log.broken = None


def test_who_says_nothing_is_not_awaited_for_ever(tmp_path: Path) -> None:
    stage = Stage(tmp_path, patience_s=0.01)
    refused(Client(stage).put(upload_of(b"abc")), ErrorCode.TIMED_OUT)
    stage.close()


def test_a_beginning_that_the_disk_has_altered(stage: Stage) -> None:
    data, client = os.urandom(3 * C), Client(stage)
    stream = client.put(upload_of(data))
    client.send(stream, b"".join(map(encode_record, chunks(data[: 2 * C]))))
    eventually(lambda: _stored(stage) == 2 * C)
    client.give_up(stream)
    stage.settle()
    (name,) = stage.store.partials()
    with (stage.data / "partial" / name).open("r+b") as file:
        file.seek(C + 1)
        file.write(b"altered")
    stream = client.put(upload_of(data))
    client.send_file(stream, data, 2 * C)
    refused(stream, ErrorCode.WRONG_HASH, f"offset {C} on")
    assert client.upload(upload_of(data), data).hash == sha(data)


def test_a_symbolic_link_in_the_way(stage: Stage) -> None:
    outside = stage.data.parent / "outside"
    outside.write_bytes(b"precious")
    client, data = Client(stage), os.urandom(2 * C)
    stream = client.put(upload_of(data))
    client.send_record(stream, next(chunks(data)))
    eventually(lambda: _stored(stage) == C)
    client.give_up(stream)
    stage.settle()
    (name,) = stage.store.partials()
    (stage.data / "partial" / name).unlink()
    (stage.data / "partial" / name).symlink_to(outside)
    refused(client.put(upload_of(data)), ErrorCode.STORE_FAILED, "symbolic link")
    assert outside.read_bytes() == b"precious"


def test_long_zeros_are_a_hole(stage: Stage) -> None:
    client, zeros = Client(stage), bytes(C)
    stream = client.put(Upload("u", "zeros", "", 64 * C, None, "bob"))
    whole, digest = hashlib.sha256(), sha(zeros)
    for number in range(64):
        whole.update(zeros)
        client.send_record(stream, Chunk(number * C, digest, (zeros,)))
    client.grant(stream, 1)
    client.send_record(stream, End(64 * C, whole.digest()))
    eventually(lambda: stream.finished)
    client.finish(stream)
    assert (stage.data / "blobs" / whole.hexdigest()).stat().st_blocks * 512 < C
