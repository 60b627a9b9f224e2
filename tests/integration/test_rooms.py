"""Rooms over real bytes: who sees, hears and may do what."""

from typing import Any

import pytest

from relay.protocol.codes import ErrorCode
from relay.protocol.packets import Delivery, Error, Fault, Result, Signal, Stored
from relay.protocol.payloads import decode_body
from tests.integration.peer import Peer, message_in, value_in
from tests.integration.stage import Stage


def ask(peer: Peer, method: str, **arguments: Any) -> Result | Fault:
    """A call whose answer may come behind events."""
    peer.call_relay(method, arguments)
    while not isinstance(packet := peer.packet(), Result | Fault):
        assert isinstance(packet, Signal) and packet.sender == "relay", packet
    return packet


def done(peer: Peer, method: str, **arguments: Any) -> Any:
    return value_in(ask(peer, method, **arguments))


def refused(peer: Peer, method: str, **arguments: Any) -> int:
    fault = ask(peer, method, **arguments)
    assert isinstance(fault, Fault), fault
    return fault.code


def event(peer: Peer) -> dict[str, Any]:
    """The next packet, which must be an event."""
    signal = peer.expect(Signal)
    assert signal.sender == "relay"
    told: Any = decode_body(signal.content_type, signal.body)
    return dict(told)


@pytest.fixture
def name(stage: Stage) -> str:
    """A room's name of the test's own."""
    return f"#room-of-{stage.user()}"


@pytest.fixture
def alice(stage: Stage) -> Peer:
    return stage.session()


@pytest.fixture
def bob(stage: Stage) -> Peer:
    return stage.session()


# What somebody asks who knows a name; every one of them must tell nothing.
QUESTIONS: list[tuple[str, dict[str, Any]]] = [
    ("rooms.join", {}),
    ("rooms.leave", {}),
    ("rooms.invite", {"user": "user0"}),
    ("rooms.remove", {"user": "user0"}),
    ("rooms.ban", {"user": "user0"}),
    ("rooms.unban", {"user": "user0"}),
    ("rooms.set_role", {"user": "user0", "role": "member"}),
    ("rooms.set", {"title": "mine"}),
    ("rooms.members", {}),
]


def probe(peer: Peer, room: str, message_id: int) -> list[Any]:
    """Everything the relay says about a room to somebody outside, with the room's name taken out of it."""
    answers: list[Any] = []
    for method, arguments in QUESTIONS:
        answers.append(peer.ask(method, {"room": room} | arguments))
    for method in ("history.read", "receipts.of"):
        answers.append(peer.ask(method, {"conversation": room}))
    peer.message(room, message_id, b"hello")
    answers.append(peer.expect(Error))
    peer.signal(room, b"hello", packet_id=message_id)
    answers.append(peer.expect(Error))
    return [(type(answer), answer.code, answer.sentence.replace(room, "#")) for answer in answers]


@pytest.mark.parametrize("state", ["outside", "banned", "removed", "uninvited"])
def test_a_private_room_looks_like_none_to_everybody_outside(
    stage: Stage, alice: Peer, bob: Peer, name: str, state: str
) -> None:
    done(alice, "rooms.create", room=name, title="secret", public=False)
    alice.store(name, 1, b"plans")
    if state in ("banned", "removed"):
        done(alice, "rooms.invite", room=name, user=bob.user)
        done(bob, "rooms.join", room=name)
        done(alice, f"rooms.{'ban' if state == 'banned' else 'remove'}", room=name, user=bob.user)
        assert event(bob)["what"] == state
    elif state == "uninvited":
        done(alice, "rooms.invite", room=name, user=bob.user)
        done(alice, "rooms.remove", room=name, user=bob.user)
        assert [event(bob)["what"] for _ in range(2)] == ["invited", "removed"]
    nowhere = name[:-1] + ("x" if name[-1] != "x" else "y")
    there, not_there = probe(bob, name, 1), probe(bob, nowhere, 2)
    assert there == not_there
    assert {code for _, code, _ in there} == {ErrorCode.NO_SUCH_ROOM}
    listed = done(bob, "rooms.list", all=True, after=name[:-1], limit=1)["rooms"]
    assert name not in [room["room"] for room in listed]


def test_who_is_banned_from_a_public_room_finds_none(stage: Stage, alice: Peer, bob: Peer, name: str) -> None:
    done(alice, "rooms.create", room=name)
    done(bob, "rooms.join", room=name)
    done(alice, "rooms.ban", room=name, user=bob.user)
    assert event(bob)["what"] == "banned"
    assert probe(bob, name, 1) == probe(bob, name[:-1] + "x", 2)
    done(alice, "rooms.unban", room=name, user=bob.user)
    assert event(bob)["what"] == "unbanned"
    assert done(bob, "rooms.join", room=name)["room"]["members"] == 2


def test_roles_decide(stage: Stage, alice: Peer, bob: Peer, name: str) -> None:
    carol = stage.session()
    done(alice, "rooms.create", room=name)
    for peer in (bob, carol):
        done(peer, "rooms.join", room=name)
    assert refused(bob, "rooms.remove", room=name, user=carol.user) == ErrorCode.NOT_ALLOWED
    assert refused(bob, "rooms.set_role", room=name, user=bob.user, role="owner") == ErrorCode.NOT_ALLOWED
    done(alice, "rooms.set_role", room=name, user=bob.user, role="moderator")
    assert refused(bob, "rooms.remove", room=name, user=alice.user) == ErrorCode.NOT_ALLOWED
    assert refused(bob, "rooms.set", room=name, public=False) == ErrorCode.NOT_ALLOWED
    assert done(bob, "rooms.set", room=name, title="bob was here")["room"]["role"] == "moderator"
    done(bob, "rooms.remove", room=name, user=carol.user)
    assert refused(alice, "rooms.leave", room=name) == ErrorCode.NOT_ALLOWED
    done(alice, "rooms.set_role", room=name, user=bob.user, role="owner")
    done(alice, "rooms.leave", room=name)
    members = done(bob, "rooms.members", room=name)["members"]
    assert members == [{"user": bob.user, "role": "owner"}]


def test_a_message_reaches_every_device_of_every_member_and_nobody_else(
    stage: Stage, alice: Peer, bob: Peer, name: str
) -> None:
    phone, tablet, eve = stage.session(alice.user, "phone"), stage.session(bob.user, "tablet"), stage.session()
    for peer in (alice, phone, bob, tablet, eve):
        peer.receive_messages()
    done(alice, "rooms.create", room=name)
    done(bob, "rooms.join", room=name)
    ask(phone, "relay.info"), ask(tablet, "relay.info"), ask(alice, "relay.info")  # behind the events
    alice.message(name, 1, b"hello")
    stored = alice.expect(Stored)
    assert (stored.conversation, stored.offset) == (name, 1)
    for peer in (phone, bob, tablet):
        delivery = peer.expect(Delivery)
        assert (delivery.conversation, delivery.offset, delivery.time_ms) == (name, 1, stored.time_ms)
        assert message_in(delivery).sender == alice.address
    bob.signal(name, b"typing")
    for peer in (alice, phone, tablet):
        assert peer.expect(Signal).body == b"typing"
    for peer in (alice, phone, bob, tablet, eve):
        peer.alive()


def test_who_was_removed_hears_nothing_more(stage: Stage, alice: Peer, bob: Peer, name: str) -> None:
    bob.receive_messages()
    done(alice, "rooms.create", room=name)
    done(bob, "rooms.join", room=name)
    ask(alice, "relay.info")
    alice.store(name, 1, b"welcome")
    assert message_in(bob.expect(Delivery)).body == b"welcome"
    done(alice, "rooms.remove", room=name, user=bob.user)
    assert event(bob)["what"] == "removed"
    alice.store(name, 2, b"he is gone")
    alice.signal(name, b"gone")
    bob.alive()
    assert refused(bob, "history.read", conversation=name) == ErrorCode.NO_SUCH_ROOM


def test_the_same_id_with_other_content_or_to_another_room_is_refused(stage: Stage, alice: Peer, name: str) -> None:
    other = name + "2"
    done(alice, "rooms.create", room=name)
    done(alice, "rooms.create", room=other)
    first = alice.store(name, 1, b"hello")
    assert alice.store(name, 1, b"hello") == first
    for room, body in ((name, b"hallo"), (other, b"hello")):
        alice.message(room, 1, body)
        assert alice.expect(Error).code == ErrorCode.ID_REUSED
    assert [m["offset"] for m in done(alice, "history.read", conversation=name)["messages"]] == [1]
    assert done(alice, "history.read", conversation=other)["messages"] == []


def test_history_reads_both_ways_in_pages(stage: Stage, alice: Peer, bob: Peer, name: str) -> None:
    done(alice, "rooms.create", room=name)
    for number in range(1, 31):
        alice.store(name, number, b"%d" % number)
    done(bob, "rooms.join", room=name)

    def offsets(**place: int) -> list[int]:
        return [row["offset"] for row in done(bob, "history.read", conversation=name, **place)["messages"]]

    assert offsets(limit=5) == [26, 27, 28, 29, 30]
    assert offsets(before=26, limit=5) == [21, 22, 23, 24, 25]
    assert offsets(after=28) == [29, 30] and offsets(after=0, limit=3) == [1, 2, 3]
    assert offsets(before=1) == offsets(after=30) == []
