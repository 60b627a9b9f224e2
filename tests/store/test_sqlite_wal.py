"""A write-ahead log that lost something after a kill is refused, again and again; one that lost nothing is not."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from relay.store.base import StoreBrokenError
from relay.store.sqlite import SqliteStore
from relay.store.sqlite.verify import verify
from relay.store.sqlite.wal import promise
from tests.store.samples import add_users, message, send


@pytest.fixture
def killed(tmp_path: Path) -> Iterator[Path]:
    """The files of a relay that was killed with 20 messages in its write-ahead log, with the shared memory file."""
    store = SqliteStore(tmp_path / "live")
    add_users(store, "alice", "bob")
    for number in range(1, 21):
        send(store, [message(number)])
    shutil.copytree(tmp_path / "live", tmp_path / "killed")
    store.close()
    yield tmp_path / "killed"


def count(directory: Path) -> int:
    store = SqliteStore(directory)
    try:
        return len(store.read("alice@bob", 0, 100, 10**6))
    finally:
        store.close()


def refused(directory: Path) -> None:
    assert verify(directory / "relay.db").findings
    for _ in range(2):
        with pytest.raises(StoreBrokenError, match=r"the end of the write-ahead log is missing.*from a backup"):
            SqliteStore(directory)
    assert verify(directory / "relay.db").findings


def test_a_log_that_is_whole(killed: Path) -> None:
    found = promise(killed / "relay.db")
    assert found and found.frames >= 20 and found.salt == found.header[16:24]
    assert not verify(killed / "relay.db").findings
    assert count(killed) == 20


@pytest.mark.parametrize("byte", [0, 7, 17, 30, 32 + 9, 4000, -1, -3000])
def test_a_flipped_bit_is_refused(killed: Path, byte: int) -> None:
    path = killed / "relay.db-wal"
    data = bytearray(path.read_bytes())
    data[byte] ^= 0x10
    path.write_bytes(data)
    refused(killed)


@pytest.mark.parametrize("left", [0, 10, 32, 4152, -1])
def test_a_cut_log_is_refused(killed: Path, left: int) -> None:
    path = killed / "relay.db-wal"
    path.write_bytes(path.read_bytes()[:left])
    refused(killed)


def test_a_log_that_is_missing_is_refused(killed: Path) -> None:
    (killed / "relay.db-wal").unlink()
    refused(killed)


def test_an_empty_database_with_a_log_is_refused(killed: Path) -> None:
    (killed / "relay.db").write_bytes(b"")
    assert verify(killed / "relay.db").findings
    for _ in range(2):
        with pytest.raises(StoreBrokenError, match="everything is missing"):
            SqliteStore(killed)


def test_after_a_power_cut_nothing_is_promised(killed: Path) -> None:
    (killed / "relay.db-shm").unlink()
    path = killed / "relay.db-wal"
    path.write_bytes(path.read_bytes()[:-1])
    assert count(killed) == 19


@pytest.mark.parametrize("byte", [3, 50])
def test_a_promise_that_is_damaged_itself_does_not_count(killed: Path, byte: int) -> None:
    path = killed / "relay.db-shm"
    data = bytearray(path.read_bytes())
    data[byte] ^= 1
    path.write_bytes(data)
    assert promise(killed / "relay.db") is None
    assert count(killed) == 20


def test_a_promise_about_an_earlier_log_does_not_count(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    add_users(store, "alice", "bob")
    send(store, [message(number) for number in range(1, 100)])
    old = (tmp_path / "relay.db-shm").read_bytes()
    store._database.checkpoint()
    send(store, [message(100)])
    copy = tmp_path / "cut"
    copy.mkdir()
    for name in ("relay.db", "relay.db-wal"):
        shutil.copy(tmp_path / name, copy / name)
    (copy / "relay.db-shm").write_bytes(old)
    assert count(copy) == 100
    store.close()
