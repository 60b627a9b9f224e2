"""Answers of the relay as values; unknown keys are ignored."""

import pytest
from relay_client.answers import Conversation, Device, Presence, Room
from relay_client.received import utc_time

ROW = {"conversation": "#ops", "title": "", "head": 9, "first": 1, "delivered": 9, "read": 4, "time_ms": 5000}


def test_rows_are_read_and_what_is_new_in_them_is_ignored() -> None:
    row = {"room": "#ops", "title": "T", "public": True, "role": None, "members": 1, "head": 0, "new": []}
    assert Room.from_row(row) == Room("#ops", "T", True, None, 1, 0)
    device = {"device": "phone", "created_ms": 1000, "seen_ms": 2000, "online": True}
    assert Device.from_row(device) == Device("phone", utc_time(1000), utc_time(2000), True)


@pytest.mark.parametrize(
    ("change", "unread"), [({}, 5), ({"read": 9}, 0), ({"first": 8, "read": 0}, 2), ({"head": 0, "read": 0}, 0)]
)
def test_unread_counts_what_is_kept(change: dict[str, int], unread: int) -> None:
    assert Conversation.from_row(ROW | change).unread == unread


def test_times_that_are_not_known_are_none() -> None:
    assert Conversation.from_row(ROW | {"time_ms": 0}).time is None
    assert Presence.from_row({"user": "bob", "state": "offline", "seen_ms": 0}).seen is None
