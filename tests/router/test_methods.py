"""The table of calls that the relay answers, and that each of them answers wrong arguments."""

import msgpack
import pytest

from relay.protocol.codes import ErrorCode
from relay.protocol.limits import CALL_TIMEOUT_MAX_MS, METHOD_MAX_BYTES
from relay.protocol.packets import Call, Fault, Result
from relay.router.methods import METHODS
from tests.router.town import Town

# Methods that take no argument of a fixed type, so that nothing can be wrong with it.
WITHOUT_ARGUMENTS = {"messages.sync", "presence.list", "relay.info", "blocks.list", "devices.list", "files.usage"}


@pytest.mark.parametrize("method", sorted(METHODS))
def test_a_method_is_a_noun_and_a_verb_and_says_what_it_does(method: str) -> None:
    noun, _, verb = method.partition(".")
    assert noun.isalpha()
    assert verb.replace("_", "").isalpha()
    assert len(method.encode()) <= METHOD_MAX_BYTES
    assert METHODS[method].__doc__


@pytest.mark.parametrize("method", ["", "no.such", "relay.infos", "x" * METHOD_MAX_BYTES])
def test_an_unknown_method_is_said(method: str) -> None:
    town = Town("alice")
    assert town.ask(town.join("alice"), method) == ErrorCode.NO_SUCH_METHOD


@pytest.mark.parametrize("method", sorted(METHODS))
@pytest.mark.parametrize("body", [b"\xc1", b"\x91\x01", b"\x01", b"\xa1x", b"\x81", b"\x81\x01\x02", b"\x80\x80"])
def test_bodies_that_are_no_named_arguments_are_refused(method: str, body: bytes) -> None:
    town = Town("alice")
    assert town.ask(town.join("alice"), method, body) == ErrorCode.BAD_ARGUMENTS


@pytest.mark.parametrize("method", sorted(set(METHODS) - WITHOUT_ARGUMENTS))
@pytest.mark.parametrize("value", [1.5, -1, [1], {"x": 1}, b"bytes", "\x00", "#" * 300])
def test_arguments_of_the_wrong_kind_are_refused_or_not_looked_at(method: str, value: object) -> None:
    names = ("start", "methods", "users", "user", "room", "state", "device", "conversation", "watch", "after", "title")
    town = Town("alice")
    alice = town.join("alice")
    answer = town.ask(alice, method, msgpack.packb(dict.fromkeys((*names, "before", "limit", "role", "public"), value)))
    assert answer == ErrorCode.BAD_ARGUMENTS or (method == "devices.forget" and answer == ErrorCode.NO_SUCH_SESSION)


@pytest.mark.parametrize("method", sorted(WITHOUT_ARGUMENTS))
@pytest.mark.parametrize("body", [b"", b"\x80", b"\x90", b"\x81\xa1x\x01"])
def test_no_arguments_may_be_said_in_any_way(method: str, body: bytes) -> None:
    town = Town("alice")
    assert isinstance(town.ask(town.join("alice"), method, body), dict)


@pytest.mark.parametrize("timeout_ms", [0, CALL_TIMEOUT_MAX_MS + 1, 2**53 - 1])
def test_a_timeout_out_of_range_is_refused_by_the_relay_too(timeout_ms: int) -> None:
    town = Town("alice")
    alice = town.join("alice")
    town.router.call(alice, Call("alice/phone", "relay", 1, "relay.info", timeout_ms, "", b""), b"")
    (fault,) = alice.outlet.take()
    assert isinstance(fault, Fault)
    assert (fault.id, fault.code) == (1, ErrorCode.BAD_ARGUMENTS)
    assert str(CALL_TIMEOUT_MAX_MS) in fault.sentence


def test_calls_to_the_relay_and_to_others_are_capped_together() -> None:
    town = Town("alice", "bob", calls_in_flight_max=3)
    alice, bob = town.join("alice"), town.join("bob")
    town.call(alice, "blocks.list", id=1)
    town.call(alice, "blocks.list", id=2)
    question = Call("alice/phone", "bob/phone", 3, "m", 1000, "", b"")
    town.router.call(alice, question, b"frame")
    town.router.call(alice, question._replace(id=4), b"frame")
    town.call(alice, "relay.info", id=5)
    assert [(p.id, p.code) for p in alice.outlet.take() if isinstance(p, Fault)] == [
        (4, ErrorCode.RATE_LIMITED),
        (5, ErrorCode.RATE_LIMITED),
    ]
    assert bob.outlet.pushed == [b"frame"]
    town.call(bob, "relay.info", id=1)
    bob.outlet.pushed.remove(b"frame")
    assert [type(p) for p in bob.outlet.take()] == [Result]
    town.log.run()
    assert {p.id for p in alice.outlet.take() if isinstance(p, Result)} == {1, 2}
    assert alice.asking == 0
    town.call(alice, "relay.info", id=6)
    assert [type(p) for p in alice.outlet.take()] == [Result]


@pytest.mark.parametrize("method", [*sorted(METHODS), "no.such"])
def test_a_call_that_is_answered_is_not_in_flight_any_more(method: str) -> None:
    town = Town("alice")
    alice = town.join("alice")
    for body in (b"", b"\xc1"):
        town.ask(alice, method, body)
        assert alice.asking == 0
