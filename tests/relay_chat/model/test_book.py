"""All conversations: order, names, presence."""

from datetime import UTC, datetime

import pytest
from relay_chat.model.book import Book
from relay_client.answers import Conversation as Row
from relay_client.answers import Presence, Room

from relay.protocol.addresses import AddressError

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def book() -> Book:
    found = Book("alice")
    rows = [
        Row("#ops", "Operations", 9, 1, 0, 3, NOON),
        Row("alice@bob", "", 4, 1, 0, 4, NOON.replace(hour=13)),
        Row("alice@carol", "", 2, 1, 0, 0, NOON.replace(hour=14)),
    ]
    rooms = [Room("#ops", "Operations", True, "member", 3, 9), Room("#secret", "", False, "invited", 2, 0)]
    found.update(rows, rooms)
    return found


def test_people_and_rooms_in_the_order_of_what_happened_last() -> None:
    found = book()
    assert [c.address for c in found.in_order()] == ["carol", "bob", "#secret", "#ops"]
    found.get("alice@bob").reached(5, NOON.replace(hour=15).timestamp())
    assert [c.address for c in found.people()] == ["bob", "carol"]
    assert found.unread == 2 + 1 + 6


def test_a_room_that_was_left_is_gone_from_the_list() -> None:
    found = book()
    found.update([], [Room("#secret", "", False, "member", 2, 0)])
    assert [c.address for c in found.rooms()] == ["#secret"]


def test_names_as_people_write_them() -> None:
    found = book()
    assert found.named("Bob") == found.named("@bob") == "alice@bob"
    assert found.named(" #OPS ") == "#ops"
    assert found.named("alice") == "alice@alice"
    with pytest.raises(AddressError):
        found.named("a b")


def test_who_is_known() -> None:
    found = book()
    found.presence["dave"] = Presence("dave", "away", None)
    assert (found.state("dave"), found.state("bob")) == ("away", "")
    assert found.known_people() == ["alice", "bob", "carol", "dave"]
