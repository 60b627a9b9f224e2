"""What the relay tells sessions of its own accord: signals from `relay` with a msgpack map, `{"event": ..., ...}`."""

from relay.protocol.addresses import RELAY
from relay.protocol.packets import Signal, encode
from relay.protocol.payloads import Value, encode_body


def event_frame(to: str, event: str, **fields: Value) -> bytes:
    """An event as a frame; `to` is the user or room whose sessions get it."""
    content_type, body = encode_body({"event": event, **fields})
    return encode(Signal(RELAY, to, None, content_type, body))
