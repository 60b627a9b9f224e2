"""Deleting on a disk: in pieces, beside readers, through crashes, and what is left in the tables."""

import threading
from itertools import pairwise
from pathlib import Path

import pytest

from relay.store.base import Append, Entry, Reader, Retention, Store
from relay.store.sqlite import SqliteStore, schema
from relay.store.sqlite.database import Database
from relay.store.sqlite.verify import verify
from tests.store.disk import Disk, disk
from tests.store.retaining import ALL, kept, sized, swept
from tests.store.samples import CREDENTIALS, add_users, message, offsets, run_of, send

SIZE = Retention(conversation_bytes=1000)


def opened(place: Disk, retention: Retention) -> Store:
    place.retention = retention
    store = place.open()
    add_users(store, "alice", "bob")
    return store


def filled(place: Disk, retention: Retention, count: int = 1500) -> Store:
    store = opened(place, retention)
    send(store, [sized(number) for number in range(1, count + 1)])
    return store


@pytest.mark.parametrize("pieces", range(9))
@pytest.mark.parametrize("retention", [SIZE, Retention(age_ms=1)])
def test_a_crash_between_two_pieces(tmp_path: Path, retention: Retention, pieces: int) -> None:
    """What was deleted is gone as a whole, the rest is whole, and the next sweep ends as one without a crash."""
    with disk(tmp_path, index_every=100) as place:
        store = filled(place, retention)
        store.sweep(10_000)
        for _ in range(pieces):
            store.maintain(idle=False)
        before = kept(store)
        store = place.crash()
        assert kept(store) == before
        assert before == list(range(1501 - len(before), 1501))
        expected = list(range(1491, 1501)) if retention == SIZE else []
        assert kept(swept(store)) == expected
        assert offsets(send(store, [sized(2000)], 10_000)) == [1501]
        store.close()
        assert verify(place.directory / "relay.db").findings == []


def test_a_piece_is_small(tmp_path: Path) -> None:
    """Each piece deletes 500 rows or a mebibyte at most, however much there is to do."""
    with disk(tmp_path) as place:
        store = opened(place, Retention(age_ms=1))
        send(store, [sized(number) for number in range(1, 1201)])
        send(store, [sized(number, 300_000) for number in range(1201, 1207)])
        store.sweep(10_000)
        lefts = [1206]
        while store.maintain(idle=False):
            lefts.append(1207 - store.first_kept("alice@bob"))
        steps = [before - after for before, after in pairwise(lefts) if before != after]
        assert steps == [500, 500, 203, 3]


def test_the_tables_are_left_as_small_as_what_is_kept(tmp_path: Path) -> None:
    with disk(tmp_path, index_every=100) as place:
        store = filled(place, SIZE, 3000)
        place.restart(swept(store)).close()  # type: ignore[arg-type]
        assert place.count("log") == 10
        assert place.count("runs") == 1


def test_a_room_that_ended_leaves_nothing(tmp_path: Path) -> None:
    with disk(tmp_path) as place:
        store = opened(place, Retention())
        store.create_room("#ops", "", True, "alice", 1)
        send(store, [Append("#ops", "alice", "pc", number, b"x") for number in range(1, 20)])
        store.remove_room("#ops")
        assert len(verify(place.directory / "relay.db").findings) == 0
        swept(store).close()
        assert (place.count("log"), place.count("runs"), place.count("conversations")) == (0, 0, 0)


def test_freed_pages_are_used_again(tmp_path: Path) -> None:
    """The file stops growing: ten times the messages of a steady conversation need no ten times the room."""
    with disk(tmp_path) as place:
        store = opened(place, Retention(conversation_bytes=50_000))
        sizes = []
        for turn in range(10):
            send(store, [sized(turn * 500 + number, 400) for number in range(1, 501)])
            swept(store)
            sizes.append(pages(place))
        assert sizes[-1] < 1.5 * sizes[1]


def pages(place: Disk) -> int:
    database = Database(place.directory)
    found = database.row("PRAGMA page_count")
    database.close()
    assert found
    return int(found[0])


def test_readers_beside_it_see_all_or_less_and_never_damage(tmp_path: Path) -> None:
    with disk(tmp_path, index_every=50) as place:
        store = filled(place, SIZE, 4000)
        assert isinstance(store, SqliteStore)
        while store.maintain(idle=True):
            pass
        problems: list[object] = []
        done = threading.Event()
        readers = [store.reader() for _ in range(2)]
        threads = [threading.Thread(target=read_on, args=(reader, done, problems)) for reader in readers]
        for thread in threads:
            thread.start()
        swept(store)
        for turn in range(20):
            send(store, [sized(4001 + turn * 50 + number) for number in range(50)])
            swept(store)
        done.set()
        for thread in threads:
            thread.join(timeout=30)
        for reader in readers:
            reader.close()
        assert problems == []
        assert kept(store) == list(range(4991, 5001))


def read_on(reader: Reader, done: threading.Event, problems: list[object]) -> None:
    after = 0
    while not done.is_set() and not problems:
        try:
            first, page = reader.first_kept("alice@bob"), reader.read("alice@bob", after, 40, ALL)
            check(page, max(after + 1, first), problems)
            check(reader.read_back("alice@bob", 10_000, 40, ALL), 1, problems)
        except Exception as error:  # what a reader of the relay would tell as a damaged database
            problems.append(error)
            return
        after = page[-1].offset if page else 0


def check(page: list[Entry], first: int, problems: list[object]) -> None:
    found = [entry.offset for entry in page]
    if found and (found[0] < first or found != list(range(found[0], found[-1] + 1))):
        problems.append((first, found))


def test_a_first_bound_counts_what_is_there(tmp_path: Path) -> None:
    """A database that was never counted: the bound holds after the first sweep, also for runs and after restarts."""
    with disk(tmp_path, index_every=100) as place:
        store = opened(place, Retention())
        send(store, [sized(number) for number in range(1, 301)])
        send(store, [run_of([sized(number) for number in range(301, 401)])])
        place.retention = SIZE
        store = place.restart(store)  # type: ignore[arg-type]
        assert kept(swept(store)) == list(range(391, 401))
        place.retention = Retention(user_bytes=1500)
        store = place.restart(store)  # type: ignore[arg-type]
        assert offsets(send(store, [sized(number) for number in range(401, 406)])) == list(range(401, 406))
        assert "1500 bytes of your messages are kept" in str(send(store, [sized(406)])[0])


def test_a_damaged_repetition_is_still_told_as_damage(tmp_path: Path) -> None:
    """That retention may have deleted a message does not excuse the loss of one that it has not."""
    with disk(tmp_path) as place:
        store = opened(place, Retention(age_ms=1000))
        send(store, [message(1)], 1000)
        swept(store, 5000)
        send(store, [message(2), message(3)], 6000)
        database = Database(place.directory)
        with database.change():
            database.execute("DELETE FROM log WHERE message_id = 2")
        database.close()
        with pytest.raises(Exception, match="the message with id 2 of a device is missing or altered"):
            send(store, [message(2)], 6000)


def test_rooms_that_ended_before_this_version_are_deleted_too(tmp_path: Path) -> None:
    database = Database(tmp_path / "old")
    schema.prepare(database, schema.MIGRATIONS[:5])
    with database.change():
        database.execute("INSERT INTO conversations (name, kind, created_ms) VALUES ('#ops#1', 1, 1), ('a@b', 0, 1)")
    database.close()
    store = SqliteStore(tmp_path / "old")
    store.add_account("alice", CREDENTIALS, False, 1)
    swept(store).close()
    database = Database(tmp_path / "old")
    assert database.rows("SELECT name FROM conversations") == [("a@b",)]
    database.close()
