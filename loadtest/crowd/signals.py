"""One user's signals: sent on schedule to users who are there, checked and timed when they arrive."""

import time
from typing import TYPE_CHECKING

from loadtest.books.stamp import BODY_MIN_BYTES, Stamp, decode_stamp, encode_stamp
from loadtest.crowd.crowd import room_number, user_name
from relay.protocol.addresses import RELAY
from relay.protocol.packets import Signal, encode
from relay.protocol.payloads import decode_body

if TYPE_CHECKING:
    from loadtest.crowd.person import Person

CONTENT_TYPE = "application/x-typing"


class Signals:
    """Signals of one user, in both directions."""

    __slots__ = ("_person",)

    def __init__(self, person: "Person") -> None:
        self._person = person

    def send(self, peer: int, due_at: float) -> None:
        """Send a signal, or leave it out: a signal that is late is worth nothing."""
        person = self._person
        if not person.present:
            person.crowd.tally["doings_skipped"] += 1
            return
        number = person.books.send_signal(peer, person.crowd.receivers(person.index, peer))
        body = encode_stamp(Stamp(person.index, number, int(due_at * 1e6)), person.crowd.body_bytes(peer))
        person.send(encode(Signal(person.address, person.crowd.address_of(peer), None, CONTENT_TYPE, body)))

    def handle_signal(self, signal: Signal) -> None:
        """A signal arrives; one of the relay's own says how many we missed."""
        if signal.sender == RELAY:
            self._handle_notice(signal)
            return
        stamp = decode_stamp(signal.body)
        if stamp is not None and not signal.sender.startswith(f"{user_name(stamp.sender)}/"):
            stamp = None
        person = self._person
        if stamp is None:
            size, head = len(signal.body), signal.body[:BODY_MIN_BYTES].hex()
            person.crowd.note(f"{person.address}: signal of {signal.sender}, {size} bytes, which begin with {head}")
        if person.books.signal_arrived(stamp, room_number(signal.to)) and stamp is not None and not person.slow:
            person.crowd.record("signal", stamp.intended_us / 1e6, time.monotonic())

    def _handle_notice(self, signal: Signal) -> None:
        event = decode_body(signal.content_type, signal.body)
        if isinstance(event, dict) and event.get("event") == "dropped":
            self._person.crowd.tally["signals_dropped"] += int(event["signals"])
