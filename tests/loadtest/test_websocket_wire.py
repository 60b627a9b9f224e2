"""The client's side of a WebSocket, against the relay's."""

import pytest

from loadtest.websocket_wire import Unframer, UpgradeError, client_frame, split_answer, upgrade_request
from relay.transport.websocket_frames import Incoming, close_frame, message_header


@pytest.mark.parametrize("size", [0, 5, 125, 126, 65535, 65536])
def test_the_relay_understands_our_messages(size: int) -> None:
    payload = bytes(range(256)) * 257
    incoming = Incoming()
    assert incoming.feed(client_frame(payload[:size], b"\1\2\3\4")) == payload[:size]
    assert incoming.ended is None


@pytest.mark.parametrize("step", [1, 3, 1000, 200_000])
def test_the_payload_of_the_relays_messages_is_found_however_they_are_cut(step: int) -> None:
    payloads = [b"", b"one", b"x" * 126, b"y" * 70_000, b"end"]
    data = b"".join(message_header(len(payload)) + payload for payload in payloads)
    unframer = Unframer()
    found = b"".join(unframer.feed(data[at : at + step]) for at in range(0, len(data), step))
    assert found == b"".join(payloads)


def test_a_close_frame_ends_it() -> None:
    unframer = Unframer()
    assert unframer.feed(message_header(1) + b"x" + close_frame(1000) + message_header(1) + b"y") == b"x"
    assert unframer.closed


def test_the_answer_to_the_upgrade_is_split_off() -> None:
    assert upgrade_request("h").startswith(b"GET /ws HTTP/1.1\r\nHost: h\r\n")
    assert split_answer(b"HTTP/1.1 101 Switching Protocols\r\nX: y\r\n") is None
    assert split_answer(b"HTTP/1.1 101 Switching Protocols\r\nX: y\r\n\r\nrest") == b"rest"
    with pytest.raises(UpgradeError, match="403"):
        split_answer(b"HTTP/1.1 403 Forbidden\r\n\r\n")
