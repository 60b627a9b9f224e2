"""Downloads from the relay: each chunk can be checked, they begin where they are asked to, and wait for credit."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest

from relay.protocol.codes import ErrorCode
from relay.protocol.limits import CREDIT_MAX_BYTES
from relay.protocol.packets import Credit, encode
from relay.protocol.transfer import Chunk, End
from tests.files.stage import C, Client, Stage, eventually, sha, upload_of


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path / "data")
    yield made
    made.close()
    assert made.service.statistics() == (0, 0, 0)


@pytest.mark.parametrize("size", [0, 1, C // 4, C - 1, C, C + 1, 3 * C + 17])
def test_a_file_comes_as_it_was_sent(stage: Stage, size: int) -> None:
    data = os.urandom(size)
    done = Client(stage).upload(upload_of(data), data)
    assert Client(stage, "bob").download(done.id) == data
    assert Client(stage, "alice").download(done.id) == data


def test_the_opening_is_answered_with_what_the_file_is(stage: Stage) -> None:
    done = Client(stage).upload(upload_of(b"abc", name="ü.txt", type="text/plain"), b"abc")
    bob = Client(stage, "bob")
    stream = bob.get(done.id)
    expected = {
        "name": "ü.txt",
        "size": 3,
        "type": "text/plain",
        "hash": sha(b"abc"),
        "time_ms": 100_000,
        "from": "alice",
    }
    assert stream.accepted == expected
    bob.give_up(stream)


@pytest.mark.parametrize("offset", [0, C, 3 * C, 3 * C + 17])
def test_a_download_begins_where_it_is_asked_to(stage: Stage, offset: int) -> None:
    data = os.urandom(3 * C + 17)
    done = Client(stage).upload(upload_of(data), data)
    assert Client(stage, "bob").download(done.id, offset) == data[offset:]


def test_the_offset_may_be_left_out(stage: Stage) -> None:
    done = Client(stage).upload(upload_of(b"abc"), b"abc")
    bob = Client(stage, "bob")
    stream = bob.begin("files.get", {"file": done.id})
    bob.grant(stream, 1)
    eventually(lambda: stream.finished)
    assert stream.records[-1] == End(3, sha(b"abc"))
    bob.finish(stream)


def test_nothing_is_sent_without_credit(stage: Stage) -> None:
    data = os.urandom(2 * C)
    done = Client(stage).upload(upload_of(data), data)
    bob = Client(stage, "bob")
    stream = bob.get(done.id)
    for granted in (1, 2, 3):
        bob.grant(stream, 1)
        eventually(lambda: stream.received == granted * CREDIT_MAX_BYTES, "what was granted")  # noqa: B023
        for _ in range(20):
            gevent.sleep(0)
        assert stream.received == granted * CREDIT_MAX_BYTES
    bob.give_up(stream)


def test_small_grants_are_enough(stage: Stage) -> None:
    data = os.urandom(1000)
    done = Client(stage).upload(upload_of(data), data)
    bob = Client(stage, "bob")
    stream = bob.get(done.id)
    for received in range(7, 1100, 7):
        packet = Credit(bob.address, "relay", 2, 7)
        stage.table.credit(bob, packet, encode(packet))
        eventually(lambda: stream.received == received or stream.finished)  # noqa: B023
        if stream.finished:
            break
    chunk = stream.records[0]
    assert isinstance(chunk, Chunk)
    assert chunk.body() == data
    bob.finish(stream)


@pytest.mark.parametrize("value", [{}, {"file": 7}, {"file": None, "offset": 0}, None, "id", [1], b"\xff"])
def test_openings_that_make_no_sense(stage: Stage, value: Any) -> None:
    stream = Client(stage).begin("files.get", value)
    assert stream.reset is not None
    assert stream.reset.code == ErrorCode.BAD_ARGUMENTS


@pytest.mark.parametrize("offset", [1, C - 1, C + 1, 4 * C, -1, "0", True, 2**60])
def test_offsets_that_are_none(stage: Stage, offset: Any) -> None:
    data = os.urandom(3 * C + 17)
    done = Client(stage).upload(upload_of(data), data)
    stream = Client(stage, "bob").begin("files.get", {"file": done.id, "offset": offset})
    assert stream.reset is not None
    assert stream.reset.code == ErrorCode.BAD_ARGUMENTS
    assert "`offset`" in stream.reset.sentence


@pytest.mark.parametrize("user", ["carol", "alice"])
@pytest.mark.parametrize("id", ["aaaaaaaaaaaa", "", "../../relay.db", "x" * 1000, None])
def test_what_is_not_there_and_what_is_somebody_else_s_look_alike(stage: Stage, user: str, id: str | None) -> None:
    done = Client(stage, "bob").upload(upload_of(b"abc", to="bob"), b"abc")
    stream = Client(stage, user).get(done.id if id is None else id)
    assert stream.reset is not None
    assert stream.reset.code == ErrorCode.NO_SUCH_FILE
    assert "not for you" in stream.reset.sentence


def test_an_expired_file_is_gone(stage: Stage) -> None:
    done = Client(stage).upload(upload_of(b"abc"), b"abc")
    stage.time_ms += 10_000
    stream = Client(stage, "bob").get(done.id)
    assert stream.reset is not None
    assert stream.reset.code == ErrorCode.NO_SUCH_FILE


def test_a_content_that_was_lost_is_said(stage: Stage) -> None:
    done = Client(stage).upload(upload_of(b"abc"), b"abc")
    (stage.data / "blobs" / sha(b"abc").hex()).unlink()
    stream = Client(stage, "bob").get(done.id)
    assert stream.reset is not None
    assert stream.reset.code == ErrorCode.STORE_FAILED


def test_a_content_that_loses_its_end_meanwhile_is_said(stage: Stage) -> None:
    data = os.urandom(4 * C)
    done = Client(stage).upload(upload_of(data), data)
    bob = Client(stage, "bob")
    stream = bob.get(done.id)
    os.truncate(stage.data / "blobs" / sha(data).hex(), 2 * C)
    bob.grant(stream, 60)
    eventually(lambda: stream.reset)
    assert stream.reset is not None
    assert stream.reset.code == ErrorCode.STORE_FAILED
    assert "relay verify" in stream.reset.sentence


def test_a_download_goes_on_although_the_file_is_removed(stage: Stage) -> None:
    data = os.urandom(4 * C)
    done = Client(stage).upload(upload_of(data), data)
    bob = Client(stage, "bob")
    stream = bob.get(done.id)
    stage.store.remove_file("alice", done.id, stage.time_ms)
    stage.service.sweep()
    assert stage.names() == []
    for _ in range(80):
        bob.grant(stream, 1)
        gevent.sleep(0)
    eventually(lambda: stream.finished)
    assert stream.records[-1] == End(len(data), sha(data))
    bob.finish(stream)


def test_who_takes_nothing_is_not_awaited_for_ever(tmp_path: Path) -> None:
    stage = Stage(tmp_path, patience_s=0.01)
    done = Client(stage).upload(upload_of(b"abc"), b"abc")
    stream = Client(stage, "bob").get(done.id)
    eventually(lambda: stream.reset)
    assert stream.reset is not None
    assert stream.reset.code == ErrorCode.TIMED_OUT
    stage.close()


def test_who_leaves_leaves_nothing_open(stage: Stage) -> None:
    data = os.urandom(4 * C)
    done = Client(stage).upload(upload_of(data), data)
    bob = Client(stage, "bob")
    before = set(Path("/proc/self/fd").iterdir())
    for number in range(20):
        stream = bob.get(done.id)
        bob.grant(stream, number)
        if number % 2:
            bob.give_up(stream)
        else:
            bob.leave_streams()
            bob.streams = None
    stage.settle()
    assert set(Path("/proc/self/fd").iterdir()) == before
