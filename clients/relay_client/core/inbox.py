"""The messages that come to this device: which of them the program gets to see, and when the relay is told so."""

from typing import NamedTuple

from relay.protocol import packets
from relay.protocol.errors import RemoteError
from relay.protocol.packets import decode
from relay_client.core.cursors import Arrival, Cursors
from relay_client.core.reads import Reads
from relay_client.events import Event, GapNoticed, MessageReceived

# Acknowledgements are cumulative and only save work after a cut, so they wait for company: this many or this long.
ACKS_MAX = 64
ACK_DELAY_S = 0.05

# A program that does not keep up with its messages is a slow reader: with this many on hand its socket is left alone,
# and the relay keeps the rest. 10,000 small messages are about 10 MB of objects.
INBOX_MAX = 10_000


class DeliveryError(Exception):
    """The relay delivered something it should not have; the text is a reason to reconnect."""


class Unconfirmed(NamedTuple):
    """Acknowledgements by conversation: up to where messages were dealt with, and read."""

    delivered: dict[str, int]
    read: dict[str, int]


class Inbox:
    """Deliveries in, events and acknowledgements out."""

    def __init__(self) -> None:
        self.ack_at: float | None = None  # when to send acknowledgements, if there are any
        self._cursors = Cursors()
        self._reads = Reads()
        self._done_since = 0
        # Where the relay skipped something, to see whether it does so again.
        self._hole: tuple[str, int] | None = None
        # Which logs the offsets are of; None before the first WELCOME.
        self._generation: str | None = None

    @property
    def is_full(self) -> bool:
        """Whether the program is too far behind."""
        return self._cursors.outstanding >= INBOX_MAX

    def welcome(self, generation: str) -> bool:
        """The relay's logs are these. After others, offsets seen before are other messages, and the relay knows where
        the device is. Whether that is so."""
        renewed = self._generation not in (None, generation)
        if renewed:
            self._cursors.renew()
            self._reads = Reads()
            self._hole = None
        self._generation = generation
        return renewed

    def deliver(self, delivery: packets.Delivery, session: str, now: float) -> list[Event]:
        """What the program is told about a DELIVERY; nothing for repetitions and for what `session`, we, sent.

        Raises DeliveryError.
        """
        message = _decode_message(delivery.packet)
        conversation, offset = delivery.conversation, delivery.offset
        own = message.sender == session
        events: list[Event] = []
        arrival = self._cursors.arrive(conversation, offset, own)
        if arrival is Arrival.HOLE:
            events.append(self._accept_hole(conversation, offset))
            arrival = self._cursors.arrive(conversation, offset, own)
        if arrival is Arrival.NEW and not own:
            events.append(MessageReceived(conversation, offset, delivery.time_ms, message))
        self._schedule_acks(now)
        return events

    def stored(self, conversation: str, offset: int) -> None:
        """An own message got this offset."""
        self._cursors.stored(conversation, offset)

    def skip(self, gap: packets.Gap, now: float) -> list[Event]:
        """What the program is told about a GAP."""
        if not self._cursors.skip(gap.conversation, gap.last):
            return []
        self._schedule_acks(now)
        return [GapNoticed(gap.conversation, gap.first, gap.last, told=True)]

    def done(self, conversation: str, offset: int, now: float) -> bool:
        """The program is done with a message. True if so many are that the acknowledgements should go at once."""
        if self._cursors.done(conversation, offset):
            self._done_since += 1
            self._schedule_acks(now)
        return self._done_since >= ACKS_MAX

    def mark_read(self, conversation: str, offset: int, now: float) -> None:
        """A person has read up to here."""
        if self._reads.mark(conversation, offset):
            self._schedule_acks(now)

    def take_acks(self) -> list[packets.Ack]:
        """The acknowledgements to send."""
        self.ack_at = None
        self._done_since = 0
        delivered, read = dict(self._cursors.take_acks()), self._reads.take()
        # A cursor never moves back: where only the read mark is new, what was acknowledged before is said again.
        return [
            packets.Ack(name, delivered.get(name, self._cursors.acked(name)), read.get(name))
            for name in {**delivered, **read}
        ]

    @property
    def needs_sync(self) -> bool:
        """Whether there are acknowledgements that are not known to be on the relay's disk."""
        return self._is_dirty or any(self.unconfirmed())

    def unconfirmed(self) -> Unconfirmed:
        """What was acknowledged and may not be on the relay's disk."""
        return Unconfirmed(self._cursors.unconfirmed(), self._reads.unconfirmed())

    def confirm(self, acks: Unconfirmed) -> None:
        """That much is on the relay's disk."""
        self._cursors.confirm(acks.delivered)
        self._reads.confirm(acks.read)

    def lost(self) -> None:
        """The connection broke."""
        self._cursors.lost()
        self._reads.lost()

    @property
    def _is_dirty(self) -> bool:
        return self._cursors.dirty or self._reads.dirty

    def _schedule_acks(self, now: float) -> None:
        if self.ack_at is None and self._is_dirty:
            self.ack_at = now + ACK_DELAY_S

    def _accept_hole(self, conversation: str, offset: int) -> GapNoticed:
        """The relay skipped offsets without a GAP. A new connection makes it read them again; if it skips them again
        they are gone, and the program is told."""
        first, last = self._cursors.missing_before(conversation, offset)
        if self._hole != (conversation, offset):
            self._hole = conversation, offset
            raise DeliveryError(f"the relay skipped messages {first} to {last} of {conversation}")
        self._cursors.skip(conversation, last)
        return GapNoticed(conversation, first, last, told=False)


def _decode_message(payload: bytes) -> packets.Message:
    try:
        message = decode(payload)
    except RemoteError as error:
        raise DeliveryError(f"the relay delivered what cannot be read: {error.sentence}") from None
    if not isinstance(message, packets.Message):
        raise DeliveryError("the relay delivered something that is not a MESSAGE")
    return message
