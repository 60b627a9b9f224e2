"""What a program sees of a message."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from relay_client.errors import BadValue
from relay_client.received import Call, Online, ReceivedMessage, ReceivedSignal, online_from, utc_time

from relay.protocol import packets
from relay.protocol.payloads import MSGPACK, TEXT, encode_body


def message(content_type: str, body: bytes, to: str = "alice") -> ReceivedMessage:
    packet = packets.Message("bob/phone", to, 7, content_type, body)
    return ReceivedMessage("alice@bob", 3, 1_700_000_000_123, packet)


def test_all_there_is_to_know() -> None:
    received = message(TEXT, b"hello")
    assert (received.sender, received.sender_device, received.sender_session) == ("bob", "phone", "bob/phone")
    assert (received.conversation, received.offset, received.id, received.to) == ("alice@bob", 3, 7, "alice")
    assert received.time.isoformat() == "2023-11-14T22:13:20.123000+00:00"
    assert repr(received) == "<Message alice@bob 3 from bob/phone: 'hello'>"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("hello", "hello"),
        (b"bytes", "bytes"),
        (b"\xff", "�"),
        ({"a": [1, None, "ä"]}, '{"a": [1, null, "ä"]}'),
        ({"a": b"\xff"}, '{"a": "b\'\\\\xff\'"}'),
        (5, "5"),
    ],
)
def test_the_value_and_the_text_of_a_body(value: Any, text: str) -> None:
    received = message(*encode_body(value))
    assert received.value == value and received.text == text


@pytest.mark.parametrize(("content_type", "body"), [(TEXT, b"\xff"), (MSGPACK, b"\xc1"), (MSGPACK, b"")])
def test_a_body_that_is_not_what_it_says_can_be_shown_but_not_read(content_type: str, body: bytes) -> None:
    received = message(content_type, body)
    assert isinstance(received.text, str)
    with pytest.raises(BadValue, match="bob/phone"):
        _ = received.value


@settings(deadline=None)
@given(st.sampled_from([TEXT, MSGPACK, "", "image/png"]), st.binary(max_size=50))
def test_any_body_can_be_shown(content_type: str, body: bytes) -> None:
    received = message(content_type, body)
    assert isinstance(received.text, str) and isinstance(repr(received), str)


def test_an_answer_goes_where_the_message_was_sent() -> None:
    assert message(TEXT, b"").reply_to == "bob" and message(TEXT, b"", to="#ops").reply_to == "#ops"


def test_long_texts_are_short_in_a_repr() -> None:
    signal = ReceivedSignal(packets.Signal("bob/phone", "alice", None, TEXT, b"x" * 1000))
    assert len(repr(signal)) < 120


def test_a_call_shows_itself() -> None:
    call = Call(packets.Call("bob/phone", "alice", 9, "add", 5000, "", b""), 17.0, 1)
    assert (call.id, call.method, call.sender, call.deadline_at) == (9, "add", "bob", 17.0)
    assert repr(call) == "<Call of add from bob/phone>"


def test_who_is_online() -> None:
    answer = {"users": [{"user": "a", "sessions": ["x", "y"], "bot": True, "later": 1}, {"user": "b", "sessions": []}]}
    assert online_from(answer) == [Online("a", ("x", "y"), True), Online("b", (), False)]


@pytest.mark.parametrize("answer", [None, [], {}, {"users": 5}, {"users": [5]}, {"users": [{"user": "a"}]}])
def test_another_answer_is_a_bad_value(answer: Any) -> None:
    with pytest.raises(BadValue):
        online_from(answer)


def test_times_are_utc() -> None:
    assert utc_time(0).isoformat() == "1970-01-01T00:00:00+00:00"
