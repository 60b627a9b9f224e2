"""The core against a simulated relay: what each request comes to, and what a cut means. Calls: test_core_calls."""

from typing import Any

import pytest
from relay_client import errors
from relay_client.core import Phase
from relay_client.events import (
    Complaint,
    Connected,
    Disconnected,
    Ended,
    MessageReceived,
    SignalReceived,
    SignalsDropped,
)

from relay.protocol.codes import CloseCode, ErrorCode
from relay.protocol.packets import Ack, Call, Close, Error, Fault, Message, Packet, Signal
from relay.protocol.payloads import MSGPACK, encode_body
from tests.relay_client.simulated import Session, SimulatedRelay, ignore, refuse_messages
from tests.relay_client.wire import Wire, outcome


@pytest.fixture
def wire() -> Wire:
    return Wire().open()


def texts(wire: Wire) -> list[str]:
    return [event.packet.body.decode() for event in wire.seen(MessageReceived)]


def test_a_login_makes_the_session_known(wire: Wire) -> None:
    assert wire.events == [Connected("alice/laptop", again=False)]
    assert wire.core.session == "alice/laptop" and wire.core.has_room


def test_a_message_is_settled_by_its_acknowledgement(wire: Wire) -> None:
    pending = wire.core.post("bob", "hello", wire.now)
    assert not pending.done and wire.core.under_way == 1
    wire.run()
    stored = pending.result()
    assert (stored.id, stored.conversation, stored.offset) == (1, "alice@bob", 1)
    assert stored.time.tzinfo is not None and wire.core.under_way == 0


def test_message_ids_begin_behind_those_that_the_relay_has() -> None:
    relay = SimulatedRelay()
    earlier = Wire(relay).open()
    earlier.core.post("bob", "one", earlier.now)
    earlier.run()
    earlier.cut()
    later = Wire(relay).open()
    assert later.core.post("bob", "two", later.now).id == 2


def test_an_unacknowledged_message_goes_out_again_under_its_id(wire: Wire) -> None:
    wire.relay.hook = ignore(Message)
    pending = wire.core.post("bob", "hello", wire.now)
    wire.run()
    wire.cut()
    wire.relay.hook = lambda session, packet: False
    assert not pending.done
    wire.reconnect()
    assert pending.result().offset == 1
    assert [message.id for message in wire.relay.sent(Message)] == [1, 1]


def test_a_message_whose_acknowledgement_was_lost_is_stored_once(wire: Wire) -> None:
    pending = wire.core.post("bob", "hello", wire.now)
    wire.carry(to_client=0)
    wire.cut()
    wire.reconnect()
    assert pending.result().offset == 1 and len(wire.relay.logs["alice@bob"]) == 1


def test_messages_posted_without_a_connection_go_out_in_order(wire: Wire) -> None:
    wire.cut()
    pending = [wire.core.post("bob", str(number), wire.now) for number in range(3)]
    wire.reconnect()
    assert [p.result().offset for p in pending] == [1, 2, 3]


def test_at_most_256_messages_are_under_way(wire: Wire) -> None:
    wire.relay.hook = ignore(Message)
    for number in range(256):
        assert wire.core.has_room
        wire.core.post("bob", str(number), wire.now)
    assert not wire.core.has_room and wire.core.under_way == 256


def test_a_refused_message_fails_with_the_relays_reason(wire: Wire) -> None:
    wire.relay.hook = refuse_messages(ErrorCode.NO_SUCH_USER, "there is no bob")
    pending = wire.core.post("bob", "hello", wire.now)
    wire.run()
    error = outcome(pending)
    assert isinstance(error, errors.Refused) and error.code == ErrorCode.NO_SUCH_USER and not error.retryable
    assert str(error) == "there is no bob"


def test_a_message_refused_by_a_relay_that_shuts_down_is_kept(wire: Wire) -> None:
    wire.relay.hook = refuse_messages(ErrorCode.SHUTTING_DOWN)
    pending = wire.core.post("bob", "hello", wire.now)
    wire.run()
    assert not pending.done
    wire.relay.hook = lambda session, packet: False
    wire.cut()
    wire.reconnect()
    assert pending.result().offset == 1


@pytest.mark.parametrize("to", ["", "bob/phone", "a b", "bob@alice"])
def test_a_message_needs_the_address_of_a_user_or_room(wire: Wire, to: str) -> None:
    with pytest.raises(errors.BadAddress):
        wire.core.post(to, "hello", wire.now)
    assert wire.core.under_way == 0


def test_names_are_prepared_before_they_go_out(wire: Wire) -> None:
    assert wire.core.post("BOB", "hello", wire.now) is not None
    wire.run()
    assert wire.relay.sent(Message)[0].to == "bob"


@pytest.mark.parametrize("value", [object(), {1: 2, "a": object()}, "x" * 2_000_000])
def test_what_cannot_be_sent_is_refused_at_once(wire: Wire, value: Any) -> None:
    for send in (
        lambda: wire.core.post("bob", value, wire.now),
        lambda: wire.core.signal("bob", value),
        lambda: wire.core.call("bob", "m", [value], {}, timeout_s=1, now=wire.now),
    ):
        with pytest.raises(errors.BadValue):
            send()
    wire.run()
    assert wire.relay.received == []


def test_a_signal_goes_out_and_comes_in(wire: Wire) -> None:
    bob = Wire(wire.relay, "bob", "phone").open()
    wire.core.signal("bob/phone", {"typing": True})
    wire.run()
    bob.run()
    assert [event.packet.sender for event in bob.seen(SignalReceived)] == ["alice/laptop"]


def test_a_signal_needs_a_connection(wire: Wire) -> None:
    wire.cut("the cable was pulled")
    with pytest.raises(errors.NotConnected, match="the cable was pulled"):
        wire.core.signal("bob", "hello")


def test_a_notice_of_the_relay_is_an_event(wire: Wire) -> None:
    assert wire.session is not None
    wire.session.push(Signal("relay", "alice", None, *encode_body({"event": "dropped", "signals": 5})))
    wire.run()
    assert wire.seen(SignalsDropped) == [SignalsDropped(5)] and wire.seen(SignalReceived) == []


@pytest.mark.parametrize(
    ("content_type", "body"),
    [("application/x-unknown", b""), (MSGPACK, b"\xc1"), encode_body([]), encode_body({}), encode_body({"event": 5})],
)
def test_a_notice_of_an_unknown_kind_is_ignored(wire: Wire, content_type: str, body: bytes) -> None:
    assert wire.session is not None
    wire.session.push(Signal("relay", "alice/laptop", None, content_type, body))
    wire.run()
    assert [type(event) for event in wire.events] == [Connected]


def test_a_refused_signal_is_reported(wire: Wire) -> None:
    assert wire.session is not None
    wire.session.push(Error(16, None, ErrorCode.RATE_LIMITED, "slower"))
    wire.run()
    assert wire.seen(Complaint) == [Complaint(ErrorCode.RATE_LIMITED, "slower")]


# Receiving.


def test_messages_come_only_after_they_were_asked_for(wire: Wire) -> None:
    wire.relay.say("bob/phone", "alice", "one")
    wire.run()
    assert texts(wire) == []
    wire.core.receive(wire.now)
    wire.run()
    wire.relay.say("bob/phone", "alice", "two")
    wire.run()
    assert texts(wire) == ["one", "two"]


def test_a_device_that_is_new_begins_where_the_program_says() -> None:
    wire = Wire(start=1).open()
    wire.relay.say("bob/phone", "alice", "one")
    wire.relay.say("bob/phone", "alice", "two")
    wire.core.receive(wire.now)
    wire.run()
    assert texts(wire) == ["two"]


def test_receiving_and_methods_are_taken_up_again_after_a_cut(wire: Wire) -> None:
    wire.core.receive(wire.now)
    wire.core.announce(["add"], wire.now)
    wire.run()
    wire.cut()
    wire.relay.methods.clear()
    wire.relay.say("bob/phone", "alice", "meanwhile")
    wire.reconnect()
    assert texts(wire) == ["meanwhile"] and wire.relay.methods == {"alice/laptop": {"add"}}


def test_a_message_received_before_a_cut_does_not_come_twice(wire: Wire) -> None:
    wire.core.receive(wire.now)
    wire.relay.say("bob/phone", "alice", "one")
    wire.run()
    wire.cut()
    wire.reconnect()
    wire.relay.say("bob/phone", "alice", "two")
    wire.run()
    assert texts(wire) == ["one", "two"]


def test_a_message_is_acknowledged_only_when_the_program_is_done_with_it(wire: Wire) -> None:
    wire.core.receive(wire.now)
    for text in ("one", "two", "three"):
        wire.relay.say("bob/phone", "alice", text)
    wire.run()
    wire.wait(1)
    assert wire.relay.sent(Ack) == []
    wire.core.done("alice@bob", 1, wire.now)
    wire.core.done("alice@bob", 3, wire.now)
    wire.wait(1)
    assert wire.relay.sent(Ack) == [Ack("alice@bob", 1, None)]
    wire.core.done("alice@bob", 2, wire.now)
    wire.wait(1)
    assert wire.relay.sent(Ack)[1:] == [Ack("alice@bob", 3, None)]


def test_acknowledgements_travel_together(wire: Wire) -> None:
    wire.core.receive(wire.now)
    for number in range(50):
        wire.relay.say("bob/phone", "alice", str(number))
    wire.run()
    for offset in range(1, 51):
        wire.core.done("alice@bob", offset, wire.now)
    wire.wait(1)
    assert wire.relay.sent(Ack) == [Ack("alice@bob", 50, None)]


def test_many_acknowledgements_do_not_wait(wire: Wire) -> None:
    wire.core.receive(wire.now)
    for number in range(100):
        wire.relay.say("bob/phone", "alice", str(number))
    wire.run()
    for offset in range(1, 101):
        wire.core.done("alice@bob", offset, wire.now)
    wire.run()
    assert wire.relay.sent(Ack) == [Ack("alice@bob", 64, None)]


def test_acknowledgements_lost_in_a_cut_are_sent_again(wire: Wire) -> None:
    wire.core.receive(wire.now)
    wire.relay.say("bob/phone", "alice", "one")
    wire.run()
    wire.core.done("alice@bob", 1, wire.now)
    wire.now += 1
    wire.core.tick(wire.now)
    wire.cut()
    assert wire.relay.sent(Ack) == []
    wire.reconnect()
    assert wire.relay.sent(Ack) == [Ack("alice@bob", 1, None)] and texts(wire) == ["one"]


def test_sync_is_settled_when_the_relay_has_every_acknowledgement(wire: Wire) -> None:
    wire.core.receive(wire.now)
    wire.relay.say("bob/phone", "alice", "one")
    wire.run()
    wire.core.done("alice@bob", 1, wire.now)
    pending = wire.core.sync(wire.now)
    assert not pending.done
    wire.run()
    assert pending.done and pending.error is None
    assert wire.relay.cursors["alice", "laptop"]["alice@bob"] == 1


def test_sync_has_nothing_to_wait_for_if_nothing_was_acknowledged(wire: Wire) -> None:
    assert wire.core.sync(wire.now).done


def test_sync_survives_a_cut(wire: Wire) -> None:
    wire.core.receive(wire.now)
    wire.relay.say("bob/phone", "alice", "one")
    wire.run()
    wire.core.done("alice@bob", 1, wire.now)
    first = wire.core.sync(wire.now)
    second = wire.core.sync(wire.now)
    wire.cut()
    assert not first.done and not second.done
    wire.reconnect()
    assert first.done and second.done
    assert wire.relay.cursors["alice", "laptop"]["alice@bob"] == 1
    assert wire.core.sync(wire.now).done


def test_own_messages_do_not_come_back(wire: Wire) -> None:
    wire.core.receive(wire.now)
    wire.core.post("bob", "mine", wire.now)
    wire.run()
    wire.relay.say("bob/phone", "alice", "yours")
    wire.relay.say("alice/phone", "bob", "from my phone")
    wire.run()
    wire.cut()
    wire.reconnect()
    assert texts(wire) == ["yours", "from my phone"]


def test_a_temporary_device_receives_before_it_sends() -> None:
    wire = Wire(device="~abc").open()
    wire.relay.say("bob/phone", "alice", "before")
    wire.core.post("bob", "hello", wire.now)
    wire.run()
    wire.relay.say("bob/phone", "alice", "answer")
    wire.run()
    assert texts(wire)[-1] == "answer"


@pytest.mark.parametrize(("device", "receive"), [("laptop", None), ("~abc", False)])
def test_others_do_not_receive_before_they_ask(device: str, receive: bool | None) -> None:
    wire = Wire(device=device, receive=receive).open()
    wire.core.post("bob", "hello", wire.now)
    wire.relay.say("bob/phone", "alice", "answer")
    wire.run()
    assert texts(wire) == [] and wire.relay.sent(Call) == []


def test_a_client_may_receive_from_the_first_moment() -> None:
    wire = Wire(receive=True)
    wire.relay.say("bob/phone", "alice", "one")
    wire.open()
    assert texts(wire) == ["one"]


def test_a_refusal_to_deliver_is_told_and_can_be_asked_for_again(wire: Wire) -> None:
    def refuse(session: Session, packet: Packet) -> bool:
        if isinstance(packet, Call):
            session.push(Fault("relay", packet.sender, packet.id, ErrorCode.STORE_FAILED, "the disk is full"))
        return isinstance(packet, Call)

    wire.relay.hook = refuse
    pending = wire.core.receive(wire.now)
    wire.run()
    assert isinstance(outcome(pending), errors.CallFailed)
    wire.relay.hook = lambda session, packet: False
    again = wire.core.receive(wire.now)
    wire.run()
    assert again.done and again.error is None


def test_a_session_that_cannot_be_taken_up_again_is_given_up(wire: Wire) -> None:
    def refuse(session: Session, packet: Packet) -> bool:
        if isinstance(packet, Call):
            session.push(Fault("relay", packet.sender, packet.id, ErrorCode.STORE_FAILED, "the disk is full"))
        return isinstance(packet, Call)

    wire.core.receive(wire.now)
    wire.run()
    wire.cut()
    wire.relay.hook = refuse
    wire.now = wire.core.wake_at or 0
    wire.dial()
    wire.run()
    assert wire.core.phase is Phase.PAUSED and "the disk is full" in wire.core.reason
    wire.relay.hook = lambda session, packet: False
    wire.reconnect()


def test_a_program_that_is_far_behind_leaves_its_socket_alone(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay_client.core.inbox.INBOX_MAX", 3)
    wire.core.receive(wire.now)
    for number in range(3):
        wire.relay.say("bob/phone", "alice", str(number))
    wire.run()
    assert not wire.core.wants_data
    wire.relay.hook = ignore(Message)
    pending = wire.core.post("bob", "I wait for an answer", wire.now)
    assert wire.core.wants_data
    assert wire.session is not None
    wire.session.push(Error(17, pending.id, 300, "no"))
    wire.run()
    assert not wire.core.wants_data
    wire.core.done("alice@bob", 1, wire.now)
    assert wire.core.wants_data


def test_silence_is_not_held_against_a_relay_that_nobody_listens_to(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay_client.core.inbox.INBOX_MAX", 1)
    wire.core.receive(wire.now)
    wire.relay.say("bob/phone", "alice", "one")
    wire.run()
    wire.relay.hook = ignore(Message)
    wire.now += 300
    wire.core.tick(wire.now)
    assert wire.core.phase is Phase.OPEN


# Ending.


def test_close_says_goodbye_and_fails_what_is_under_way(wire: Wire) -> None:
    wire.relay.hook = ignore(Message, Call)
    message = wire.core.post("bob", "hello", wire.now)
    call = wire.core.call("bob", "add", [], {}, timeout_s=5, now=wire.now)
    receiving = wire.core.receive(wire.now)
    wire.run()
    wire.core.close()
    wire.run()
    assert wire.relay.sent(Close)[0].code == CloseCode.NORMAL
    for pending in (message, call, receiving):
        assert isinstance(outcome(pending), errors.ClientClosed)  # type: ignore[arg-type]
    assert wire.core.phase is Phase.ENDED and not wire.core.has_connection


def test_a_closed_client_refuses_everything(wire: Wire) -> None:
    wire.core.close()
    for use in (
        lambda: wire.core.post("bob", "x", wire.now),
        lambda: wire.core.signal("bob", "x"),
        lambda: wire.core.call("bob", "add", [], {}, timeout_s=5, now=wire.now),
        lambda: wire.core.receive(wire.now),
        lambda: wire.core.announce([], wire.now),
        lambda: wire.core.sync(wire.now),
    ):
        with pytest.raises(errors.ClientClosed):
            use()
    wire.core.done("alice@bob", 1, wire.now)
    wire.core.close()


def test_closing_flushes_acknowledgements(wire: Wire) -> None:
    wire.core.receive(wire.now)
    wire.relay.say("bob/phone", "alice", "one")
    wire.run()
    wire.core.done("alice@bob", 1, wire.now)
    wire.core.close()
    wire.run()
    assert wire.relay.sent(Ack) == [Ack("alice@bob", 1, None)]


def test_a_replaced_client_ends_and_fails_what_is_under_way(wire: Wire) -> None:
    wire.relay.hook = ignore(Message)
    pending = wire.core.post("bob", "hello", wire.now)
    wire.run()
    Wire(wire.relay).open()
    wire.run()
    error = outcome(pending)
    assert isinstance(error, errors.Replaced) and "alice/laptop" in str(error)
    assert wire.seen(Ended) == [Ended(error)] and wire.core.wake_at is None


def test_a_wrong_password_ends_the_client() -> None:
    wire = Wire(password="wrong", patience_s=None)
    wire.dial()
    wire.run()
    assert isinstance(wire.core.error, errors.LoginFailed)
    assert "alice" in str(wire.core.error) and "wrong" not in str(wire.core.error).partition(":")[0]
    with pytest.raises(errors.LoginFailed):
        wire.core.post("bob", "x", wire.now)


def test_an_account_that_is_disabled_meanwhile_ends_the_client(wire: Wire) -> None:
    wire.cut()
    wire.relay.strangers.add("alice")
    wire.now = wire.core.wake_at or 0
    wire.dial()
    wire.run()
    assert isinstance(wire.core.error, errors.LoginFailed)


def test_the_core_never_shows_the_password() -> None:
    wire = Wire(password="wrong-horse", patience_s=None)
    wire.dial()
    wire.run()
    shown = [repr(wire.core.error), repr(wire.events), repr(wire.core._link.identity)]
    assert not any("wrong-horse" in text for text in shown)


def test_events_of_a_cut_tell_when_it_goes_on(wire: Wire) -> None:
    wire.cut("the cable was pulled")
    assert wire.seen(Disconnected) == [Disconnected("the cable was pulled", 0.25)]
    wire.reconnect()
    assert wire.seen(Connected)[-1] == Connected("alice/laptop", again=True)
