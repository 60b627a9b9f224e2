"""Backups and the way back: exact, whole or not there at all, and never over something else."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from relay.store.base import StoreError
from relay.store.lock import DataLock
from relay.store.sqlite import SqliteStore, schema
from relay.store.sqlite.backup import DamagedError, back_up, restore
from relay.store.sqlite.database import Database
from relay.store.sqlite.verify import verify
from tests.store.samples import add_users, cursor, message, send

LOG = "alice@bob"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    made = SqliteStore(tmp_path / "data", index_every=20)
    add_users(made, "alice", "bob")
    made.open_device("bob", "phone", None, 1)
    send(made, [message(number) for number in range(1, 61)])
    made.advance([cursor("bob", "phone", 40)])
    yield made
    made.close()


def count(directory: Path) -> int:
    store = SqliteStore(directory)
    try:
        return len(store.read(LOG, 0, 10**6, 10**9))
    finally:
        store.close()


def test_a_backup_is_what_was_there_when_it_began(store: SqliteStore, tmp_path: Path) -> None:
    sent = iter(range(61, 10_000))

    def go_on(done: int, total: int) -> None:
        send(store, [message(next(sent))])
        store.maintain(True)

    assert back_up(tmp_path / "data", tmp_path / "copy.db", on_progress=go_on) == (tmp_path / "copy.db").stat().st_size
    assert next(sent) > 61
    assert not verify(tmp_path / "copy.db").findings
    restore(tmp_path / "copy.db", tmp_path / "new")
    assert count(tmp_path / "new") == 60


def test_a_backup_is_private_and_one_file(store: SqliteStore, tmp_path: Path) -> None:
    (tmp_path / "backups").mkdir()
    back_up(tmp_path / "data", tmp_path / "backups" / "copy.db")
    verify(tmp_path / "backups" / "copy.db")
    assert [path.name for path in (tmp_path / "backups").iterdir()] == ["copy.db"]
    assert (tmp_path / "backups" / "copy.db").stat().st_mode & 0o777 == 0o600


def test_an_existing_file_is_replaced_only_when_told(store: SqliteStore, tmp_path: Path) -> None:
    (tmp_path / "copy.db").write_text("precious")
    with pytest.raises(StoreError, match="exists already; choose another name, or replace it with --force"):
        back_up(tmp_path / "data", tmp_path / "copy.db")
    assert (tmp_path / "copy.db").read_text() == "precious"
    back_up(tmp_path / "data", tmp_path / "copy.db", force=True)
    assert not verify(tmp_path / "copy.db").findings


def test_nothing_is_left_of_a_backup_that_fails(store: SqliteStore, tmp_path: Path) -> None:
    def fail(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        back_up(tmp_path / "data", tmp_path / "copy.db", on_progress=fail)
    with pytest.raises(StoreError, match="there is no database"):
        back_up(tmp_path / "nowhere", tmp_path / "copy.db")
    with pytest.raises(StoreError, match="cannot be written: No such file"):
        back_up(tmp_path / "data", tmp_path / "missing" / "copy.db")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_restored_store_goes_on_where_the_backup_was(store: SqliteStore, tmp_path: Path) -> None:
    back_up(tmp_path / "data", tmp_path / "copy.db")
    restore(tmp_path / "copy.db", tmp_path / "new")
    assert [path.name for path in (tmp_path / "new").iterdir() if path.name != "relay.lock"] == ["relay.db"]
    assert (tmp_path / "new" / "relay.db").stat().st_mode & 0o777 == 0o600
    new = SqliteStore(tmp_path / "new")
    assert new.backlog("bob", "phone") == store.backlog("bob", "phone")
    assert new.last_message_id("alice", "pc") == 60
    assert new.secret() == store.secret()
    assert new.generation() != store.generation()
    new.close()


def test_data_is_put_aside_only_when_told(store: SqliteStore, tmp_path: Path) -> None:
    back_up(tmp_path / "data", tmp_path / "copy.db")
    send(store, [message(61)])
    generation = store.generation()
    store.close()
    with pytest.raises(StoreError, match=r"data is in .* already; choose an empty directory, or put that aside"):
        restore(tmp_path / "copy.db", tmp_path / "data")
    aside = restore(tmp_path / "copy.db", tmp_path / "data", force=True)
    assert aside is not None and aside.parent == tmp_path / "data"
    assert (count(tmp_path / "data"), count(aside)) == (60, 61)
    old = SqliteStore(aside)
    assert old.generation() == generation
    old.close()


def test_what_a_killed_relay_left_is_put_aside_with_its_write_ahead_log(store: SqliteStore, tmp_path: Path) -> None:
    back_up(tmp_path / "data", tmp_path / "copy.db")
    killed = tmp_path / "killed"
    killed.mkdir()
    send(store, [message(61)])
    for name in ("relay.db", "relay.db-wal"):
        (killed / name).write_bytes((tmp_path / "data" / name).read_bytes())
    aside = restore(tmp_path / "copy.db", killed, force=True)
    assert aside is not None
    assert (count(killed), count(aside)) == (60, 61)


def test_nothing_is_restored_under_a_running_relay(store: SqliteStore, tmp_path: Path) -> None:
    back_up(tmp_path / "data", tmp_path / "copy.db")
    lock = DataLock(tmp_path / "data")
    with pytest.raises(StoreError, match="a relay is running"):
        restore(tmp_path / "copy.db", tmp_path / "data", force=True)
    lock.release()


def test_a_damaged_backup_changes_nothing(store: SqliteStore, tmp_path: Path) -> None:
    store.close()
    back_up(tmp_path / "data", tmp_path / "copy.db")
    data = bytearray((tmp_path / "copy.db").read_bytes())
    data[data.index(b"alice/pc to bob: 30 ")] ^= 1
    (tmp_path / "copy.db").write_bytes(data)
    with pytest.raises(DamagedError, match=r"message 30 of alice@bob is missing or altered.*nothing was changed"):
        restore(tmp_path / "copy.db", tmp_path / "data", force=True)
    assert count(tmp_path / "data") == 60
    assert {path.name for path in (tmp_path / "data").iterdir()} <= {"relay.db", "relay.lock"}


@pytest.mark.parametrize("content", [b"", b"no pages of a database" * 1000])
def test_what_is_no_backup_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(StoreError, match="not a database of a relay"):
        restore(tmp_path / "file", tmp_path / "new")
    assert not (tmp_path / "new" / "relay.db").exists()


def test_a_backup_of_an_older_version_is_brought_up_to_date(tmp_path: Path) -> None:
    database = Database(tmp_path / "old")
    schema.prepare(database, schema.MIGRATIONS[:2])
    database.close()
    back_up(tmp_path / "old", tmp_path / "copy.db")
    with pytest.raises(StoreError, match="of another version of the relay"):
        verify(tmp_path / "copy.db")
    restore(tmp_path / "copy.db", tmp_path / "new")
    assert not verify(tmp_path / "new" / "relay.db").findings


_RESTORE = """
import os, sys
from pathlib import Path
from relay.store.sqlite import backup
left = int(sys.argv[1])
def sync(path):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), 9)
backup._sync = sync
backup.restore(Path(sys.argv[2]), Path(sys.argv[3]), force=True)
"""


@pytest.mark.parametrize("step", range(9))
def test_a_restore_that_is_killed_leaves_the_old_the_new_or_an_error(
    store: SqliteStore, tmp_path: Path, step: int
) -> None:
    back_up(tmp_path / "data", tmp_path / "copy.db")
    killed = tmp_path / "killed"
    killed.mkdir()
    send(store, [message(61)])
    for name in ("relay.db", "relay.db-wal"):
        (killed / name).write_bytes((tmp_path / "data" / name).read_bytes())
    words = (str(step), str(tmp_path / "copy.db"), str(killed))
    done = subprocess.run([sys.executable, "-c", _RESTORE, *words], check=False)
    assert done.returncode in (0, -signal.SIGKILL)
    try:
        assert count(killed) == (60 if done.returncode == 0 or step == 7 else 61)
    except StoreError as error:
        assert "a restore was interrupted; repeat it" in str(error)
        restore(tmp_path / "copy.db", killed, force=True)
        assert count(killed) == 60
