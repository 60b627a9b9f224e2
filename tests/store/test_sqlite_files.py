"""The database file: made privately, migrated once, and refused with a sentence where it cannot be used."""

import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import apsw
import pytest

from relay.store.base import StoreBrokenError, StoreError
from relay.store.lock import DataLock
from relay.store.sqlite import SqliteStore, schema
from relay.store.sqlite.database import Database
from tests.store.samples import add_users, message, offsets, send


@contextmanager
def sql(directory: Path) -> Iterator[sqlite3.Connection]:
    """Python's own SQLite on the database, closed at the end."""
    with closing(sqlite3.connect(directory / "relay.db")) as connection, connection:
        yield connection


def version_of(directory: Path) -> int:
    with sql(directory) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def test_a_new_directory(tmp_path: Path) -> None:
    SqliteStore(tmp_path / "a" / "b").close()
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "a" / "b" / "relay.db").stat().st_mode & 0o777 == 0o600
    assert version_of(tmp_path / "a" / "b") == len(schema.MIGRATIONS)


def test_commits_are_synced(tmp_path: Path) -> None:
    database = Database(tmp_path)
    schema.prepare(database)
    assert database.connection.pragma("journal_mode") == "wal"
    assert database.connection.pragma("synchronous") == 2
    database.close()


def test_sqlite_has_no_wal_reset_bug() -> None:
    assert tuple(map(int, apsw.sqlite_lib_version().split("."))) >= (3, 51, 3)


def test_a_newer_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    SqliteStore(tmp_path).close()
    with sql(tmp_path) as connection:
        connection.execute("PRAGMA user_version = 1000")
    before = (tmp_path / "relay.db").read_bytes()
    with pytest.raises(StoreError, match=r"newer relay \(schema 1000, this one knows \d+\); install"):
        SqliteStore(tmp_path)
    assert (tmp_path / "relay.db").read_bytes() == before


def test_the_database_of_another_program_is_refused_and_left_alone(tmp_path: Path) -> None:
    with sql(tmp_path) as connection:
        connection.execute("CREATE TABLE recipes (name)")
    before = (tmp_path / "relay.db").read_bytes()
    with pytest.raises(StoreError, match="another program; move it away"):
        SqliteStore(tmp_path)
    assert (tmp_path / "relay.db").read_bytes() == before


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "relay.db").write_bytes(b"these are no pages" * 1000)
    with pytest.raises(StoreError, match="not a database of a relay; move it away"):
        SqliteStore(tmp_path)


def test_a_directory_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(StoreError, match=re.escape(str(tmp_path / "data"))):
        SqliteStore(tmp_path / "data")


def test_a_database_that_is_a_directory(tmp_path: Path) -> None:
    (tmp_path / "relay.db").mkdir()
    with pytest.raises(StoreError, match="make the directory and its files writable"):
        SqliteStore(tmp_path)


def test_a_truncated_database_is_refused(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    add_users(store, "alice", "bob")
    store.close()
    with (tmp_path / "relay.db").open("r+b") as file:
        file.truncate(5000)
    with pytest.raises(StoreBrokenError, match=r"damaged.*restore it from a backup"):
        SqliteStore(tmp_path)


def test_a_hole_in_the_log_is_told(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path, index_every=1)
    add_users(store, "alice", "bob")
    send(store, [message(number) for number in range(1, 6)])
    store.close()
    with sql(tmp_path) as connection:
        connection.execute("DELETE FROM log WHERE seq = 3")
    store = SqliteStore(tmp_path)
    with pytest.raises(StoreBrokenError, match="message 3 of alice@bob is missing or altered"):
        store.read("alice@bob", 0, 10, 10**6)
    assert [entry.offset for entry in store.read("alice@bob", 3, 10, 10**6)] == [4, 5]
    store.close()


ALTERATIONS = [
    "packet = CAST(X'616c736f' AS BLOB)", 'conversation_id = 2, "offset" = 3', "time_ms = time_ms + 1",
    "device_id = 2", "message_id = 4", "checksum = checksum + 1",
]  # fmt: skip


@pytest.mark.parametrize("change", ALTERATIONS)
def test_an_altered_message_is_refused_and_the_others_are_not(tmp_path: Path, change: str) -> None:
    store = SqliteStore(tmp_path, index_every=1)
    add_users(store, "alice", "bob")
    send(store, [message(number) for number in range(1, 6)])
    send(store, [message(number, to="alice", device="phone") for number in range(1, 4)])
    store.close()
    with sql(tmp_path) as connection:
        connection.execute(f"UPDATE log SET {change} WHERE seq = 3")
    store = SqliteStore(tmp_path)
    with pytest.raises(StoreBrokenError, match=r"message 3 of alice@bob is missing or altered.*from a backup"):
        store.read("alice@bob", 0, 10, 10**6)
    with pytest.raises(StoreBrokenError, match="missing or altered"):
        store.read_back("alice@bob", 6, 10, 10**6)
    with pytest.raises(StoreBrokenError, match="missing or altered"):
        send(store, [message(3)])
    assert [entry.offset for entry in store.read("alice@bob", 3, 10, 10**6)] == [4, 5]
    assert len(store.read("alice@alice", 0, 10, 10**6)) == 3
    store.close()


def test_messages_of_the_first_version_get_their_checksums(tmp_path: Path) -> None:
    database = Database(tmp_path)
    schema.prepare(database, schema.MIGRATIONS[:1])
    with database.change():
        database.execute("INSERT INTO users VALUES (1, 'alice', x'00', 4096, x'00', x'00', 0, 0, 1)")
        database.execute("INSERT INTO conversations VALUES (1, 'alice@alice', 0, 1)")
        database.execute("INSERT INTO log VALUES (1, 1, 1, 5000, 1, 1, x'0102')")
    database.close()
    store = SqliteStore(tmp_path)
    assert [entry.packet for entry in store.read("alice@alice", 0, 10, 10**6)] == [b"\1\2"]
    store.close()


# Migrations.


def set_down(directory: Path, migrations: list[Callable[[Database], None]]) -> None:
    database = Database(directory)
    try:
        schema.prepare(database, migrations)
    finally:
        database.close()


def add_table(database: Database) -> None:
    database.execute("CREATE TABLE added (id INTEGER PRIMARY KEY)")


def fail(database: Database) -> None:
    database.execute("CREATE TABLE half (id INTEGER PRIMARY KEY)")
    raise RuntimeError("told to fail")


def tables(directory: Path) -> set[str]:
    with sql(directory) as connection:
        return {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}


def test_migrations_run_once_and_in_order(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    add_users(store, "alice")
    secret = store.secret()
    store.close()
    later = [*schema.MIGRATIONS, add_table]
    set_down(tmp_path, later)
    assert "added" in tables(tmp_path)
    assert version_of(tmp_path) == len(later)
    set_down(tmp_path, later)
    with pytest.raises(StoreError, match="newer relay"):
        SqliteStore(tmp_path)
    with sql(tmp_path) as connection:
        assert connection.execute("SELECT value FROM facts WHERE name = 'secret'").fetchone() == (secret,)


def test_a_failed_migration_changes_nothing(tmp_path: Path) -> None:
    SqliteStore(tmp_path).close()
    with pytest.raises(RuntimeError):
        set_down(tmp_path, [*schema.MIGRATIONS, add_table, fail])
    assert not {"added", "half"} & tables(tmp_path)
    SqliteStore(tmp_path).close()


def test_nothing_is_migrated_under_a_running_relay(tmp_path: Path) -> None:
    SqliteStore(tmp_path).close()
    program = (
        "import sys\nfrom pathlib import Path\nfrom relay.store.lock import DataLock\n"
        "lock = DataLock(Path(sys.argv[1]))\nprint('held', flush=True)\nsys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout
        other.stdout.readline()
        with pytest.raises(StoreError, match="a relay is running"):
            set_down(tmp_path, [*schema.MIGRATIONS, add_table])
        assert other.stdin
        other.stdin.close()
    set_down(tmp_path, [*schema.MIGRATIONS, add_table])


def test_the_holder_of_the_lock_may_migrate(tmp_path: Path) -> None:
    lock = DataLock(tmp_path)
    SqliteStore(tmp_path).close()
    lock.release()


# Power cuts: whatever was acknowledged is in the files.


def test_what_was_acknowledged_survives_at_every_step(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "live", index_every=7)
    add_users(store, "alice", "bob")
    for number in range(1, 40):
        send(store, [message(number)])
        if number % 3 == 0:
            store.maintain(idle=number % 2 == 0)
        copy = tmp_path / f"copy{number}"
        copy.mkdir()
        for name in ("relay.db", "relay.db-wal"):
            shutil.copy(tmp_path / "live" / name, copy / name)
        found = SqliteStore(copy, index_every=7)
        assert [entry.offset for entry in found.read("alice@bob", 0, 100, 10**6)] == list(range(1, number + 1))
        assert offsets(send(found, [message(number), message(number + 1)])) == [number, number + 1]
        found.close()
    store.close()
