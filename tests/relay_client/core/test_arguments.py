"""Arguments of calls, both ways."""

from typing import Any

import pytest
from relay_client.core.arguments import (
    checked_method,
    decode_arguments,
    encode_arguments,
    encode_value,
    message_address,
)
from relay_client.errors import BadAddress, BadValue

from relay.protocol.payloads import BYTES, MSGPACK, TEXT, encode_body


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [([], {}), ([1, "two", b"three"], {}), ([[1, 2]], {}), ([{"a": 1}], {}), ([], {"a": 1, "b": [2]}), ([None], {})],
)
def test_arguments_arrive_as_they_were_given(args: list[Any], kwargs: dict[str, Any]) -> None:
    assert decode_arguments(*encode_arguments(args, kwargs)) == (args, kwargs)


def test_no_arguments_are_no_body() -> None:
    assert encode_arguments([], {}) == (BYTES, b"")
    assert decode_arguments(MSGPACK, b"") == ([], {})


def test_arguments_are_of_one_kind() -> None:
    with pytest.raises(BadValue, match="not both"):
        encode_arguments([1], {"b": 2})


@pytest.mark.parametrize(
    ("content_type", "body", "value"),
    [(TEXT, b"hello", "hello"), ("image/png", b"\x89", b"\x89"), (*encode_body(5), 5), (TEXT, b"", "")],
)
def test_anything_else_is_the_one_argument(content_type: str, body: bytes, value: Any) -> None:
    assert decode_arguments(content_type, body) == ([value], {})


@pytest.mark.parametrize(("content_type", "body"), [(MSGPACK, b"\xc1"), (MSGPACK, b"\x81\x01\x02"), (TEXT, b"\xff")])
def test_what_cannot_be_read_is_a_bad_value(content_type: str, body: bytes) -> None:
    with pytest.raises(BadValue):
        decode_arguments(content_type, body)


@pytest.mark.parametrize("value", [b"\x89PNG", "text"])
def test_a_program_may_say_what_its_bytes_are(value: Any) -> None:
    body = value if isinstance(value, bytes) else value.encode()
    assert encode_value(value, "image/png") == ("image/png", body)


@pytest.mark.parametrize(("value", "content_type"), [({"a": 1}, "image/png"), (5, ""), (b"", "x" * 129)])
def test_a_content_type_goes_with_bytes_and_has_a_bound(value: Any, content_type: str) -> None:
    with pytest.raises(BadValue, match="content type"):
        encode_value(value, content_type)


@pytest.mark.parametrize("method", ["", "x" * 65, "ä" * 33])
def test_a_method_has_a_name_of_1_to_64_bytes(method: str) -> None:
    with pytest.raises(BadValue, match="64"):
        checked_method(method)


@pytest.mark.parametrize(("text", "address"), [("bob", "bob"), ("BOB", "bob"), ("#Ops", "#ops")])
def test_a_message_goes_to_a_user_or_a_room(text: str, address: str) -> None:
    assert message_address(text) == address


def test_a_message_to_a_session_is_told_what_to_do_instead() -> None:
    with pytest.raises(BadAddress, match="'bob'"):
        message_address("bob/phone")
