"""A conversation: what is unread, who types, how far others are."""

from datetime import UTC, datetime

from relay_chat.model.conversation import TYPERS_MAX, TYPING_S, Conversation, peer_of
from relay_chat.model.entries import Entry, Mark

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def talk(name: str = "alice@bob", head: int = 0, read: int = 0) -> Conversation:
    conversation = Conversation(name, "alice")
    conversation.reached(head, 0)
    conversation.read_to(read)
    return conversation


def own(offset: int | None) -> Entry:
    return Entry("alice", "x", NOON, mine=True, offset=offset)


def test_whom_it_is_with() -> None:
    assert (talk().address, talk("#ops").address, talk("alice@alice").address) == ("bob", "#ops", "alice")
    assert talk("alice@alice").label == "alice (notes)"
    assert peer_of("aaron@alice", "alice") == "aaron"


def test_own_messages_are_not_unread() -> None:
    conversation = talk(head=10, read=6)
    assert conversation.unread == 4
    conversation.own_at(8)
    conversation.own_at(8)
    assert conversation.unread == 3
    conversation.read_to(9)
    assert conversation.unread == 1


def test_what_is_no_longer_kept_is_not_unread() -> None:
    conversation = talk(head=10)
    conversation.first = 8
    assert conversation.unread == 3


def test_reading_goes_forwards_only() -> None:
    conversation = talk(head=10, read=6)
    assert not conversation.read_to(5) and not conversation.read_to(6) and conversation.read_to(7)


def test_typing_ends_by_itself_and_by_sending() -> None:
    conversation = talk("#ops")
    conversation.typed("carol", 100)
    conversation.typed("bob", 101)
    assert conversation.typers(102) == ["bob", "carol"]
    assert conversation.typers(100.5 + TYPING_S) == ["bob"]
    conversation.stopped_typing("bob")
    assert conversation.typers(102) == []


def test_a_crowd_that_types_is_bounded() -> None:
    conversation = talk("#ops")
    for number in range(1000):
        conversation.typed(f"user{number}", 100)
    assert len(conversation.typers(100)) == TYPERS_MAX


def test_the_fate_of_own_messages() -> None:
    conversation = talk("#ops")
    assert conversation.mark(Entry("bob", "x", NOON, offset=1)) is Mark.NONE
    assert conversation.mark(own(None)) is Mark.QUEUED
    assert conversation.mark(own(5)) is Mark.STORED
    conversation.moved("alice", {"phone": 9}, 9)
    assert conversation.mark(own(5)) is Mark.STORED
    conversation.moved("bob", {"desk": 5}, None)
    assert conversation.mark(own(5)) is Mark.DELIVERED
    assert conversation.mark(own(6)) is Mark.STORED
    conversation.moved("bob", {"desk": 6}, 5)
    conversation.moved("carol", {"phone": 6}, 6)
    assert conversation.mark(own(5)) is Mark.READ
    assert (conversation.readers(5), conversation.readers(6)) == (2, 1)
    refused = own(None)
    refused.error = "no"
    assert conversation.mark(refused) is Mark.FAILED
