"""Presence, blocks, devices."""

from typing import Any

import pytest

from relay.protocol.codes import CloseCode, ErrorCode
from tests.router.recording import RecordingSubscriber
from tests.router.test_presence import events
from tests.router.town import Town


class Street:
    """Alice and Bob have a conversation, Alice and Carol a room; Dave knows nobody."""

    def __init__(self) -> None:
        self.town = Town("alice", "bob", "carol", "dave")
        self.alice = self.town.join("alice")
        self.town.send(self.alice, "bob", 1)
        self.ask(self.alice, "rooms.create", room="#ops")
        carol = self.town.join("carol")
        self.ask(carol, "rooms.join", room="#ops")
        carol.end(CloseCode.NORMAL, "bye")
        self.alice.outlet.signalled.clear()

    def ask(self, session: RecordingSubscriber, method: str, **arguments: Any) -> Any:
        return self.town.ask(session, method, arguments)


def test_watching_tells_how_everybody_is_now_and_later() -> None:
    at = Street()
    at.town.join("bob")
    found = at.ask(at.alice, "presence.watch")["users"]
    assert [(user["user"], user["state"]) for user in found] == [("bob", "online"), ("carol", "offline")]
    at.town.join("carol")
    at.town.router.presence.tick()
    assert [(event["user"], event["state"]) for event in events(at.alice)] == [("carol", "online")]


def test_only_those_one_shares_a_conversation_with_can_be_watched() -> None:
    at = Street()
    found = at.ask(at.alice, "presence.watch", users=["carol", "dave", "nobody", "carol"])["users"]
    assert [user["user"] for user in found] == ["carol"]
    assert at.ask(at.alice, "presence.watch", users=[])["users"] == []
    at.town.join("bob")
    at.town.router.presence.tick()
    assert events(at.alice) == []


def test_a_session_that_left_while_the_store_was_asked_watches_nobody() -> None:
    at = Street()
    at.town.call(at.alice, "presence.watch", {})
    at.alice.end(CloseCode.NORMAL, "bye")
    at.town.log.run()
    assert repr(at.town.router.presence) == "<Presence: 0 users watched by 0 sessions>"


def test_away_and_back() -> None:
    at = Street()
    bob = at.town.join("bob")
    at.ask(bob, "presence.watch", users=["alice"])
    for state in ("away", "online"):
        assert at.ask(at.alice, "presence.set", state=state) == {}
        at.town.router.presence.tick()
        assert [event["state"] for event in events(bob)] == [state]


@pytest.mark.parametrize("state", ["offline", "", "AWAY"])
def test_other_states_are_refused(state: str) -> None:
    at = Street()
    assert at.ask(at.alice, "presence.set", state=state) == ErrorCode.BAD_ARGUMENTS


def test_blocks_hold_at_once_and_are_kept() -> None:
    at = Street()
    bob = at.town.join("bob")
    assert at.ask(at.alice, "blocks.add", user="Bob") == {}
    assert at.town.router.blocks.blocks("alice", "bob")
    assert bob.routes_forgotten
    assert at.ask(at.alice, "blocks.list") == {"users": ["bob"]}
    at.town.send(bob, "alice", 1)
    at.town.log.run()
    (error,) = bob.outlet.take()
    assert error[:3] == (17, 1, ErrorCode.BLOCKED)
    assert at.ask(at.alice, "blocks.remove", user="bob") == {}
    assert not at.town.router.blocks.blocks("alice", "bob")
    assert at.ask(at.alice, "blocks.list") == {"users": []}
    at.town.send(bob, "alice", 2)
    at.town.log.run()
    assert len(bob.outlet.take()) == 1


def test_who_does_not_exist_cannot_be_blocked() -> None:
    at = Street()
    assert at.ask(at.alice, "blocks.add", user="nobody") == ErrorCode.NO_SUCH_USER
    assert at.ask(at.alice, "blocks.remove", user="nobody") == {}


def test_nobody_blocks_themselves() -> None:
    at = Street()
    assert at.ask(at.alice, "blocks.add", user="alice") == ErrorCode.BAD_ARGUMENTS


def test_devices_are_listed_with_who_is_there() -> None:
    at = Street()
    for device in ("phone", "laptop"):
        session = at.town.join("bob", device)
        at.ask(session, "messages.receive")
    session.end(CloseCode.NORMAL, "bye")
    phone = at.town.router.directory.session("bob/phone")
    assert isinstance(phone, RecordingSubscriber)
    devices = at.ask(phone, "devices.list")["devices"]
    assert {device["device"]: device["online"] for device in devices} == {"phone": True, "laptop": False}
    assert all(device["created_ms"] and device["seen_ms"] for device in devices)


def test_a_forgotten_device_is_closed_and_gone() -> None:
    at = Street()
    phone, laptop = at.town.join("bob"), at.town.join("bob", "laptop")
    for session in (phone, laptop):
        at.ask(session, "messages.receive")
    assert at.ask(phone, "devices.forget", device="laptop") == {}
    assert [code for code, *_ in laptop.ended] == [CloseCode.ACCOUNT_ENDED]
    assert [device["device"] for device in at.ask(phone, "devices.list")["devices"]] == ["phone"]
    assert at.ask(phone, "devices.forget", device="laptop") == ErrorCode.NO_SUCH_SESSION


def test_a_session_may_forget_its_own_device_and_reads_the_answer() -> None:
    at = Street()
    phone = at.town.join("bob")
    at.ask(phone, "messages.receive")
    assert at.ask(phone, "devices.forget", device="phone") == {}
    assert phone.ended


def test_the_device_of_somebody_else_is_not_touched() -> None:
    at = Street()
    bob = at.town.join("bob")
    at.ask(bob, "messages.receive")
    assert at.ask(at.alice, "devices.forget", device="bob/phone") == ErrorCode.NO_SUCH_SESSION
    assert not bob.ended
