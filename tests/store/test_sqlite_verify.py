"""What `verify` finds, and that it finds nothing in a healthy database, whatever state it is in."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from relay.store.base import Role, StoreError
from relay.store.sqlite import SqliteStore
from relay.store.sqlite.snapshot import Snapshot
from relay.store.sqlite.verify import FINDINGS_MAX, verify
from tests.store.samples import add_users, cursor, message, run_of, send


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    made = SqliteStore(tmp_path, index_every=20)
    add_users(made, "alice", "bob")
    made.create_room("#ops", "", True, "alice", 1)
    made.set_role("#ops", "bob", Role.MEMBER, 1)
    made.open_device("bob", "phone", None, 1)
    for number in range(1, 61):
        send(made, [message(number)])
        made.maintain(False)
    made.advance([cursor("bob", "phone", 40)])
    yield made
    made.close()


def found(tmp_path: Path, *changes: str) -> list[str]:
    with closing(apsw.Connection(str(tmp_path / "relay.db"))) as connection:
        for change in changes:
            connection.execute(change)
    return [f"{finding.part}: {finding.sentence}" for finding in verify(tmp_path / "relay.db").findings]


def test_a_healthy_database_beside_its_relay_and_after_it(store: SqliteStore, tmp_path: Path) -> None:

    reports = [verify(tmp_path / "relay.db")]
    store.close()
    reports.append(verify(tmp_path / "relay.db"))
    for report in reports:
        assert report.findings == []
        assert (report.users, report.devices, report.rooms) == (2, 2, 1)
        assert (report.conversations, report.messages) == (2, 60)
        assert report.message_bytes == sum(len(message(number).packet) for number in range(1, 61))


def test_runs_are_counted_as_the_messages_they_hold(store: SqliteStore, tmp_path: Path) -> None:
    for first in range(100, 200, 25):
        send(store, [run_of(message(number) for number in range(first, first + 25))])
        store.maintain(False)
    report = verify(tmp_path / "relay.db")
    assert (report.findings, report.messages) == ([], 160)
    assert report.message_bytes == sum(len(message(number).packet) for number in (*range(1, 61), *range(100, 200)))
    with closing(Snapshot(tmp_path / "relay.db")) as snapshot:
        expected = [message(number).packet for number in (*range(1, 61), *range(100, 200))]
        assert [found.packet for found in snapshot.messages()] == expected
        assert [found.seq for found in snapshot.messages()] == list(range(1, 161))
    assert found(tmp_path, "UPDATE conversations SET first_kept = 70 WHERE name = 'alice@bob'") == []
    with closing(Snapshot(tmp_path / "relay.db")) as snapshot:
        assert [found.offset for found in snapshot.messages()] == list(range(70, 161))
        assert snapshot.count_messages() == 91


def test_progress_reaches_its_total(store: SqliteStore, tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    verify(tmp_path / "relay.db", lambda done, total: steps.append((done, total)))
    assert steps[-1] == (60, 60)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("UPDATE log SET packet = x'00' WHERE seq = 30", "log: message 30 of alice@bob is missing or altered"),
        ("UPDATE log SET packet = x'00' WHERE seq = 60", "log: message 60 of alice@bob is missing or altered"),
        ("DELETE FROM log WHERE seq = 7", "log: message 7 of alice@bob is missing"),
        ("INSERT INTO log SELECT 90, conversation_id, 900, 1, 1, 1, x'', 0, 1 FROM log WHERE seq = 1", "log: "),
        ("UPDATE runs SET seqs = zeroblob(4)", "is cut"),
        ("DELETE FROM runs WHERE first_offset = 1", "log: message 1 of alice@bob is missing"),
        ("UPDATE conversations SET first_kept = 99 WHERE id = 2", "before the first offset that is kept"),
        ("UPDATE cursors SET delivered = 61", "cursors: device"),
        ("UPDATE cursors SET read = -1", "cursors: device"),
        ("UPDATE cursors SET device_id = 77", "cursors: device 77 has a cursor but does not exist"),
        ("UPDATE members SET joined = 5 WHERE conversation_id = 1", "cursors: user 1 joined conversation 1 at 5"),
        ("UPDATE members SET role = 9 WHERE conversation_id = 1", "role that does not exist"),
        ("DELETE FROM users WHERE name = 'bob'", "rooms: #ops has a member who does not exist"),
        ("UPDATE users SET name = 'ALICE' WHERE id = 1", "accounts: the account 'ALICE' is altered"),
        ("UPDATE devices SET user_id = 9", "accounts: the device 'phone' is altered, or belongs to nobody"),
        ("UPDATE conversations SET name = 'bob@alice' WHERE id = 2", "rooms: conversation 'bob@alice' is altered"),
        ("DELETE FROM conversations WHERE id = 1", "rooms: room number 1 has no conversation"),
        ("DELETE FROM facts WHERE name = 'generation'", "generation of the logs"),
        ("UPDATE sent SET pairs = CAST(x'0100000000000000' || x'0200000000000000' AS BLOB)", "names another"),
    ],
)
def test_what_is_wrong_is_named(store: SqliteStore, tmp_path: Path, change: str, words: str) -> None:
    store.close()
    assert any(words in sentence for sentence in found(tmp_path, change)), found(tmp_path)


def test_a_broken_structure_is_named(store: SqliteStore, tmp_path: Path) -> None:
    store.close()
    path = tmp_path / "relay.db"
    path.write_bytes(path.read_bytes()[:-4096])
    assert verify(path).findings


def test_of_many_findings_the_first_are_told(store: SqliteStore, tmp_path: Path) -> None:
    send(store, [message(number) for number in range(61, 300)])
    store.close()
    with closing(apsw.Connection(str(tmp_path / "relay.db"))) as connection:
        connection.execute("UPDATE log SET checksum = checksum + 1")
    report = verify(tmp_path / "relay.db")
    assert len(report.findings) == FINDINGS_MAX and report.more == 299 - FINDINGS_MAX


def test_what_is_no_database_of_this_version(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"no pages of a database" * 1000)
    with pytest.raises(StoreError, match="not a database of a relay"):
        verify(tmp_path / "file")
    with pytest.raises(StoreError, match="there is no database"):
        verify(tmp_path / "nothing")


def test_a_room_without_anybody_is_remarked(store: SqliteStore, tmp_path: Path) -> None:
    store.set_role("#ops", "alice", Role.MEMBER, 1)
    assert [remark.sentence for remark in verify(tmp_path / "relay.db").remarks] == ["#ops has no owner"]
    for user in ("alice", "bob"):
        store.set_role("#ops", user, None, 1)
    report = verify(tmp_path / "relay.db")
    assert [remark.sentence for remark in report.remarks] == ["#ops has nobody in it", "#ops has no owner"]
    assert report.findings == []
