"""Names and addresses: one spelling each, nothing that could be taken for structure, cheap to refuse."""

import unicodedata

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scramp.utils import saslprep

from relay.protocol.addresses import (
    Address,
    AddressError,
    conversation_for,
    conversation_members,
    is_address,
    is_name,
    is_temporary,
    parse_address,
    prepare_name,
    session_address,
    user_of,
)
from relay.protocol.limits import NAME_MAX_BYTES
from relay.protocol.scram import ClientLogin

any_text = st.text(max_size=80)
# Letters of several scripts, one to four bytes long, and the signs that mean something elsewhere.
names = st.text("abz019._~-=,éßж山𠀀", min_size=1, max_size=12).filter(is_name)


@pytest.mark.parametrize(
    "name", ["alice", "a", "7", "build-bot.3", "~k3x9q", "a=b", "a,b", "straße", "山田", "josé", "x" * 64]
)
def test_canonical_names_stay_as_they_are(name: str) -> None:
    assert prepare_name(name) == name
    assert is_name(name)


@pytest.mark.parametrize(
    ("typed", "name"),
    [("Alice", "alice"), ("ALICE", "alice"), ("ｂｏｂ", "bob"), ("JOSE\u0301", "josé"), ("ÅSA", "åsa")],
)
def test_spellings_of_one_name_become_one(typed: str, name: str) -> None:
    assert prepare_name(typed) == name
    assert not is_name(typed)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "must not be empty"),
        ("a/b", "'/'"),
        ("#ops", "'#'"),
        ("a@b", "'@'"),
        ("a#b@c", "'#' or '@'"),
        ("a b", "is not a name: it must not contain a space$"),
        ("a\u0000", "is not a name: it must not contain a control character$"),
        ("a\u200d", "is not a name: it has a character that names must not have .zero width joiner.$"),
        ("\ud800", "is not a name"),
        ("x" * 65, "at most 64 bytes; this one has 65"),
        ("é" * 33, "at most 64 bytes; this one has 66"),
        ("x" * 100_000, "at most 64 bytes; this one has 100000 characters"),
        ("／", "is not a name"),
        ("\uab30", "could not log in"),
    ],
)
def test_what_is_no_name_is_refused_with_the_rule(text: str, reason: str) -> None:
    with pytest.raises(AddressError, match=reason):
        prepare_name(text)
    assert not is_name(text)


@given(any_text)
def test_a_prepared_name_is_canonical_and_harmless(text: str) -> None:
    try:
        name = prepare_name(text)
    except AddressError:
        return
    assert prepare_name(name) == name
    assert is_name(name)
    assert 0 < len(name.encode()) <= NAME_MAX_BYTES
    assert not set(name) & set("/#@ ")
    assert not any(unicodedata.category(c) in {"Cc", "Zs", "Zl", "Zp"} for c in name)


@given(any_text)
def test_whether_it_is_a_name_is_always_answered(text: str) -> None:
    assert is_name(text) in {True, False}


@pytest.mark.parametrize("text", ["alice", "alice/phone", "#ops", "relay", "~", "山/a"])
def test_what_is_an_address(text: str) -> None:
    assert is_address(text)


@pytest.mark.parametrize("text", ["", "#", "/", "a/", "/a", "a/b/c", "#ops/a", "Alice", "alice/Phone", "a@b", "#a b"])
def test_what_is_none(text: str) -> None:
    assert not is_address(text)


@given(names)
def test_every_name_can_log_in(name: str) -> None:
    assert saslprep(name) == name
    escaped = name.replace("=", "=3D").replace(",", "=2C")
    assert ClientLogin(name, "secret", nonce="n").first() == f"n,,n={escaped},r=n".encode()


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("alice", Address("alice")),
        ("Alice/Phone", Address("alice", "phone")),
        ("#Ops", Address(None, room="ops")),
        ("relay", Address("relay")),
    ],
)
def test_addresses_that_people_write(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert str(address) == text.lower()


@pytest.mark.parametrize("text", ["", "#", "/", "alice/", "/phone", "a/b/c", "#a/b", "##a", "a@b", "#a@b"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(AddressError):
        parse_address(text)


@given(names, names)
def test_session_addresses_come_apart_again(user: str, device: str) -> None:
    address = session_address(user, device)
    assert user_of(address) == user
    assert parse_address(address) == Address(user, device)


def test_user_of_a_user() -> None:
    assert user_of("alice") == "alice"


@pytest.mark.parametrize(("device", "temporary"), [("~abc", True), ("laptop", False), ("a~", False)])
def test_temporary_devices(device: str, temporary: bool) -> None:
    assert is_temporary(device) is temporary


@given(names, names)
def test_a_conversation_is_the_same_for_both_and_comes_apart_again(one: str, other: str) -> None:
    conversation = conversation_for(one, other)
    assert conversation == conversation_for(other, one)
    assert conversation_members(conversation) == tuple(sorted((one, other)))


@given(names, names, names, names)
def test_different_pairs_have_different_conversations(a: str, b: str, c: str, d: str) -> None:
    assume({a, b} != {c, d})
    assert conversation_for(a, b) != conversation_for(c, d)


def test_code_point_order_is_byte_order() -> None:
    assert conversation_for("é", "z") == "z@é"
    assert conversation_for("𠀀", "\ufa0e") == "\ufa0e@𠀀"


def test_conversations_of_rooms_and_of_oneself() -> None:
    assert conversation_for("alice", "#ops") == "#ops"
    assert conversation_members("#ops") is None
    assert conversation_for("alice", "alice") == "alice@alice"
