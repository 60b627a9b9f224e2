"""Frames of clients: what they carry, however they are cut, and what is refused."""

import pytest

from relay.transport import websocket_frames
from relay.transport.websocket_frames import MESSAGE_MAX_BYTES, Incoming, close_frame, message_header, whole_message
from tests.transport.masked import client_frame, random_key

PLAIN = bytes(range(256)) * 300


@pytest.mark.parametrize(("size", "header"), [(0, 2), (125, 2), (126, 4), (65535, 4), (65536, 10), (1 << 20, 10)])
def test_headers_have_the_shortest_form(size: int, header: int) -> None:
    made = message_header(size)
    assert len(made) == header
    assert made == client_frame(length=size, key=None)[:header]


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 599, 600, 65535, 65536, 70001])
def test_a_message_is_its_payload(size: int) -> None:
    incoming = Incoming()
    assert incoming.feed(client_frame(PLAIN[:size], key=random_key())) == PLAIN[:size]
    assert incoming.ended is incoming.pong is None


SEQUENCE = b"".join(
    [
        client_frame(b"one", key=random_key()),
        client_frame(PLAIN[:200], key=random_key()),
        client_frame(b"", key=random_key()),
        client_frame(b"frag", fin=False, key=random_key()),
        client_frame(b"are you there", 9, key=random_key()),
        client_frame(b"", 0, fin=False, key=random_key()),
        client_frame(PLAIN[:300], 0, key=random_key()),
        client_frame(b"a pong nobody asked for", 10, key=random_key()),
        client_frame(b"last", key=random_key()),
    ]
)
CARRIED = b"one" + PLAIN[:200] + b"frag" + PLAIN[:300] + b"last"


@pytest.mark.parametrize("step", [1, 2, 3, 5, 6, 7, 13, 100, len(SEQUENCE)])
def test_pieces_of_any_size_carry_the_same(step: int) -> None:
    incoming = Incoming()
    carried = b"".join(incoming.feed(SEQUENCE[at : at + step]) for at in range(0, len(SEQUENCE), step))
    assert carried == CARRIED
    assert incoming.pong == b"\x8a\x0dare you there"
    assert incoming.ended is None


def test_a_cut_at_every_position_carries_the_same() -> None:
    for cut in range(len(SEQUENCE)):
        incoming = Incoming()
        assert incoming.feed(SEQUENCE[:cut]) + incoming.feed(SEQUENCE[cut:]) == CARRIED, cut


def test_large_messages_are_handed_on_as_they_come() -> None:
    incoming = Incoming()
    data = client_frame(PLAIN, key=random_key())
    assert incoming.feed(data[:1000]) == PLAIN[: 1000 - 14]
    assert incoming.feed(data[1000:2001]) == PLAIN[1000 - 14 : 2001 - 14]


def test_of_pings_only_the_latest_is_answered() -> None:
    incoming = Incoming()
    incoming.feed(client_frame(b"1", 9) + client_frame(b"2", 9))
    assert incoming.pong == b"\x8a\x012"


def test_wsproto_is_there_only_while_something_rare_is_under_way() -> None:
    incoming = Incoming()
    incoming.feed(client_frame(b"x", 9))
    assert incoming._parser is None
    incoming.feed(client_frame(b"x", fin=False))
    assert incoming._parser is not None
    incoming.feed(client_frame(b"x", 0))
    assert incoming._parser is None


def test_the_close_frame_is_echoed_and_ends_everything() -> None:
    incoming = Incoming()
    data = client_frame(b"before") + client_frame(b"\x03\xe8bye", 8) + client_frame(b"after")
    assert incoming.feed(data) == b"before"
    assert incoming.ended == (1000, "bye", True)
    assert incoming.feed(client_frame(b"x")) == b""
    empty = Incoming()
    empty.feed(client_frame(b"", 8))
    assert empty.ended == (None, "", True)
    assert close_frame(None) == b"\x88\x00"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (client_frame(b"text", 1), 1003),
        (client_frame(b"", 1, fin=False), 1003),
        (client_frame(b"x", key=None), 1002),
        (client_frame(PLAIN[:200], key=None), 1002),
        (client_frame(PLAIN, key=None), 1002),
        (client_frame(b"x", 9, key=None), 1002),
        (client_frame(b"x", rsv=4), 1002),
        (client_frame(b"x", rsv=1), 1002),
        (client_frame(b"x", 1, rsv=1), 1002),
        (client_frame(b"x", 0), 1002),
        (client_frame(b"x", fin=False) + client_frame(b"x"), 1002),
        (client_frame(b"x", 3), 1002),
        (client_frame(b"x", 11), 1002),
        (client_frame(b"x", 9, fin=False), 1002),
        (client_frame(b"x" * 126, 9), 1002),
        (client_frame(b"x", width=2), 1002),
        (client_frame(b"x", width=8), 1002),
        (client_frame(b"x" * 126, width=8), 1002),
        (client_frame(length=1 << 63, width=8), 1002),
        (client_frame(b"\x03", 8), 1002),
        (client_frame(b"\x03\xec", 8), 1002),
        (client_frame(b"\x03\xe8\xff", 8), 1007),
        (client_frame(length=MESSAGE_MAX_BYTES + 1), 1009),
        (client_frame(length=MESSAGE_MAX_BYTES + 1, fin=False), 1009),
    ],
)
def test_whatever_breaks_a_rule_ends_it_with_the_code_of_the_rfc(data: bytes, code: int) -> None:
    for step in (len(data), 1):
        incoming = Incoming()
        for at in range(0, min(len(data), 300), step):
            incoming.feed(data[at : at + step])
        assert incoming.ended is not None
        assert (incoming.ended.code, incoming.ended.by_peer) == (code, False)
        assert incoming.ended.sentence


def test_fragments_are_bounded_in_number_and_in_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket_frames, "FRAGMENTS_MAX", 3)
    monkeypatch.setattr(websocket_frames, "MESSAGE_MAX_BYTES", 100)
    first, more = client_frame(b"x", fin=False), client_frame(b"x", 0, fin=False)
    incoming = Incoming()
    assert incoming.feed(first + more + client_frame(b"x", 0)) == b"xxx"
    assert incoming.feed(first + more + more) == b"xxx"
    assert incoming.ended is None
    incoming.feed(more)
    assert incoming.ended is not None
    assert incoming.ended.code == 1008
    other = Incoming()
    other.feed(first + client_frame(bytes(100), 0))
    assert other.ended is not None
    assert other.ended.code == 1009


@pytest.mark.parametrize("size", [0, 1, 6, 125, 126, 127, 3000, 65535])
def test_a_whole_message_is_recognised_alone(size: int) -> None:
    data = client_frame(PLAIN[:size], key=random_key())
    assert whole_message(data) == PLAIN[:size]
    assert whole_message(data + b"\x82") is None
    assert whole_message(data[:-1]) is None
    assert whole_message(data[:3]) is None
    assert whole_message(b"") is None


@pytest.mark.parametrize(
    "data",
    [
        client_frame(b"x", 1),
        client_frame(b"x", 9),
        client_frame(b"x", 0),
        client_frame(b"x", rsv=4),
        client_frame(b"x", fin=False),
        client_frame(b"xxxxxx", key=None),
        client_frame(bytes(200), key=None),
        client_frame(bytes(5), width=2),
        client_frame(bytes(125), width=2),
        client_frame(bytes(200), width=8),
        client_frame(PLAIN[:65536]),
    ],
)
def test_nothing_else_is_taken_for_one(data: bytes) -> None:
    assert whole_message(data) is None


def test_nothing_is_taken_past_it_while_something_is_under_way() -> None:
    incoming = Incoming()
    for data, busy in (
        (client_frame(b"whole"), False),
        (client_frame(b"half")[:8], True),
        (client_frame(b"half")[8:], False),
        (client_frame(b"ping", 9), False),
        (client_frame(b"a", fin=False), True),
        (client_frame(b"b", 0), False),
        (client_frame(b"head")[:3], True),
        (client_frame(b"head")[3:], False),
        (client_frame(b"", 8), True),
    ):
        incoming.feed(data)
        assert incoming.busy is busy, data
