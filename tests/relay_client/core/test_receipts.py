"""How far others are, from what is told and from what is asked, in any order."""

import pytest
from relay_client.answers import DeviceCursor
from relay_client.core.receipts import Receipts
from relay_client.events import Receipt


def receipt(devices: dict[str, int], read: int | None = None) -> Receipt:
    return Receipt("alice@bob", "bob", max(devices.values()), read, devices)


def standing(receipts: Receipts) -> dict[str, tuple[dict[str, int], int]]:
    return {user: (progress.devices, progress.read) for user, progress in receipts.people("alice@bob").items()}


def test_what_is_told_only_moves_forwards() -> None:
    receipts = Receipts()
    assert receipts.follow("alice@bob") and not receipts.follow("alice@bob")
    assert receipts.move(receipt({"phone": 3}))
    assert receipts.move(receipt({"desk": 1}, read=1))
    assert not receipts.move(receipt({"phone": 2}))
    assert standing(receipts) == {"bob": ({"phone": 3, "desk": 1}, 1)}


def test_of_an_answer_only_what_is_news_is_told() -> None:
    receipts = Receipts()
    receipts.follow("alice@bob")
    receipts.move(receipt({"phone": 3}, read=2))
    rows = [DeviceCursor("bob", "phone", 3, 2), DeviceCursor("carol", "desk", 0, 0)]
    assert receipts.learn("alice@bob", rows) == [Receipt("alice@bob", "carol", 0, None, {"desk": 0})]
    assert receipts.learn("alice@bob", rows) == []
    assert receipts.learn("alice@bob", [DeviceCursor("bob", "phone", 5, 4)]) == [receipt({"phone": 5}, read=4)]


def test_nothing_is_kept_of_conversations_that_are_not_followed() -> None:
    receipts = Receipts()
    assert receipts.move(receipt({"phone": 3}))
    assert receipts.people("alice@bob") == {} and receipts.followed == []


def test_the_longest_followed_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay_client.core.receipts.FOLLOWED_MAX", 2)
    receipts = Receipts()
    for name in ("a", "b", "c"):
        receipts.follow(name)
    assert receipts.followed == ["b", "c"]
