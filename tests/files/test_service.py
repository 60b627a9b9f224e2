"""The service as a whole: how many transfers there may be, and that contents live exactly as long as their files."""

import _thread
import os
from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest

from relay.protocol.codes import ErrorCode
from relay.protocol.transfer import encode_record
from relay.store.base import StoreError
from tests.files.stage import C, Client, ClientStream, Stage, chunks, eventually, sha, upload_of
from tests.store.samples import add_users


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path / "data")
    yield made
    made.close()
    assert made.service.statistics() == (0, 0, 0)


def stored_bytes(stage: Stage) -> int:
    return sum(path.stat().st_size for path in (stage.data / "partial").glob("*.chunks")) // 32 * C


def test_there_are_two_services(stage: Stage) -> None:
    for service in ("files.receive", "files", "", "echo"):
        answer = Client(stage).open(service, {})
        assert isinstance(answer, tuple)
        assert answer[0] is ErrorCode.NO_SUCH_SERVICE


def test_one_user_has_only_so_many_transfers(tmp_path: Path) -> None:
    stage = Stage(tmp_path, transfers_per_user_max=2)
    alice = Client(stage)
    streams = [alice.put(upload_of(b"abc", f"u{n}")) for n in range(2)]
    answer = Client(stage, device="phone").open("files.put", {})
    assert isinstance(answer, tuple)
    assert answer[0] is ErrorCode.RATE_LIMITED
    assert isinstance(Client(stage, "bob").open("files.get", {"file": "x"}), ClientStream)
    for stream in streams:
        alice.give_up(stream)
    stage.settle()
    assert alice.upload(upload_of(b"abc"), b"abc").size == 3
    stage.close()


def test_there_are_only_so_many_transfers_in_all(tmp_path: Path) -> None:
    stage = Stage(tmp_path, transfers_max=2)
    for user in ("alice", "bob"):
        Client(stage, user).put(upload_of(b"abc", to="carol"))
    answer = Client(stage, "carol").open("files.put", {})
    assert isinstance(answer, tuple)
    assert answer[0] is ErrorCode.QUEUE_FULL
    stage.close()


def test_many_uploads_at_once(stage: Stage) -> None:
    contents = {f"u{n}": os.urandom(1 + n * C // 3) for n in range(20)}

    def upload(name: str, data: bytes) -> None:
        client = Client(stage, device=name)
        client.upload(upload_of(data, name), data)

    with gevent.Timeout(60):
        gevent.joinall([gevent.spawn(upload, *item) for item in contents.items()], raise_error=True)
    assert stage.directory.hashes() == set(map(sha, contents.values()))


def test_the_same_content_many_times_at_once(stage: Stage) -> None:
    data = os.urandom(C + 1)

    def upload(name: str) -> None:
        Client(stage, device=name).upload(upload_of(data, name), data)

    with gevent.Timeout(60):
        gevent.joinall([gevent.spawn(upload, f"u{n}") for n in range(10)], raise_error=True)
    assert stage.directory.hashes() == {sha(data)}
    assert stage.names() == [f"blobs/{sha(data).hex()}", f"blobs/{sha(data).hex()}.chunks"]


def test_a_thousand_uploads_opened_and_dropped_leave_nothing(stage: Stage) -> None:
    alice = Client(stage)
    before = set(Path("/proc/self/fd").iterdir())
    for number in range(1000):
        stream = alice.put(upload_of(bytes(2 * C), f"u{number}", size=None))
        assert stream.accepted
        if number % 100 == 0:
            alice.send(stream, b"".join(map(encode_record, chunks(bytes(C)))))
            eventually(lambda: stored_bytes(stage) > number // 100 * C)  # noqa: B023
        alice.give_up(stream)
    stage.settle()
    assert set(Path("/proc/self/fd").iterdir()) == before
    # What was sent of ten is worth to go on with.
    assert len(stage.store.partials()) == 10
    assert stage.directory.partial_names() == set(stage.store.partials())
    stage.time_ms += 5_000
    stage.service.sweep()
    assert stage.names() == []
    assert stage.store.partials() == []
    assert stage.store.file_usage("alice", stage.time_ms) == 0


def test_an_upload_that_somebody_works_on_does_not_expire(stage: Stage) -> None:
    alice, data = Client(stage), os.urandom(2 * C)
    stream = alice.put(upload_of(data))
    alice.grant(stream, 1)
    stage.time_ms += 100_000
    stage.service.sweep()
    alice.send_file(stream, data)
    eventually(lambda: stream.finished)
    alice.finish(stream)
    assert stage.directory.hashes() == {sha(data)}


def test_a_content_goes_with_its_last_file(stage: Stage) -> None:
    data = os.urandom(10)
    first = Client(stage).upload(upload_of(data), data)
    second = Client(stage).upload(upload_of(data, "u2"), data)
    stage.store.remove_file("alice", first.id, stage.time_ms)
    stage.service.sweep()
    assert Client(stage, "bob").download(second.id) == data
    stage.store.remove_file("alice", second.id, stage.time_ms)
    stage.service.sweep()
    assert stage.names() == []


def test_files_expire(stage: Stage) -> None:
    for number in range(250):
        Client(stage).upload(upload_of(b"%d" % number, f"u{number}"), b"%d" % number)
    stage.time_ms += 10_000
    stage.service.sweep()
    assert stage.names() == []


def test_the_files_of_a_removed_user_go(stage: Stage) -> None:
    Client(stage).upload(upload_of(b"abc"), b"abc")
    Client(stage, "bob").upload(upload_of(b"hers", to="alice"), b"hers")
    stage.settle()
    stage.store.remove_account("alice")
    add_users(stage.store, "alice")
    stage.service.sweep()
    assert stage.directory.hashes() == {sha(b"hers")}


def test_a_content_that_is_being_placed_is_not_deleted(stage: Stage) -> None:
    data = os.urandom(10)
    first = Client(stage).upload(upload_of(data), data)
    stage.settle()
    stage.store.remove_file("alice", first.id, stage.time_ms)
    with stage.service.placing(sha(data)):
        stage.service.sweep()
        assert stage.directory.hashes() == {sha(data)}
    stage.service.discard(sha(data))
    assert stage.names() == []


def test_a_content_that_is_being_deleted_is_placed_behind_that(stage: Stage) -> None:
    data = os.urandom(10)
    Client(stage).upload(upload_of(data), data)
    steps: list[str] = []
    remove, may_go_on = stage.directory.remove_blob, _thread.allocate_lock()
    may_go_on.acquire()

    def removing(hash: bytes) -> None:
        may_go_on.acquire()
        remove(hash)
        steps.append("deleted")

    def place() -> None:
        with stage.service.placing(sha(data)):
            steps.append("placing")

    stage.directory.remove_blob = removing  # type: ignore[method-assign]
    stage.store.remove_account("alice")
    sweeping = gevent.spawn(stage.service.sweep)
    eventually(lambda: stage.service.statistics()[2], "the deletion")
    placing = gevent.spawn(place)
    gevent.sleep(0)
    may_go_on.release()
    with gevent.Timeout(30):
        gevent.joinall([sweeping, placing], raise_error=True)
    assert steps == ["deleted", "placing"]


def test_what_an_earlier_process_left_behind_is_cleared(stage: Stage) -> None:
    alice, data = Client(stage), os.urandom(C + 1)
    done = alice.upload(upload_of(data), data)
    stream = alice.put(upload_of(data, "u2", size=None))
    alice.send_record(stream, next(chunks(data)))
    for name in ("left", "left.chunks", "other.complete"):
        (stage.data / "partial" / name).write_bytes(b"x")
    for name in (f"{sha(b'x').hex()}", f"{sha(b'x').hex()}.chunks", f"{sha(b'y').hex()}.chunks", "notes.txt"):
        (stage.data / "blobs" / name).write_bytes(b"x")
    stage.service.clear()
    kept = [name for name in stage.names() if not name.startswith("partial/")]
    assert kept == sorted([f"blobs/{sha(data).hex()}", f"blobs/{sha(data).hex()}.chunks", "blobs/notes.txt"])
    assert stage.directory.partial_names() == set(stage.store.partials())
    alice.give_up(stream)
    assert Client(stage, "bob").download(done.id) == data


def test_many_files_survive_the_clearing(stage: Stage) -> None:
    for number in range(1100):
        alice = Client(stage)
        alice.upload(upload_of(b"%d" % number, f"u{number}"), b"%d" % number)
    stage.service.clear()
    assert len(stage.directory.hashes()) == 1100


def test_a_relay_that_ends_says_so(stage: Stage) -> None:
    data = os.urandom(3 * C)
    alice = Client(stage)
    stream = alice.put(upload_of(data))
    alice.send_record(stream, next(chunks(data)))
    with gevent.Timeout(30):
        stage.service.stop()
    assert stream.reset is not None
    assert stream.reset.code == ErrorCode.SHUTTING_DOWN
    answer = alice.open("files.put", {})
    assert isinstance(answer, tuple)
    assert answer[0] is ErrorCode.SHUTTING_DOWN
    other = Stage(stage.data, store=stage.store)
    assert Client(other).upload(upload_of(data), data).hash == sha(data)
    other.close()


def test_a_defect_is_told_and_harms_nobody_else(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    def fail(name: str) -> None:
        raise ZeroDivisionError

    real, stage.directory.open_partial = stage.directory.open_partial, fail  # type: ignore[assignment,method-assign]
    stream = Client(stage).put(upload_of(b"abc"))
    assert stream.reset is not None
    assert stream.reset.code == ErrorCode.METHOD_FAILED
    assert "defect" in caplog.text
    stage.directory.open_partial = real  # type: ignore[method-assign]
    assert Client(stage).upload(upload_of(b"abc"), b"abc").size == 3


def test_a_store_that_fails_at_a_sweep_is_the_callers_to_tell(stage: Stage) -> None:
    stage.log.broken = StoreError("no")
    with pytest.raises(StoreError, match="no"):
        stage.service.sweep()
    with pytest.raises(StoreError, match="no"):
        stage.service.clear()
    stage.log.broken = None
