"""What is watched and followed, over reconnects, refusals and dropped signals."""

from typing import Any

import pytest
from relay_client import errors
from relay_client.answers import Presence
from relay_client.core.standing import RECEIPTS_OF, WATCH_PRESENCE, WATCH_RECEIPTS
from relay_client.events import Receipt
from relay_client.fate import FateState
from relay_client.received import Stored, utc_time

from relay.protocol.packets import Ack, Call, Error, Packet, Signal
from relay.protocol.payloads import encode_body
from tests.relay_client.simulated import Session
from tests.relay_client.wire import Wire, outcome

STORED = Stored(1, "alice@bob", 5, utc_time(0))


@pytest.fixture
def cursors() -> list[dict[str, Any]]:
    """What the relay knows of devices; a test changes it."""
    return [{"user": "bob", "device": "phone", "delivered": 4, "read": 0}]


@pytest.fixture
def wire(cursors: list[dict[str, Any]]) -> Wire:
    wire = Wire().open()
    wire.relay.answers |= {
        WATCH_RECEIPTS: lambda arguments: {},
        RECEIPTS_OF: lambda arguments: {"cursors": [dict(row) for row in cursors]},
    }
    return wire


def tell(wire: Wire, event: str, **fields: Any) -> None:
    assert wire.session is not None
    wire.session.push(Signal("relay", "alice", None, *encode_body({"event": event, **fields})))
    wire.run()


def asked(wire: Wire, method: str) -> int:
    return sum(call.method == method for call in wire.relay.sent(Call))


def states(wire: Wire) -> tuple[FateState, tuple[str, ...]]:
    fate = wire.core.fate(STORED)
    return fate.state, fate.delivered_to


def test_following_begins_with_how_it_stands_and_goes_on_with_what_is_told(wire: Wire) -> None:
    following = wire.core.follow("alice@bob", wire.now)
    assert wire.core.follow("alice@bob", wire.now) is following and not following.done
    wire.run()
    assert outcome(following) is None and states(wire) == (FateState.STORED, ())
    tell(wire, "receipt", conversation="alice@bob", user="bob", delivered=5, read=None, devices={"phone": 5})
    assert states(wire) == (FateState.DELIVERED, ("bob/phone",))
    assert wire.core.follow("alice@bob", wire.now).done
    assert (asked(wire, WATCH_RECEIPTS), asked(wire, RECEIPTS_OF)) == (1, 1)


def test_a_second_conversation_is_asked_for_alone(wire: Wire) -> None:
    wire.core.follow("alice@bob", wire.now)
    wire.run()
    following = wire.core.follow("#ops", wire.now)
    wire.run()
    assert following.done and (asked(wire, WATCH_RECEIPTS), asked(wire, RECEIPTS_OF)) == (1, 2)


def test_what_was_missed_during_a_cut_is_told_afterwards(wire: Wire, cursors: list[dict[str, Any]]) -> None:
    wire.core.follow("alice@bob", wire.now)
    wire.run()
    wire.events.clear()
    wire.cut()
    cursors[0]["delivered"] = 6
    wire.reconnect()
    assert wire.seen(Receipt) == [Receipt("alice@bob", "bob", 6, None, {"phone": 6})]
    assert states(wire) == (FateState.DELIVERED, ("bob/phone",))


def test_after_a_restore_nothing_counts_that_was_told_before(wire: Wire, cursors: list[dict[str, Any]]) -> None:
    wire.core.follow("alice@bob", wire.now)
    wire.run()
    tell(wire, "receipt", conversation="alice@bob", user="bob", delivered=9, read=9, devices={"phone": 9})
    wire.core.mark_read("alice@bob", 9, wire.now)
    wire.cut()
    wire.relay.generation = "restored"
    wire.reconnect()
    assert states(wire) == (FateState.STORED, ())
    wire.core.mark_read("alice@bob", 2, wire.now)
    wire.wait(1)
    assert [ack.read for ack in wire.relay.sent(Ack)] == [2]


def test_following_begun_without_a_connection_begins_with_the_next_one(wire: Wire) -> None:
    wire.cut()
    following = wire.core.follow("alice@bob", wire.now)
    wire.reconnect()
    assert outcome(following) is None and (asked(wire, WATCH_RECEIPTS), asked(wire, RECEIPTS_OF)) == (1, 1)


def test_a_cut_while_it_is_asked_how_it_stands_only_delays_it(wire: Wire) -> None:
    following = wire.core.follow("alice@bob", wire.now)
    wire.relay.hook = lambda session, packet: isinstance(packet, Call) and packet.method == RECEIPTS_OF
    wire.run()
    wire.relay.hook = lambda session, packet: False
    wire.cut()
    assert not following.done
    wire.reconnect()
    assert outcome(following) is None


def test_after_dropped_signals_it_is_asked_how_it_stands(wire: Wire, cursors: list[dict[str, Any]]) -> None:
    wire.core.follow("alice@bob", wire.now)
    wire.run()
    cursors[0]["delivered"] = 5
    tell(wire, "dropped", signals=3)
    assert states(wire) == (FateState.DELIVERED, ("bob/phone",))


@pytest.mark.parametrize("method", [WATCH_RECEIPTS, RECEIPTS_OF])
def test_a_refusal_is_told_and_following_may_be_tried_again(wire: Wire, method: str) -> None:
    def refuse(session: Session, packet: Packet) -> bool:
        if not isinstance(packet, Call) or packet.method != method:
            return False
        session.push(Error(24, packet.id, 204, "not you"))
        return True

    wire.relay.hook = refuse
    following = wire.core.follow("alice@bob", wire.now)
    wire.run()
    assert isinstance(outcome(following), errors.CallFailed)
    wire.relay.hook = lambda session, packet: False
    following = wire.core.follow("alice@bob", wire.now)
    wire.run()
    assert outcome(following) is None


def test_following_ends_with_the_client(wire: Wire) -> None:
    following = wire.core.follow("alice@bob", wire.now)
    wire.core.close()
    assert isinstance(outcome(following), errors.ClientClosed)


def test_presence_that_changed_during_a_cut_is_told(wire: Wire) -> None:
    people = {"bob": "online", "carol": "offline"}
    wire.relay.answers[WATCH_PRESENCE] = lambda arguments: {
        "users": [{"user": user, "state": state, "seen_ms": 0} for user, state in people.items()]
    }
    wire.core.keep(WATCH_PRESENCE, {}, wire.now)
    wire.run()
    assert wire.seen(Presence) == []
    tell(wire, "presence", user="carol", state="online", seen_ms=0)
    wire.cut()
    people["bob"] = "away"
    people["carol"] = "online"
    wire.reconnect()
    assert wire.seen(Presence) == [Presence("carol", "online", None), Presence("bob", "away", None)]


def test_an_answer_of_another_form_disturbs_nothing(wire: Wire) -> None:
    wire.relay.answers[RECEIPTS_OF] = lambda arguments: {"cursors": [5]}
    following = wire.core.follow("alice@bob", wire.now)
    wire.run()
    assert outcome(following) is None and states(wire) == (FateState.STORED, ())
