"""Deliveries, holes and gaps: what the program gets to see."""

import pytest
from relay_client.core.inbox import DeliveryError, Inbox
from relay_client.events import GapNoticed, MessageReceived

from relay.protocol.packets import Ack, Delivery, Gap, Message, Signal, encode_payload

ME = "alice/laptop"


def delivery(offset: int, sender: str = "bob/phone", conversation: str = "alice@bob") -> Delivery:
    return Delivery(conversation, offset, 1, encode_payload(Message(sender, "alice", offset, "", b"")))


def offsets(inbox: Inbox, *deliveries: Delivery) -> list[int]:
    events = [event for item in deliveries for event in inbox.deliver(item, ME, 0)]
    return [event.offset for event in events if isinstance(event, MessageReceived)]


def test_the_first_delivery_says_where_the_device_is() -> None:
    assert offsets(Inbox(), delivery(17), delivery(18), delivery(17)) == [17, 18]


def test_conversations_are_apart() -> None:
    assert offsets(Inbox(), delivery(5), delivery(3, conversation="alice@carol"), delivery(6)) == [5, 3, 6]


def test_a_hole_is_an_error_once_and_then_a_gap() -> None:
    inbox = Inbox()
    inbox.deliver(delivery(1), ME, 0)
    with pytest.raises(DeliveryError, match="messages 2 to 4 of alice@bob"):
        inbox.deliver(delivery(5), ME, 0)
    events = inbox.deliver(delivery(5), ME, 0)
    assert events[0] == GapNoticed("alice@bob", 2, 4, told=False) and offsets(inbox, delivery(6)) == [6]


def test_a_hole_that_was_filled_is_forgotten() -> None:
    inbox = Inbox()
    inbox.deliver(delivery(1), ME, 0)
    with pytest.raises(DeliveryError):
        inbox.deliver(delivery(3), ME, 0)
    assert offsets(inbox, delivery(2), delivery(3)) == [2, 3]


def test_a_gap_moves_over_what_is_gone() -> None:
    inbox = Inbox()
    inbox.deliver(delivery(1), ME, 0)
    assert inbox.skip(Gap("alice@bob", 2, 9), 0) == [GapNoticed("alice@bob", 2, 9, told=True)]
    assert offsets(inbox, delivery(10)) == [10]


def test_a_gap_may_come_first() -> None:
    inbox = Inbox()
    assert inbox.skip(Gap("alice@bob", 1, 9), 0) == [GapNoticed("alice@bob", 1, 9, told=True)]
    assert offsets(inbox, delivery(10)) == [10]


def test_a_gap_behind_us_is_no_news() -> None:
    inbox = Inbox()
    inbox.deliver(delivery(10), ME, 0)
    assert inbox.skip(Gap("alice@bob", 1, 9), 0) == []


def test_a_gap_is_acknowledged_once_everything_before_it_is_done() -> None:
    inbox = Inbox()
    inbox.deliver(delivery(1), ME, 0)
    inbox.skip(Gap("alice@bob", 2, 9), 0)
    assert inbox.take_acks() == []
    inbox.done("alice@bob", 1, 0)
    assert inbox.take_acks() == [Ack("alice@bob", 9, None)]


def test_own_messages_move_the_cursor_only() -> None:
    inbox = Inbox()
    assert offsets(inbox, delivery(1), delivery(2, sender=ME), delivery(3)) == [1, 3]
    inbox.stored("alice@bob", 4)
    assert offsets(inbox, delivery(5)) == [5]


def test_an_own_message_stored_ahead_of_deliveries_waits_for_them() -> None:
    inbox = Inbox()
    inbox.deliver(delivery(1), ME, 0)
    inbox.stored("alice@bob", 4)
    inbox.stored("alice@bob", 3)
    assert offsets(inbox, delivery(2), delivery(3, sender=ME), delivery(5)) == [2, 5]


def test_a_gap_over_an_own_message_that_was_ahead() -> None:
    inbox = Inbox()
    inbox.deliver(delivery(1), ME, 0)
    inbox.stored("alice@bob", 3)
    inbox.stored("alice@bob", 6)
    inbox.skip(Gap("alice@bob", 2, 5), 0)
    assert offsets(inbox, delivery(7)) == [7]


def test_done_with_what_is_not_waiting_changes_nothing() -> None:
    inbox = Inbox()
    inbox.deliver(delivery(5), ME, 0)
    for offset in (4, 6, 5, 5):
        inbox.done("alice@bob", offset, 0)
    inbox.done("alice@carol", 1, 0)
    assert inbox.take_acks() == [Ack("alice@bob", 5, None)] and inbox.take_acks() == []


@pytest.mark.parametrize("payload", [b"", b"\xc1", encode_payload(Signal("a/b", "c", None, "", b""))])
def test_what_is_no_message_is_an_error(payload: bytes) -> None:
    with pytest.raises(DeliveryError):
        Inbox().deliver(Delivery("alice@bob", 1, 1, payload), ME, 0)


def test_a_long_backlog_costs_the_same_per_message() -> None:
    inbox = Inbox()
    for offset in range(1, 30_001):
        inbox.deliver(delivery(offset), ME, 0)
    for offset in range(1, 30_001):
        inbox.done("alice@bob", offset, 0)
    assert inbox.take_acks() == [Ack("alice@bob", 30_000, None)]


def test_offsets_of_other_logs_are_other_messages() -> None:
    inbox = Inbox()
    inbox.welcome("g1")
    assert offsets(inbox, delivery(1), delivery(2)) == [1, 2]
    inbox.welcome("g1")
    assert offsets(inbox, delivery(2), delivery(3)) == [3]
    inbox.welcome("g2")
    assert offsets(inbox, delivery(2), delivery(3)) == [2, 3]
