"""The table of calls that the relay answers, and that each of them answers wrong arguments."""

import msgpack
import pytest

from relay.protocol.codes import ErrorCode
from relay.protocol.limits import METHOD_MAX_BYTES
from relay.router.methods import METHODS
from tests.router.town import Town

# Methods that take no argument of a fixed type, so that nothing can be wrong with it.
WITHOUT_ARGUMENTS = {"messages.sync", "presence.list", "relay.info", "blocks.list", "devices.list"}


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
