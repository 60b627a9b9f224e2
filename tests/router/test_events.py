"""What the relay tells sessions of its own accord."""

from relay.protocol.packets import Signal
from relay.protocol.payloads import MSGPACK, decode_body
from relay.router.events import event_frame
from tests.router.recording import packets


def test_an_event_is_a_signal_from_the_relay_with_a_map() -> None:
    (signal,) = packets(event_frame("#ops", "room", what="joined", user="alice"))
    assert isinstance(signal, Signal)
    assert signal[:4] == ("relay", "#ops", None, MSGPACK)
    assert decode_body(signal.content_type, signal.body) == {"event": "room", "what": "joined", "user": "alice"}
