"""Export and import: exact in both directions, one snapshot, and every bad line refused with its number."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from relay.protocol.packets import Message, encode_payload
from relay.store.base import Append, Role, StoreError
from relay.store.sqlite import SqliteStore
from relay.store.sqlite.export import exporting
from relay.store.sqlite.intake import BadRecordError, take_in
from relay.store.sqlite.verify import verify
from tests.proof.workload import Script, attempt, contents, difference
from tests.store.samples import add_users, cursor, send


def records(directory: Path, keys: bool = True) -> list[Any]:
    with exporting(directory / "relay.db", keys) as (_, found):
        return list(found)


def chat(number: int, body: bytes = b"hello", user: str = "alice", device: str = "pc") -> Append:
    packet = encode_payload(Message(f"{user}/{device}", "bob", number, "text/plain", body))
    return Append("alice@bob", user, device, number, packet)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    made = SqliteStore(tmp_path / "data", index_every=20)
    add_users(made, "alice", "bob", "eve")
    made.create_room("#ops", "Operations", False, "alice", 1)
    made.set_role("#ops", "eve", Role.BANNED, 1)
    made.block("bob", "eve")
    made.open_device("bob", "phone", None, 1)
    send(made, [chat(1), chat(2, b"\xff\x00"), chat(3, "ä\n\x07".encode())])
    send(made, [chat(4)._replace(packet=b"no packet at all")], 6000)
    made.advance([cursor("bob", "phone", 2, 1)])
    yield made
    made.close()


@pytest.mark.parametrize("seed", range(6))
def test_what_was_imported_is_the_same(tmp_path: Path, seed: int) -> None:
    script = Script(Random(seed))
    store = SqliteStore(tmp_path / "data", index_every=25)
    for step in [script.first(), *itertools.islice(script.steps(), 120)]:
        attempt(step.run, store)
    exported = records(tmp_path / "data")
    take_in(exported, tmp_path / "new")
    assert records(tmp_path / "new") == exported
    new = SqliteStore(tmp_path / "new", index_every=25)
    expected = contents(store)
    assert not difference(contents(new), expected)
    for item in script.sent[-300:]:
        if "@" in item.conversation and store.account(item.user):
            assert new.append([item], 9) == store.append([item], 9)
    new.close()
    store.close()


def test_records_are_readable(store: SqliteStore, tmp_path: Path) -> None:
    found = records(tmp_path / "data", keys=False)
    assert found[0] == {"type": "relay", "format": 1, "keys": False}
    assert found[1] == {"type": "user", "name": "alice", "bot": False, "disabled": False, "created_ms": 1000}
    assert {"type": "member", "conversation": "#ops", "user": "eve", "role": "banned", "joined": 0} in found
    assert {"type": "block", "user": "bob", "blocked": "eve"} in found
    messages = [record for record in found if record["type"] == "message"]
    assert messages[0] == {
        "type": "message", "conversation": "alice@bob", "offset": 1, "time_ms": 5000, "id": 1, "from": "alice/pc",
        "to": "bob", "content_type": "text/plain", "body": "hello",
    }  # fmt: skip
    assert messages[1]["body"] == {"base64": "/wA="}
    assert messages[3]["packet"] == "bm8gcGFja2V0IGF0IGFsbA=="
    assert found[-1] == {"type": "end", "records": len(found) - 1}


def test_without_keys_nobody_can_log_in(store: SqliteStore, tmp_path: Path) -> None:
    take_in(records(tmp_path / "data", keys=False), tmp_path / "new")
    assert records(tmp_path / "new", keys=False) == records(tmp_path / "data", keys=False)
    new = SqliteStore(tmp_path / "new")
    alice, again = store.account("alice"), new.account("alice")
    assert alice and again and again.credentials.stored_key != alice.credentials.stored_key
    new.close()


def test_messages_of_who_is_gone(store: SqliteStore, tmp_path: Path) -> None:
    store.remove_account("alice")
    add_users(store, "alice")
    send(store, [chat(1, b"new")])
    exported = records(tmp_path / "data")
    assert [record.get("forgotten", False) for record in exported if record["type"] == "message"] == [
        True, True, True, False, False,
    ]  # fmt: skip
    take_in(exported, tmp_path / "new")
    assert records(tmp_path / "new") == exported
    new = SqliteStore(tmp_path / "new")
    assert new.last_message_id("alice", "pc") == store.last_message_id("alice", "pc") == 1
    new.close()


def test_an_export_is_one_snapshot(store: SqliteStore, tmp_path: Path) -> None:
    expected = records(tmp_path / "data")
    with exporting(tmp_path / "data" / "relay.db", True) as (total, found):
        taken = [next(found)]
        send(store, [chat(5)])
        store.remove_account("eve")
        while store.maintain(True):
            pass
        assert [*taken, *found] == expected and total == 4


def test_a_damaged_message_is_not_exported(store: SqliteStore, tmp_path: Path) -> None:
    store.close()
    path = tmp_path / "data" / "relay.db"
    data = bytearray(path.read_bytes())
    data[data.index(b"no packet at all")] ^= 1
    path.write_bytes(data)
    with pytest.raises(StoreError, match=r"row 4 of the log is missing or altered"):
        records(tmp_path / "data")


def change(number: int, **fields: Any) -> Any:
    def apply(lines: list[Any]) -> None:
        lines[number] = lines[number] | fields

    return apply


BAD = [
    (lambda lines: lines.pop(0), "line 1: an export begins with the type relay"),
    (lambda lines: lines.insert(3, lines[0]), "line 4: an export begins"),
    (change(0, format=2), "line 1: it is of another version"),
    (change(1, name="Alice"), "line 2: name must be a name in canonical form, not 'Alice'"),
    (change(1, disabled=1), "line 2: disabled must be true or false"),
    (change(1, salt="?"), "line 2: salt must be base64"),
    (lambda lines: lines.insert(2, lines[1]), "line 3: this was there before"),
    (lambda lines: lines.insert(2, [1]), "line 3: not a record of an export"),
    (lambda lines: lines.insert(2, {"type": "recipe"}), "line 3: not a record of an export"),
    (change(4, head=-1), "line 5: head must be a number from 0 on"),
    (change(4, first=3), "line 5: the conversation '#ops' cannot be"),
    (change(5, head=5), "line 19: alice@bob ends at 4 and not at 5: messages are missing"),
    (change(6, role="king"), "line 7: there is no role 'king'"),
    (change(6, user="zoe"), "line 7: there is no user 'zoe' so far"),
    (change(12, conversation="#none"), "there is no conversation '#none' so far"),
    (lambda lines: lines.pop(15), "line 16: message 3 of alice@bob is not the next one, which has offset 2"),
    (change(14, **{"from": "alice/fax"}), "line 15: there is no device 'alice/fax' so far"),
    (change(15, id=1), "line 16: message id 1 was used for another message"),
    (lambda lines: lines.pop(), "line 18: the export is cut off"),
    (change(-1, records=3), "the export had 3 records and not 18"),
    (lambda lines: lines.append(lines[-1]), "there must be nothing behind the end"),
]


@pytest.mark.parametrize(("spoil", "sentence"), BAD, ids=[sentence for _, sentence in BAD])
def test_a_bad_record_is_named_and_nothing_is_kept(
    store: SqliteStore, tmp_path: Path, spoil: Any, sentence: str
) -> None:
    lines = records(tmp_path / "data")
    spoil(lines)
    with pytest.raises(BadRecordError) as refused:
        take_in(lines, tmp_path / "new")
    assert sentence in str(refused.value) and str(refused.value).endswith("; nothing was imported")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["relay.lock"]


def test_records_that_do_not_agree(store: SqliteStore, tmp_path: Path) -> None:
    lines = records(tmp_path / "data")
    next(line for line in lines if line["type"] == "cursor")["delivered"] = 5
    with pytest.raises(StoreError, match=r"do not agree with each other: device .* is at 5"):
        take_in(lines, tmp_path / "new")


def test_only_where_nothing_is(store: SqliteStore, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="choose an empty directory"):
        take_in(records(tmp_path / "data"), tmp_path / "data")
    assert not verify(tmp_path / "data" / "relay.db").findings
