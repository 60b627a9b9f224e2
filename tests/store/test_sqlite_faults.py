"""A full disk is survived, a broken one is told, and a change by another process is noticed."""

from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from relay.store.base import (
    Account,
    Appended,
    Backlog,
    NoSuchAccountError,
    Refusal,
    StoreBrokenError,
    StoreError,
    StoreFullError,
)
from relay.store.sqlite import SqliteStore
from relay.store.sqlite import database as database_module
from tests.store.faults import Faults, faulty_disk
from tests.store.samples import CREDENTIALS, add_users, cursor, message, offsets, send


@pytest.fixture
def faults() -> Iterator[Faults]:
    with faulty_disk() as faults:
        yield faults


@pytest.fixture
def store(faults: Faults, tmp_path: Path) -> Iterator[SqliteStore]:
    made = SqliteStore(tmp_path, index_every=50)
    add_users(made, "alice", "bob")
    yield made
    faults.__init__()  # type: ignore[misc]
    made.close()


def fill(number: int) -> str:
    return f"{number}" * 3000


@pytest.mark.parametrize("writes", range(12))
def test_on_a_full_disk_nothing_is_acknowledged_and_nothing_moves(
    store: SqliteStore, faults: Faults, writes: int
) -> None:
    send(store, [message(1), message(2)])
    faults.writes_left = writes
    items = [message(number, text=fill(number)) for number in range(3, 20)]
    with pytest.raises(StoreFullError, match="free some"):
        send(store, items)
    with pytest.raises(StoreFullError):
        send(store, [message(1, to="alice", device="new", text=fill(1))] * 8)
    assert store.last_message_id("alice", "pc") == 2
    assert [entry.offset for entry in store.read("alice@bob", 0, 100, 10**6)] == [1, 2]
    faults.writes_left = None
    assert offsets(send(store, [message(2), *items])) == list(range(2, 20))
    assert offsets(send(store, [message(1, to="alice", device="new")])) == [1]


def test_every_acknowledgement_follows_a_sync(store: SqliteStore, faults: Faults) -> None:
    for number in range(1, 100):
        before = faults.syncs
        send(store, [message(number)])
        assert faults.syncs > before
    before = faults.syncs
    store.open_device("bob", "phone", None, 1)
    assert faults.syncs > before
    before = faults.syncs
    store.advance([cursor("bob", "phone", 50)])
    assert faults.syncs > before


def test_a_full_disk_refuses_other_changes_too(store: SqliteStore, faults: Faults) -> None:
    send(store, [message(1)])
    faults.writes_left = 0
    with pytest.raises(StoreFullError):
        store.open_device("bob", "phone", None, 1)
    with pytest.raises(StoreFullError), store.group():
        store.open_device("bob", "phone", None, 1)
        store.add_account("carol", CREDENTIALS, False, 1)
    faults.writes_left = None
    assert store.account("carol") is None
    assert store.backlog("bob", "phone") == []
    store.open_device("bob", "phone", None, 1)
    assert store.backlog("bob", "phone") == [Backlog("alice@bob", 0, 1)]


def test_the_index_is_written_when_there_is_room_again(store: SqliteStore, faults: Faults) -> None:
    send(store, [message(number) for number in range(1, 61)])
    faults.writes_left = 0
    for _ in range(3):
        with pytest.raises(StoreFullError):
            store.maintain(idle=False)
    assert len(store.read("alice@bob", 0, 100, 10**6)) == 60
    faults.writes_left = None
    assert offsets(send(store, [message(number) for number in range(61, 101)])) == list(range(61, 101))
    while store.maintain(idle=True):
        pass
    assert [entry.offset for entry in store.read("alice@bob", 0, 200, 10**6)] == list(range(1, 101))


def test_closing_on_a_full_disk_loses_nothing(store: SqliteStore, faults: Faults, tmp_path: Path) -> None:
    send(store, [message(number) for number in range(1, 61)])
    faults.writes_left = 0
    with pytest.raises(StoreFullError):
        store.close()
    faults.writes_left = None
    again = SqliteStore(tmp_path)
    assert offsets(send(again, [message(60), message(61)])) == [60, 61]
    again.close()


@pytest.mark.parametrize("what", ["write", "sync"])
def test_a_failed_write_or_sync_breaks_the_store(store: SqliteStore, faults: Faults, what: str, tmp_path: Path) -> None:
    send(store, [message(1)])
    faults.write_error = apsw.IOError
    if what == "write":
        faults.writes_left = 0
    else:
        faults.syncs_fail = True
    with pytest.raises(StoreBrokenError, match="check the disk"):
        send(store, [message(2)])


def test_a_checkpoint_that_cannot_be_synced_breaks_the_store(store: SqliteStore, faults: Faults) -> None:
    for number in range(1, 300):
        send(store, [message(number, text=fill(1))])
    faults.syncs_fail = True
    with pytest.raises(StoreBrokenError):
        while store.maintain(idle=True):
            pass


def test_a_checkpoint_without_room_waits(store: SqliteStore, faults: Faults) -> None:
    for number in range(1, 300):
        send(store, [message(number, text=fill(1))])
    while store.maintain(idle=False):
        pass
    faults.writes_left = 0
    assert not store.maintain(idle=True)
    faults.writes_left = None
    assert offsets(send(store, [message(300)])) == [300]


# Commands beside a running relay.


@pytest.fixture
def relay_store(tmp_path: Path) -> Iterator[SqliteStore]:
    made = SqliteStore(tmp_path)
    add_users(made, "alice", "bob")
    made.account_changes()
    yield made
    made.close()


@pytest.fixture
def command(relay_store: SqliteStore, tmp_path: Path) -> Iterator[SqliteStore]:
    made = SqliteStore(tmp_path)
    yield made
    made.close()


def test_changes_by_another_process_are_reported(relay_store: SqliteStore, command: SqliteStore) -> None:
    command.set_disabled("bob", True)
    command.set_credentials("alice", CREDENTIALS)
    command.set_disabled("bob", False)
    assert relay_store.account_changes() == ["bob", "alice"]
    assert relay_store.account_changes() == []
    add_users(command, "carol")
    assert relay_store.account_changes() == []
    assert isinstance(relay_store.account("carol"), Account)


def test_more_changes_than_are_kept_mean_everybody(
    relay_store: SqliteStore, command: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.store.sqlite.accounts._CHANGES_KEPT", 2)
    add_users(command, "carol", "dave")
    command.remove_account("dave")
    for _ in range(5):
        command.set_disabled("bob", True)
    assert set(relay_store.account_changes()) == {"alice", "bob", "carol"}


def test_a_user_removed_by_another_process_gets_no_messages(relay_store: SqliteStore, command: SqliteStore) -> None:
    assert offsets(send(relay_store, [message(1)])) == [1]
    command.remove_account("bob")
    (answer,) = send(relay_store, [message(2)])
    assert isinstance(answer, Refusal)
    add_users(command, "bob")
    relay_store.open_device("bob", "phone", None, 1)
    assert offsets(send(relay_store, [message(2), message(1, sender="bob", to="alice")])) == [2, 3]
    assert relay_store.backlog("bob", "phone") == [Backlog("alice@bob", 1, 3)]


def test_a_removed_users_devices_leave_nothing_behind_in_memory(relay_store: SqliteStore, command: SqliteStore) -> None:
    send(relay_store, [message(5, sender="bob", to="alice")])
    assert relay_store.last_message_id("bob", "pc") == 5
    command.remove_account("bob")
    assert relay_store.last_message_id("bob", "pc") == 0
    add_users(command, "bob")
    assert relay_store.last_message_id("bob", "pc") == 0
    assert send(relay_store, [message(1, sender="bob", to="alice")]) == [Appended(2, 5000)]


def test_a_command_leaves_the_log_of_the_relay_alone(
    relay_store: SqliteStore, command: SqliteStore, tmp_path: Path
) -> None:
    send(relay_store, [message(1), message(2)])
    command.set_disabled("bob", True)
    command.close()
    assert offsets(send(relay_store, [message(3)])) == [3]
    with pytest.raises(NoSuchAccountError):
        SqliteStore(tmp_path).remove_account("nobody")
    assert offsets(send(relay_store, [message(3), message(4)])) == [3, 4]
    assert len(relay_store.read("alice@bob", 0, 10, 10**6)) == 4


def test_a_database_that_stays_locked(
    relay_store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "BUSY_TIMEOUT_MS", 0)
    impatient = SqliteStore(tmp_path)
    with relay_store.group():
        relay_store.add_account("carol", CREDENTIALS, False, 1)
        with pytest.raises(StoreError, match="locked") as refused:
            impatient.append([message(1)], 1)
        assert not isinstance(refused.value, StoreBrokenError | StoreFullError)
        with pytest.raises(StoreError, match="locked"):
            impatient.set_disabled("bob", True)
    assert offsets(send(impatient, [message(1)])) == [1]
    impatient.close()
