"""Messages as a person sees them."""

from typing import Any

import msgpack
import pytest
from relay_chat.model.entries import (
    SHOWN_MAX_CHARS,
    describe_error,
    entry_of,
    own_entry,
    size_text,
)
from relay_client.errors import Refused
from relay_client.received import ReceivedMessage

from relay.protocol import packets
from relay.protocol.transfer import FILE


def message(body: bytes | str, content_type: str = "text/plain", sender: str = "bob/phone") -> ReceivedMessage:
    data = body.encode() if isinstance(body, str) else body
    return ReceivedMessage("alice@bob", 7, 1767225600250, packets.Message(sender, "alice", 1, content_type, data))


def test_a_text() -> None:
    entry = entry_of(message("hi\x1b[2J"), "alice")
    assert (entry.sender, entry.device, entry.text, entry.mine, entry.offset) == ("bob", "phone", "hi␛[2J", False, 7)
    assert entry.time.timestamp() == 1767225600.25
    assert entry_of(message("hi"), "bob").mine


def test_a_long_text_is_shown_in_part() -> None:
    entry = entry_of(message("x" * 10_000), "alice")
    assert len(entry.text) == SHOWN_MAX_CHARS and entry.left_out == 10_000 - SHOWN_MAX_CHARS
    assert own_entry("alice", "y" * 5000, "bob").left_out == 5000 - SHOWN_MAX_CHARS


def test_what_is_no_text_is_described() -> None:
    assert entry_of(message(b"\x00" * 2_500_000, "image/png"), "alice").text == "[image/png, 2.5 MB]"
    assert entry_of(message(msgpack.packb({"a": [1, None]}), "application/msgpack"), "alice").text == '{"a": [1, null]}'
    assert entry_of(message(b"\xc1", "application/msgpack"), "alice").text


def test_a_file() -> None:
    value = {
        "id": "abcdefghijkl",
        "name": "../a\x1bb.pdf",
        "size": 4_200_000,
        "hash": b"h" * 32,
        "type": "application/pdf",
    }
    entry = entry_of(message(msgpack.packb(value), FILE), "alice")
    assert entry.file is not None and entry.file.id == "abcdefghijkl"
    assert entry.text == "../a␛b.pdf  4.2 MB"


@pytest.mark.parametrize(
    "value",
    [
        1,
        [],
        {},
        {"id": 1, "name": "x", "size": 1},
        {"id": "", "name": "x", "size": "1"},
        {"id": "", "name": "", "size": 1},
        {"id": "", "name": 5, "size": 1},
    ],
)
def test_what_only_says_it_is_a_file(value: Any) -> None:
    found = message(msgpack.packb(value), FILE)
    assert entry_of(found, "alice").file is None and "vnd.relay.file" in entry_of(found, "alice").text


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (1, "1 byte"), (999, "999 bytes"), (1000, "1.0 kB"), (999_960, "1.0 MB"), (5 * 10**12, "5.0 TB")],
)
def test_sizes(size: int, text: str) -> None:
    assert size_text(size) == text


def test_errors_are_one_clean_line() -> None:
    assert describe_error(Refused(1, "no\nway\x1b")) == "no␊way␛"
