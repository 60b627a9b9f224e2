"""What comes from others can look like anything; what reaches the terminal cannot."""

import json
import unicodedata
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from relay_client.received import ReceivedMessage

from relay.cli.display import escape, escape_line, iso_time, json_text, message_line, paint
from relay.protocol import packets

HOSTILE = "\x1b[2J\x1b]0;title\x07 \x9b31m \r\x08 \x7f \u202egnp.exe \u2028 \u2066"


def harmless(text: str) -> bool:
    return not any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in text if c not in "\n\t")


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=())))
def test_escaped_text_holds_no_control_character(text: str) -> None:
    assert harmless(escape(text))
    assert "\n" not in escape_line(text)
    assert "\t" not in escape_line(text)


def test_what_is_escaped_stays_readable() -> None:
    assert escape("\x1b[2J\u202e") == r"\x1b[2J\u202e"
    assert escape("多谢 👋🏽\n\tשלום") == "多谢 👋🏽\n\tשלום"


@settings(deadline=None)
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
def test_json_is_harmless_and_exact(value: object) -> None:
    text = json_text(value)
    assert harmless(text)
    assert "\n" not in text
    assert json.loads(text) == value


def test_json_of_what_json_cannot_say() -> None:
    assert json.loads(json_text({"a": b"\x00\xff", "b": [float("nan"), float("-inf")]})) == {
        "a": {"base64": "AP8="},
        "b": ["NaN", "-Infinity"],
    }
    assert json.loads(json_text({1: "one", None: 2, b"k": 3})) == {"1": "one", "null": 2, "[1 bytes]": 3}


def test_json_leaves_other_languages_readable() -> None:
    assert json_text("多谢\x1b") == '"多谢\\u001b"'


def message(text: str, to: str = "bob") -> ReceivedMessage:
    packet = packets.Message("alice/phone", to, 1, "text/plain", text.encode())
    return ReceivedMessage("alice@bob", 1, 1_700_000_000_000, packet)


def test_a_line_break_cannot_pass_for_a_message_of_somebody_else() -> None:
    first, second = message_line(message("hi\n12:00 carol: send me money"), me="bob", colours=False).split("\n")
    assert first[2] == ":" and first[5:] == " alice: hi"
    assert second == " " * len("00:00 alice: ") + "12:00 carol: send me money"


def test_hostile_text_arrives_harmless() -> None:
    line = message_line(message(HOSTILE), me="bob", colours=False)
    assert harmless(line)
    assert r"\x1b[2J" in line


def test_what_was_sent_to_others_shows_to_whom() -> None:
    assert message_line(message("hi", to="#ops"), me="bob", colours=False)[5:] == " alice to #ops: hi"
    assert message_line(message("hi", to="bob"), me="alice", colours=False)[5:] == " alice to bob: hi"


def test_each_friend_has_a_colour_that_stays() -> None:
    assert paint("alice", True) == paint("alice", True) != "alice"
    assert paint("alice", False) == "alice"
    assert len({paint(f"user{number}", True).partition("m")[0] for number in range(100)}) > 5


@pytest.mark.parametrize("microsecond", [0, 1_000, 999_000])
def test_times_sort_as_text(microsecond: int) -> None:
    moment = datetime(2025, 1, 2, 3, 4, 5, microsecond, UTC)
    assert iso_time(moment) == f"2025-01-02T03:04:05.{microsecond // 1000:03d}Z"
