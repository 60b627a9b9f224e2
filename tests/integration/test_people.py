"""Devices, presence and blocks over real bytes."""

from typing import Any

import pytest

from relay.protocol.codes import CloseCode, ErrorCode
from relay.protocol.packets import Ack, Delivery, Error, Fault, Proof, Signal, Welcome
from relay.protocol.payloads import decode_body
from relay.protocol.scram import ClientLogin
from tests.integration.peer import PASSWORD, Peer, eventually, message_in, value_in
from tests.integration.stage import Stage


def told(peer: Peer) -> dict[str, Any]:
    """The next packet, which must be an event; a PING is answered on the way."""
    signal = peer.expect(Signal)
    assert signal.sender == "relay"
    event: Any = decode_body(signal.content_type, signal.body)
    return dict(event)


# Devices.


def test_of_many_logins_of_one_device_at_once_exactly_one_wins(stage: Stage) -> None:
    user, number = stage.user(), 8
    peers = [stage.connect() for _ in range(number)]
    proofs = []
    for peer in peers:
        login = ClientLogin(user, PASSWORD)
        proofs.append(Proof(login.final(peer.hello(login, user, "laptop").data)))
    for peer, proof in zip(peers, proofs, strict=True):
        peer.send(proof)
    for peer in peers:
        peer.address = peer.expect(Welcome).session
    eventually(lambda: sum(peer.has_news() for peer in peers) >= number - 1, lambda: "all but one are told")
    (winner,) = [peer for peer in peers if not peer.has_news()]
    winner.alive()
    assert {peer.closing().code for peer in peers if peer is not winner} == {CloseCode.REPLACED}


def test_the_second_session_of_a_device_goes_on_where_the_first_was(stage: Stage) -> None:
    sender, user = stage.session(), stage.user()
    first = stage.session(user, "laptop")
    first.receive_messages()
    for number in range(1, 6):
        sender.store(user, number, b"%d" % number)
    conversation = [first.expect(Delivery) for _ in range(5)][-1].conversation
    first.send(Ack(conversation, 3, None))
    first.ask("messages.sync")
    second = stage.session(user, "laptop")
    close = first.closing()
    assert close.code == CloseCode.REPLACED and close.sentence
    second.receive_messages()
    assert [message_in(second.expect(Delivery)).body for _ in range(2)] == [b"4", b"5"]
    second.alive()


@pytest.mark.parametrize("start", [0, 3, 100])
def test_a_new_device_begins_with_the_last_messages(stage: Stage, start: int) -> None:
    sender, user = stage.session(), stage.user()
    stage.session(user, "laptop").receive_messages()
    for number in range(1, 11):
        sender.store(user, number, b"%d" % number)
    phone = stage.session(user, "phone")
    phone.receive_messages(start)
    sender.store(user, 11, b"11")
    first = max(11 - start, 1)
    assert [message_in(phone.expect(Delivery)).body for _ in range(first, 12)] == [
        b"%d" % number for number in range(first, 12)
    ]
    phone.alive()


def test_what_was_sent_from_the_laptop_appears_on_the_phone(stage: Stage) -> None:
    user, other = stage.user(), stage.user()
    laptop, phone = stage.session(user, "laptop"), stage.session(user, "phone")
    phone.receive_messages()
    laptop.store(other, 1, b"one")
    assert message_in(phone.expect(Delivery)).sender == f"{user}/laptop"
    phone.close()
    laptop.store(other, 2, b"two")
    phone = stage.session(user, "phone")
    phone.receive_messages()
    assert [message_in(phone.expect(Delivery)).body for _ in range(2)] == [b"one", b"two"]


def test_a_forgotten_device_is_told_and_begins_anew(stage: Stage) -> None:
    user = stage.user()
    laptop, phone = stage.session(user, "laptop"), stage.session(user, "phone")
    for peer in (laptop, phone):
        peer.receive_messages()
    assert {row["device"] for row in value_in(laptop.ask("devices.list"))["devices"]} == {"laptop", "phone"}
    value_in(laptop.ask("devices.forget", {"device": "phone"}))
    assert phone.closing().code == CloseCode.ACCOUNT_ENDED
    assert [row["device"] for row in value_in(laptop.ask("devices.list"))["devices"]] == ["laptop"]
    unknown = laptop.ask("devices.forget", {"device": "phone"})
    assert isinstance(unknown, Fault) and unknown.code == ErrorCode.NO_SUCH_SESSION


# Presence.


def test_presence_is_told_to_those_who_share_a_conversation(stage: Stage) -> None:
    alice, bob, stranger = stage.session(), stage.user(), stage.session()
    alice.store(bob, 1, b"hello")
    (row,) = value_in(alice.ask("presence.watch"))["users"]
    assert (row["user"], row["state"]) == (bob, "offline")
    assert value_in(stranger.ask("presence.watch", {"users": [bob]})) == {"users": []}
    laptop = stage.session(bob, "laptop")
    assert (told(alice)["state"]) == "online"
    value_in(laptop.ask("presence.set", {"state": "away"}))
    assert told(alice)["state"] == "away"
    laptop.close()
    gone = told(alice)
    assert (gone["event"], gone["user"], gone["state"]) == ("presence", bob, "offline") and gone["seen_ms"] > 0
    stranger.alive()


def test_a_half_open_connection_is_offline_soon_and_its_messages_wait(hurry: Stage) -> None:
    """The settings are short here; with the defaults it takes 25 s of silence and 10 s more."""
    alice, bob = hurry.session(), hurry.user()
    alice.store(bob, 1, b"before")
    silent = hurry.session(bob, "phone")  # reads nothing and answers no PING from here on
    silent.receive_messages()
    (row,) = value_in(alice.ask("presence.watch"))["users"]
    assert row["state"] == "online"
    assert told(alice)["state"] == "offline"
    alice.message(bob, 2, b"meanwhile")
    again = hurry.session(bob, "phone")
    again.receive_messages()
    assert [message_in(again.expect(Delivery)).body for _ in range(2)] == [b"before", b"meanwhile"]


# Blocks.


def test_a_block_refuses_messages_and_calls_and_drops_signals(stage: Stage) -> None:
    alice, bob = stage.session(), stage.session()
    bob.receive_messages()
    value_in(bob.ask("blocks.add", {"user": alice.user}))
    assert value_in(bob.ask("blocks.list")) == {"users": [alice.user]}
    alice.message(bob.user, 1, b"hello")
    refusal = alice.expect(Error)
    assert (refusal.id, refusal.code) == (1, ErrorCode.BLOCKED) and refusal.sentence
    fault = alice.ask("work", to=bob.user)
    assert isinstance(fault, Fault) and fault.code == ErrorCode.BLOCKED
    alice.signal(bob.user, b"hello", packet_id=7)
    assert alice.expect(Error).code == ErrorCode.BLOCKED
    alice.signal(bob.address, b"hello")
    alice.alive()
    bob.alive()
    value_in(bob.ask("blocks.remove", {"user": alice.user}))
    alice.store(bob.user, 2, b"hello again")
    assert message_in(bob.expect(Delivery)).body == b"hello again"


def test_a_block_does_not_keep_anybody_out_of_a_room(stage: Stage) -> None:
    alice, bob = stage.session(), stage.session()
    room = f"#{alice.user}"
    value_in(bob.ask("blocks.add", {"user": alice.user}))
    value_in(_behind_events(alice, "rooms.create", room=room))
    value_in(_behind_events(bob, "rooms.join", room=room))
    bob.receive_messages()
    assert told(alice)["what"] == "joined"
    alice.store(room, 1, b"hello all")
    assert message_in(bob.expect(Delivery)).body == b"hello all"


def _behind_events(peer: Peer, method: str, **arguments: Any) -> Any:
    peer.call_relay(method, arguments)
    while isinstance(packet := peer.packet(), Signal):
        pass
    return packet
