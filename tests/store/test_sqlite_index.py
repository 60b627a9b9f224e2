"""The index behind the log: whatever was indexed, in whatever pieces, is found again."""

from pathlib import Path

import pytest

from relay.protocol.limits import MESSAGE_WINDOW
from relay.store.base import Appended, Refusal, Store
from tests.store.disk import disk
from tests.store.samples import add_users, message, offsets, send

ALL = 1_000_000


def index(store: Store) -> None:
    while store.maintain(idle=True):
        pass


@pytest.mark.parametrize("pieces", range(4))
def test_a_crash_between_two_pieces(tmp_path: Path, pieces: int) -> None:
    """What was written of a run before the crash is replaced by the longer run after it."""
    with disk(tmp_path, index_every=1) as place:
        store = place.open()
        add_users(store, "alice", "bob")
        send(store, [message(1), message(2)])
        for _ in range(pieces):
            store.maintain(idle=False)
        store = place.crash()
        send(store, [message(3), message(4)])
        index(store)
        for again in (store, place.crash()):
            assert [entry.offset for entry in again.read("alice@bob", 0, 10, ALL)] == [1, 2, 3, 4]
            answers = send(again, [message(number) for number in range(1, 5)])
            assert answers == [Appended(number, 5000, True) for number in range(1, 5)]


@pytest.mark.parametrize("step", [1, 100, 256, 700])
def test_the_window_of_ids_is_whole_however_it_was_written(tmp_path: Path, step: int) -> None:
    total = 3 * MESSAGE_WINDOW
    items = [message(number) for number in range(1, total + 1)]
    with disk(tmp_path, index_every=1) as place:
        store = place.open()
        add_users(store, "alice", "bob")
        for at in range(0, total, step):
            send(store, items[at : at + step])
            index(store)
        store = place.crash()
        oldest = total - MESSAGE_WINDOW
        assert offsets(send(store, items[oldest:])) == list(range(oldest + 1, total + 1))
        (answer,) = send(store, [items[oldest - 1]])
        assert isinstance(answer, Refusal)
        assert store.last_message_id("alice", "pc") == total


def test_after_a_crash_earlier_ids_are_known_beside_the_latest(tmp_path: Path) -> None:
    """The latest ids are read from the log at the start, earlier ones from the index when they are needed."""
    with disk(tmp_path, index_every=1) as place:
        store = place.open()
        add_users(store, "alice", "bob")
        send(store, [message(10), message(30)])
        index(store)
        send(store, [message(20)])
        store = place.crash()
        assert store.last_message_id("alice", "pc") == 30
        index(place.crash())
        store = place.crash()
        assert store.last_message_id("alice", "pc") == 30
        assert offsets(send(store, [message(20), message(30), message(10), message(40)])) == [3, 2, 1, 4]
        store = place.crash()
        index(store)
        store = place.crash()
        assert offsets(send(store, [message(number) for number in (40, 10, 20, 30)])) == [4, 1, 3, 2]
        assert store.last_message_id("alice", "pc") == 40


def test_blocks_of_ids_do_not_pile_up(tmp_path: Path) -> None:
    with disk(tmp_path, index_every=1) as place:
        store = place.open()
        add_users(store, "alice", "bob")
        for number in range(1, 5 * MESSAGE_WINDOW):
            send(store, [message(number)])
            index(store)
        store.close()
        rows = place.count("sent")
    assert MESSAGE_WINDOW / 2 < rows <= 2 * MESSAGE_WINDOW + 1


def test_pages_may_begin_anywhere_in_a_long_conversation(tmp_path: Path) -> None:
    """Runs of the index end at other places than pages, and the last ones are in memory."""
    total = 3000
    with disk(tmp_path, index_every=1100) as place:
        store = place.open()
        add_users(store, "alice", "bob")
        for at in range(0, total, 100):
            send(store, [message(number) for number in range(at + 1, at + 101)])
            store.maintain(idle=False)
        reader = store.reader()
        for side in (store, reader, place.crash()):
            for after in [*range(0, total, 97), 511, 512, 513, 1023, 1024, 2999]:
                page = [entry.offset for entry in side.read("alice@bob", after, 600, ALL)]
                assert page == list(range(after + 1, min(after + 600, total) + 1))
        reader.close()


def test_readers_find_everything_at_every_step_of_indexing(tmp_path: Path) -> None:
    with disk(tmp_path, index_every=10) as place:
        store = place.open()
        add_users(store, "alice", "bob", "carol")
        store.open_device("bob", "phone", None, 1)
        reader = store.reader()
        for number in range(1, 100):
            send(store, [message(2 * number), message(2 * number + 1, to="carol")])
            store.maintain(idle=False)
            assert [entry.offset for entry in reader.read("alice@bob", 0, 1000, ALL)] == list(range(1, number + 1))
            assert [backlog.head for backlog in reader.backlog("bob", "phone")] == [number]
        reader.close()


def test_the_index_keeps_up_with_many_conversations(tmp_path: Path) -> None:
    """However many conversations the messages go to, what is in memory and in the write-ahead log stays bounded."""
    names = [f"u{number}" for number in range(2000)]
    with disk(tmp_path, index_every=1000) as place:
        store = place.open()
        with store.group():
            add_users(store, "alice", *names)
        for round_number in range(10):
            for at in range(0, len(names), 500):
                group = [message(round_number + 1, sender=name, to="alice") for name in names[at : at + 500]]
                send(store, group)
                store.maintain(idle=False)
                assert place.unindexed() <= 3500
        assert place.wal_bytes() < 16 * 1024 * 1024
        assert len(place.crash().read("alice@u7", 0, 100, ALL)) == 10
