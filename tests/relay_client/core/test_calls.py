"""Calls in flight and their deadlines. How they fare on a connection: test_core."""

import pytest
from relay_client.core.calls import GRACE_S, Calls
from relay_client.errors import CallTimedOut, ClientClosed, ConnectionLost


def test_a_call_counts_as_sent_once_its_packet_was_made() -> None:
    calls = Calls()
    first = calls.add("bob", "m", "", b"", 10)
    second = calls.add("bob", "m", "", b"", 10)
    assert calls.packet(first.id, "alice/laptop", 4).timeout_ms == 6000
    assert calls.unsent() == [second.id]
    calls.lost("cut")
    assert isinstance(first.error, ConnectionLost) and not second.done and len(calls) == 1


def test_a_packet_made_at_the_last_moment_has_a_valid_timeout() -> None:
    calls = Calls()
    pending = calls.add("bob", "m", "", b"", 10)
    assert calls.packet(pending.id, "alice/laptop", 11).timeout_ms == 1


def test_deadlines_come_in_order_and_answered_calls_have_none() -> None:
    calls = Calls()
    late, early = calls.add("bob", "m", "", b"", 20), calls.add("bob", "m", "", b"", 10)
    assert calls.next_deadline == 10
    assert calls.fault(early.id, 203, "no")
    assert calls.next_deadline == 20
    calls.expire(20, "no connection")
    assert isinstance(late.error, CallTimedOut) and calls.next_deadline is None


def test_a_sent_call_leaves_the_relay_a_little_more_time() -> None:
    calls = Calls()
    pending = calls.add("bob", "m", "", b"", 10)
    calls.packet(pending.id, "alice/laptop", 0)
    calls.expire(10, "")
    assert not pending.done and calls.next_deadline == 10 + GRACE_S
    calls.expire(10 + GRACE_S, "")
    assert isinstance(pending.error, CallTimedOut) and pending.error.method == "m"


@pytest.mark.parametrize("call_id", [0, 99])
def test_a_fault_for_no_call_is_noticed(call_id: int) -> None:
    assert not Calls().fault(call_id, 203, "no")


def test_all_fail_together() -> None:
    calls = Calls()
    pending = [calls.add("bob", "m", "", b"", 10) for _ in range(3)]
    calls.fail_all(ClientClosed("closed"))
    assert all(isinstance(p.error, ClientClosed) for p in pending) and len(calls) == 0
