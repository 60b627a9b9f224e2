"""Calls through the core: those that we make, and those that come."""

from typing import Any

import pytest
from relay_client import errors
from relay_client.core import Phase
from relay_client.events import CallReceived

from relay.protocol.codes import ErrorCode
from relay.protocol.packets import Call, Error, Fault, Packet, Result
from relay.protocol.payloads import MSGPACK, encode_body
from tests.relay_client.simulated import Session, ignore
from tests.relay_client.wire import Wire, outcome


@pytest.fixture
def wire() -> Wire:
    return Wire().open()


# Calls that we make.


def make_call(wire: Wire, *args: Any, timeout_s: float = 5, **kwargs: Any):  # type: ignore[no-untyped-def]
    return wire.core.call("bob", "add", args, kwargs, timeout_s=timeout_s, now=wire.now)


def answering(value: Any):  # type: ignore[no-untyped-def]
    def hook(session: Session, packet: Packet) -> bool:
        if isinstance(packet, Call) and packet.to == "bob":
            session.push(Result("bob/phone", packet.sender, packet.id, *encode_body(value)))
        return isinstance(packet, Call) and packet.to == "bob"

    return hook


@pytest.mark.parametrize("value", [5, None, "text", b"bytes", [1, {"a": 2.5}]])
def test_a_call_gets_its_answer(wire: Wire, value: Any) -> None:
    wire.relay.hook = answering(value)
    pending = make_call(wire, 2, 3)
    wire.run()
    assert outcome(pending) == value
    call = wire.relay.sent(Call)[0]
    assert (call.method, call.timeout_ms, call.content_type) == ("add", 5000, MSGPACK)


def test_a_call_that_fails_says_what_the_callee_said(wire: Wire) -> None:
    pending = make_call(wire)
    assert wire.session is not None
    wire.session.push(Fault("bob/phone", "alice/laptop", pending.id, 1234, "out of paper"))
    wire.run()
    error = outcome(pending)
    assert isinstance(error, errors.CallFailed) and (error.code, error.sentence) == (1234, "out of paper")
    assert "add of bob" in str(error)


def test_a_call_refused_as_a_packet_fails(wire: Wire) -> None:
    pending = make_call(wire)
    assert wire.session is not None
    wire.session.push(Error(24, pending.id, ErrorCode.TOO_LARGE, "too large"))
    wire.run()
    assert isinstance(outcome(pending), errors.CallFailed)


def test_the_relays_timeout_is_a_timeout(wire: Wire) -> None:
    pending = make_call(wire)
    assert wire.session is not None
    wire.session.push(Fault("relay", "alice/laptop", pending.id, ErrorCode.TIMED_OUT, "bob did not answer"))
    wire.run()
    error = outcome(pending)
    assert isinstance(error, errors.TimedOut) and isinstance(error, errors.CallFailed)
    assert isinstance(error, TimeoutError)


def test_a_call_that_nobody_answers_times_out_a_little_after_the_relays_time(wire: Wire) -> None:
    wire.relay.hook = ignore(Call)
    pending = make_call(wire, timeout_s=5)
    wire.wait(5.1)
    assert not pending.done
    wire.wait(1)
    assert isinstance(outcome(pending), errors.CallTimedOut)


def test_an_answer_that_comes_too_late_is_ignored(wire: Wire) -> None:
    wire.relay.hook = ignore(Call)
    pending = make_call(wire, timeout_s=1)
    wire.wait(2)
    assert wire.session is not None
    wire.session.push(Result("bob/phone", "alice/laptop", pending.id, *encode_body(1)))
    wire.run()
    assert isinstance(outcome(pending), errors.CallTimedOut) and wire.core.phase is Phase.OPEN


def test_a_call_in_flight_when_the_connection_breaks_fails(wire: Wire) -> None:
    wire.relay.hook = ignore(Call)
    pending = make_call(wire)
    wire.run()
    wire.cut("the cable was pulled")
    error = outcome(pending)
    assert isinstance(error, errors.ConnectionLost) and "the cable was pulled" in str(error)


def test_a_call_made_without_a_connection_waits_for_one(wire: Wire) -> None:
    wire.relay.hook = answering(7)
    wire.cut()
    pending = make_call(wire, timeout_s=5)
    wire.reconnect()
    assert pending.result() == 7
    assert wire.relay.sent(Call)[0].timeout_ms < 5000


def test_a_call_made_without_a_connection_times_out_without_one(wire: Wire) -> None:
    wire.cut("the cable was pulled")
    wire.now += 0  # the core has not been told of any time passing yet
    pending = make_call(wire, timeout_s=0.1)
    wire.core.tick(wire.now + 0.2)
    error = outcome(pending)
    assert isinstance(error, errors.CallTimedOut) and "the cable was pulled" in str(error)


def test_an_answer_that_cannot_be_read_is_a_bad_value(wire: Wire) -> None:
    pending = make_call(wire)
    assert wire.session is not None
    wire.session.push(Result("bob/phone", "alice/laptop", pending.id, MSGPACK, b"\xc1"))
    wire.run()
    assert isinstance(outcome(pending), errors.BadValue)


@pytest.mark.parametrize("timeout_s", [0, -1, 601])
def test_a_calls_timeout_has_bounds(wire: Wire, timeout_s: float) -> None:
    with pytest.raises(errors.BadValue, match="600 s"):
        make_call(wire, timeout_s=timeout_s)


def test_call_ids_are_never_used_twice(wire: Wire) -> None:
    wire.relay.hook = answering(1)
    ids = []
    for _ in range(3):
        ids.append(make_call(wire).id)
        wire.run()
        wire.cut()
        wire.reconnect()
    assert len(set(ids)) == 3


# Calls that come.


def incoming_call(wire: Wire) -> CallReceived:
    assert wire.session is not None
    wire.session.push(Call("bob/phone", "alice/laptop", 9, "add", 5000, *encode_body([2, 3])))
    wire.run()
    return wire.seen(CallReceived)[-1]


def test_a_call_that_comes_is_answered_to_its_caller(wire: Wire) -> None:
    event = incoming_call(wire)
    assert (event.call.sender, event.call.method, event.call.deadline_at) == ("bob", "add", wire.now + 5)
    wire.core.answer(event.call, 5)
    wire.run()
    assert wire.relay.sent(Result) == [Result("alice/laptop", "bob/phone", 9, *encode_body(5))]


def test_a_call_that_comes_is_refused_with_a_clipped_sentence(wire: Wire) -> None:
    event = incoming_call(wire)
    wire.core.refuse(event.call, 1000, "ä" * 1000)
    wire.run()
    fault = wire.relay.sent(Fault)[0]
    assert fault.code == 1000 and len(fault.sentence.encode()) <= 256


def test_an_answer_to_a_call_of_an_earlier_connection_is_not_sent(wire: Wire) -> None:
    event = incoming_call(wire)
    wire.cut()
    wire.core.answer(event.call, 5)
    wire.reconnect()
    wire.core.answer(event.call, 5)
    wire.core.refuse(event.call, 1000, "no")
    wire.run()
    assert wire.relay.sent(Result) == [] and wire.relay.sent(Fault) == []
