"""Receiving, announcing, who is there. tests/router/test_conversations.py has receiving and syncing in depth."""

import pytest

from relay.protocol.codes import ErrorCode
from relay.protocol.limits import METHOD_MAX_BYTES, VERSION_MAX
from relay.protocol.packets import Delivery
from relay.router.methods.basics import METHODS_PER_SESSION_MAX
from tests.router.town import Town


def test_what_relay_this_is() -> None:
    town = Town("alice")
    assert town.ask(town.join("alice"), "relay.info") == {
        "agent": "relay/test",
        "version": VERSION_MAX,
        "time_ms": town.time_ms,
    }


def test_who_is_there_is_sorted_and_says_what_is_a_bot() -> None:
    town = Town()
    alice = town.join("alice", "phone")
    town.join("echo", "x", bot=True)
    town.join("alice", "laptop")
    assert town.ask(alice, "presence.list") == {
        "users": [
            {"user": "alice", "sessions": ["laptop", "phone"], "bot": False},
            {"user": "echo", "sessions": ["x"], "bot": True},
        ]
    }


def test_announced_methods_take_the_place_of_earlier_ones() -> None:
    town = Town("alice")
    alice = town.join("alice")
    for names in (["add", "subtract"], ["add", "add"], []):
        assert town.ask(alice, "methods.announce", {"methods": names}) == {}
        assert alice.methods == set(names)


@pytest.mark.parametrize(
    "methods", [None, "add", [""], ["x" * (METHOD_MAX_BYTES + 1)], ["é" * 33], ["x"] * (METHODS_PER_SESSION_MAX + 1)]
)
def test_methods_that_cannot_be_are_refused_and_the_earlier_ones_stay(methods: object) -> None:
    town = Town("alice")
    alice = town.join("alice")
    town.ask(alice, "methods.announce", {"methods": ["add"]})
    assert town.ask(alice, "methods.announce", {"methods": methods}) == ErrorCode.BAD_ARGUMENTS  # type: ignore[dict-item]
    assert alice.methods == {"add"}


def test_as_many_and_as_long_as_allowed() -> None:
    town = Town("alice")
    alice = town.join("alice")
    names = [f"{number:0{METHOD_MAX_BYTES}}" for number in range(METHODS_PER_SESSION_MAX)]
    assert town.ask(alice, "methods.announce", {"methods": names}) == {}


@pytest.mark.parametrize(("start", "offsets"), [(None, []), (0, []), (2, [4, 5]), (100, [1, 2, 3, 4, 5])])
def test_a_further_device_begins_where_it_says(start: int | None, offsets: list[int]) -> None:
    town = Town("alice", "bob")
    bob = town.join("bob", "first", receiving=True)
    alice = town.join("alice")
    for id in range(1, 6):
        town.send(alice, "bob", id)
    town.log.run()
    assert len(bob.outlet.take()) == 5
    second = town.join("bob", "second")
    town.call(second, "messages.receive", {"start": start})
    town.log.run()
    assert [packet.offset for packet in second.outlet.take() if isinstance(packet, Delivery)] == offsets


@pytest.mark.parametrize("start", [-1, "1", 1.0, True])
def test_a_start_that_is_no_number_is_refused(start: object) -> None:
    town = Town("alice")
    assert town.ask(town.join("alice"), "messages.receive", {"start": start}) == ErrorCode.BAD_ARGUMENTS  # type: ignore[dict-item]
