"""Reading conversations, and how far everybody is."""

from typing import Any

import pytest

from relay.protocol.codes import CloseCode, ErrorCode
from relay.protocol.limits import BODY_MAX, CONTENT_TYPE_MAX_BYTES
from relay.protocol.packets import Message, decode, encode_payload
from relay.store.base import KEEP_ALL, Retention
from relay.store.memory import MemoryStore
from tests.router.recording import RecordingSubscriber
from tests.router.town import NO_CREDENTIALS, Town

ALICE_BOB = "alice@bob"


class Archive:
    """Ten messages from Alice to Bob, three in a room that Carol made."""

    def __init__(self, retention: Retention = KEEP_ALL) -> None:
        self.town = Town("alice", "bob", "carol", store=MemoryStore(retention))
        self.alice, self.bob, self.carol = (self.town.join(user) for user in ("alice", "bob", "carol"))
        for id in range(1, 11):
            self.town.send(self.alice, "bob", id, bytes([id]))
        self.ask(self.carol, "rooms.create", room="#ops", title="Operations", public=False)
        for id in range(1, 4):
            self.town.send(self.carol, "#ops", id)
        self.town.log.run()

    def ask(self, session: RecordingSubscriber, method: str, **arguments: Any) -> Any:
        return self.town.ask(session, method, arguments)

    def offsets(self, **arguments: Any) -> list[int]:
        page = self.ask(self.bob, "history.read", conversation="alice", **arguments)
        assert (page["conversation"], page["first"], page["head"]) == (ALICE_BOB, 1, 10)
        return [message["offset"] for message in page["messages"]]


@pytest.mark.parametrize(
    ("arguments", "offsets"),
    [
        ({}, list(range(1, 11))),
        ({"limit": 3}, [8, 9, 10]),
        ({"before": 8, "limit": 3}, [5, 6, 7]),
        ({"before": 1}, []),
        ({"after": 0, "limit": 3}, [1, 2, 3]),
        ({"after": 8}, [9, 10]),
        ({"after": 10}, []),
        ({"after": 1000}, []),
        ({"before": 1000, "limit": 1}, [10]),
    ],
)
def test_pages_before_after_and_from_the_end(arguments: dict[str, int], offsets: list[int]) -> None:
    assert Archive().offsets(**arguments) == offsets


def test_a_message_is_as_its_sender_wrote_it() -> None:
    at = Archive()
    (message,) = at.ask(at.bob, "history.read", conversation=ALICE_BOB, after=4, limit=1)["messages"]
    assert message["time_ms"] == at.town.log.time_ms
    assert decode(message["packet"]) == Message("alice/phone", "bob", 5, "", b"\x05")


def test_what_retention_took_is_told_by_the_first_offset_kept() -> None:
    at = Archive(Retention(conversation_bytes=100))
    at.town.log.store.sweep(0)
    page = at.ask(at.bob, "history.read", conversation="alice", after=0)
    offsets = [message["offset"] for message in page["messages"]]
    assert 1 < page["kept"] == page["first"] == offsets[0] < 10
    assert offsets == list(range(page["kept"], 11))
    below = at.ask(at.bob, "history.read", conversation="alice", before=page["kept"])
    assert (below["kept"], below["messages"]) == (page["kept"], [])
    newest = at.ask(at.bob, "history.read", conversation="alice")
    assert newest["messages"] == page["messages"]


@pytest.mark.parametrize("direction", [{"after": 0}, {"before": 12}, {}])
def test_the_longest_message_fits_into_a_page_alone(direction: dict[str, int]) -> None:
    at = Archive()
    longest = Message("alice/phone", "bob", 11, "x" * CONTENT_TYPE_MAX_BYTES, bytes(BODY_MAX))
    at.town.router.conversations.submit(at.alice, "bob", 11, encode_payload(longest))
    at.town.log.run()
    read: list[int] = []
    place: dict[str, int] = dict(direction)
    while len(read) < 20 and (messages := at.ask(at.bob, "history.read", conversation="alice", **place)["messages"]):
        read += [message["offset"] for message in messages]
        if len(messages) == 1 and messages[0]["offset"] == 11:
            assert decode(messages[0]["packet"]) == longest
        place = {"after": messages[-1]["offset"]} if "after" in direction else {"before": messages[0]["offset"]}
    assert sorted(read) == list(range(1, 12))


def test_a_conversation_has_several_names_and_one_begins_empty() -> None:
    at = Archive()
    for name in ("bob", "alice@bob", "bob@alice", "Bob"):
        assert at.ask(at.alice, "history.read", conversation=name)["conversation"] == ALICE_BOB
    page = at.ask(at.alice, "history.read", conversation="carol")
    assert page == {"conversation": "alice@carol", "first": 1, "kept": 1, "head": 0, "messages": []}


def test_outsiders_read_nothing() -> None:
    at = Archive()
    for method in ("history.read", "receipts.of"):
        assert at.ask(at.carol, method, conversation=ALICE_BOB) == ErrorCode.NO_SUCH_CONVERSATION
        assert at.ask(at.bob, method, conversation="#ops") == ErrorCode.NO_SUCH_ROOM
        assert at.ask(at.bob, method, conversation="#nowhere") == ErrorCode.NO_SUCH_ROOM


def test_members_read_a_room_from_its_beginning_and_the_invited_do_not() -> None:
    at = Archive()
    at.ask(at.carol, "rooms.invite", room="#ops", user="bob")
    assert at.ask(at.bob, "history.read", conversation="#ops") == ErrorCode.NO_SUCH_ROOM
    at.ask(at.bob, "rooms.join", room="#ops")
    page = at.ask(at.bob, "history.read", conversation="#ops")
    assert [message["offset"] for message in page["messages"]] == [1, 2, 3]


def test_whoever_has_a_name_later_reads_nothing_of_the_time_before() -> None:
    at = Archive()
    at.bob.end(CloseCode.ACCOUNT_ENDED, "removed")
    at.town.log.store.remove_account("bob")
    at.town.log.store.add_account("bob", NO_CREDENTIALS, False, 0)
    later = at.town.join("bob")
    assert at.ask(later, "history.read", conversation="alice")["messages"] == []
    at.town.send(at.alice, "bob", 11)
    at.town.log.run()
    for arguments in ({}, {"after": 0}, {"before": 100}, {"before": 8}):
        page = at.ask(later, "history.read", conversation="alice", **arguments)
        assert page["first"] == 11
        assert [message["offset"] for message in page["messages"]] == ([] if arguments == {"before": 8} else [11])
    assert len(at.ask(at.alice, "history.read", conversation="bob")["messages"]) == 11


def test_before_and_after_together_are_refused() -> None:
    at = Archive()
    answer = at.ask(at.bob, "history.read", conversation="alice", before=3, after=1)
    assert answer == ErrorCode.BAD_ARGUMENTS


def test_a_page_is_no_longer_than_its_bytes_allow() -> None:
    at = Archive()
    for id in range(11, 16):
        at.town.send(at.alice, "bob", id, bytes(100_000))
    at.town.log.run()
    page = at.ask(at.bob, "history.read", conversation="alice", after=10)
    assert [message["offset"] for message in page["messages"]] == [11, 12]
    page = at.ask(at.bob, "history.read", conversation="alice")
    assert [message["offset"] for message in page["messages"]] == [14, 15]


def test_the_list_of_conversations_says_where_everything_stands() -> None:
    at = Archive()
    at.ask(at.bob, "messages.receive")
    at.town.acknowledge(at.bob, ALICE_BOB, 7, 4)
    at.ask(at.bob, "messages.sync")
    answer = at.ask(at.bob, "conversations.list")
    assert answer == {
        "conversations": [
            {
                "conversation": ALICE_BOB,
                "title": "",
                "head": 10,
                "first": 1,
                "delivered": 7,
                "read": 4,
                "time_ms": at.town.log.time_ms,
            }
        ],
        "more": False,
    }
    (room,) = at.ask(at.carol, "conversations.list")["conversations"]
    assert (room["conversation"], room["title"], room["head"]) == ("#ops", "Operations", 3)


def test_the_list_comes_in_pages() -> None:
    at = Archive()
    at.town.send(at.alice, "carol", 11)
    at.town.send(at.alice, "alice", 12)
    at.town.log.run()
    found, after = [], ""
    for _ in range(10):
        page = at.ask(at.alice, "conversations.list", limit=1, after=after)
        found += [info["conversation"] for info in page["conversations"]]
        after = found[-1]
        if not page["more"]:
            break
    assert found == ["alice@alice", "alice@bob", "alice@carol"]


def test_receipts_count_what_was_acknowledged_a_moment_ago() -> None:
    at = Archive()
    at.ask(at.bob, "messages.receive")
    at.town.acknowledge(at.bob, ALICE_BOB, 7, 4)
    cursors = at.ask(at.alice, "receipts.of", conversation="bob")["cursors"]
    assert {"user": "bob", "device": "phone", "delivered": 7, "read": 4} in cursors


def test_receipts_are_watched_until_they_are_not() -> None:
    at = Archive()
    assert at.ask(at.alice, "receipts.watch") == {}
    at.town.acknowledge(at.bob, ALICE_BOB, 3)
    at.town.router.receipts.tick()
    assert len(at.alice.outlet.signalled) == 1
    assert at.ask(at.alice, "receipts.watch", watch=False) == {}
    at.town.acknowledge(at.bob, ALICE_BOB, 4)
    at.town.router.receipts.tick()
    assert len(at.alice.outlet.signalled) == 1
