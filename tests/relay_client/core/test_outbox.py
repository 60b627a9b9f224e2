"""Messages under way."""

import pytest
from relay_client.core.outbox import Outbox
from relay_client.errors import ClientClosed


def test_ids_grow_from_what_the_relay_knows_and_never_back() -> None:
    outbox = Outbox()
    outbox.welcome(41)
    assert outbox.add("a/b", "c", "", b"")[0].id == 42
    outbox.welcome(7)
    assert outbox.add("a/b", "c", "", b"")[0].id == 43
    outbox.welcome(100)
    assert outbox.add("a/b", "c", "", b"")[0].id == 101


def test_what_is_under_way_is_kept_in_order_until_it_is_answered() -> None:
    outbox = Outbox()
    added = [outbox.add("a/b", "c", "", bytes([n]))[0] for n in range(4)]
    assert outbox.take(2) is not None and outbox.take(2) is None and outbox.take(99) is None
    assert outbox.packets() == [added[0], *added[2:]] and len(outbox) == 3


def test_it_takes_no_more_than_the_relay_remembers() -> None:
    outbox = Outbox()
    for _ in range(256):
        assert outbox.has_room
        outbox.add("a/b", "c", "", b"")
    assert not outbox.has_room
    with pytest.raises(AssertionError):
        outbox.add("a/b", "c", "", b"")
    outbox.take(2)
    assert not outbox.has_room, "the first one could no longer be told from a new one"
    outbox.take(1)
    assert outbox.has_room


def test_an_old_one_under_way_holds_up_new_ones_however_many_later_ones_are_answered() -> None:
    outbox = Outbox()
    for _ in range(256):
        outbox.add("a/b", "c", "", b"")
    for message_id in range(2, 257):
        outbox.take(message_id)
    assert not outbox.has_room and len(outbox) == 1
    outbox.take(2)
    assert not outbox.has_room, "the first one could no longer be told from a new one"
    outbox.take(1)
    assert outbox.has_room


def test_all_fail_together() -> None:
    outbox = Outbox()
    pending = [outbox.add("a/b", "c", "", b"")[1] for _ in range(3)]
    outbox.fail_all(ClientClosed("closed"))
    assert all(isinstance(p.error, ClientClosed) for p in pending) and len(outbox) == 0
