"""One user's messages: sent on schedule, kept until acknowledged, sent again after a cut, checked when they arrive."""

import time
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from loadtest.books.stamp import Stamp, decode_stamp, encode_stamp
from loadtest.crowd.crowd import room_number, user_name
from relay.protocol.limits import MESSAGE_WINDOW
from relay.protocol.packets import Ack, Delivery, Error, Message, Packet, Stored, StoredRun, decode, encode

if TYPE_CHECKING:
    from loadtest.crowd.person import Person

# How soon a message goes out again that the relay could not take, on average.
_AGAIN_S = 1.0

CONTENT_TYPE = "application/octet-stream"


class _Sent(NamedTuple):
    peer: int
    number: int
    due_at: float
    frame: bytes


class Messages:
    """Messages of one user, in both directions."""

    __slots__ = ("_next_id", "_person", "_put_off", "_to_acknowledge", "_unanswered", "_waiting", "present_since")

    def __init__(self, person: "Person") -> None:
        self._person = person
        self._next_id = 1
        self._unanswered: dict[int, _Sent] = {}
        # What could not be sent when it was due: (peer, due_at).
        self._waiting: deque[tuple[int, float]] = deque()
        # Messages that the relay asked to send again later.
        self._put_off = 0
        self._to_acknowledge: set[str] = set()
        # Messages from before then found the user away by her own choice: their time says nothing of the relay.
        self.present_since = 0.0

    def __len__(self) -> int:
        """Messages that have no answer yet."""
        return len(self._unanswered) + len(self._waiting) + self._put_off

    def send(self, peer: int, due_at: float) -> None:
        """Send a message, at once or as soon as it may be."""
        if self._person.present and len(self._unanswered) < MESSAGE_WINDOW and not self._waiting:
            self._send(peer, due_at)
        else:
            self._waiting.append((peer, due_at))

    def connected(self, last_message_id: int) -> None:
        """A new connection is there: what has no answer goes out again under its old id, then what waits."""
        self._next_id = max(self._next_id, last_message_id + 1)
        for sent in self._unanswered.values():
            self._person.send(sent.frame)
        self._send_waiting()

    def handle_stored(self, stored: Stored) -> None:
        """The relay has a message on its disk."""
        self._stored(stored.id, stored.conversation, stored.offset, stored)
        self._send_waiting()

    def handle_stored_run(self, run: StoredRun) -> None:
        """The relay has several on its disk."""
        for step in range(run.total):
            self._stored(run.id + step, run.conversation, run.offset + step, run)
        self._send_waiting()

    def _stored(self, message_id: int, conversation: str, offset: int, packet: Packet) -> None:
        person = self._person
        sent = self._unanswered.pop(message_id, None)
        if sent is None:
            person.crowd.unexpected(person.address, packet)
            return
        person.books.message_stored(sent.peer, sent.number, person.crowd.receivers(person.index, sent.peer))
        person.books.conversation(conversation).stored(offset)
        if not person.slow and sent.due_at >= self.present_since:
            person.crowd.record("stored", sent.due_at, time.monotonic())

    def handle_refused(self, error: Error) -> None:
        """The relay did not take a message."""
        sent = self._unanswered.pop(error.id or 0, None)
        crowd = self._person.crowd
        if sent is None:
            crowd.unexpected(self._person.address, error)
        else:
            later = 300 <= error.code < 400  # docs/protocol.md section 14
            count = "messages_put_off" if later else "messages_refused"
            crowd.fail("stored", count, sent.due_at, f"{error.code}: {error.sentence}")
            if later:
                self._put_off += 1
                again_at = time.monotonic() + crowd.random.uniform(0.5, 1.5) * _AGAIN_S
                crowd.schedule.add(again_at, lambda _: self._send_again(sent.peer, sent.due_at))
            self._send_waiting()

    def _send_again(self, peer: int, due_at: float) -> None:
        """As a new message: others have overtaken the one that was refused, and its time still began at `due_at`."""
        self._put_off -= 1
        self.send(peer, due_at)

    def handle_delivery(self, delivery: Delivery) -> None:
        """A message arrives."""
        person = self._person
        message = decode(delivery.packet)
        stamp = _read(message)
        if stamp is None:
            person.crowd.note(
                f"{person.address}: {delivery.conversation} {delivery.offset} is {delivery.packet[:100]!r}"
            )
        own = isinstance(message, Message) and message.sender == person.address
        place = person.books.conversation(delivery.conversation).arrive(delivery.offset, own)
        new = person.books.message_arrived(place, own, stamp, room_number(delivery.conversation))
        self._to_acknowledge.add(delivery.conversation)
        person.crowd.to_acknowledge[person] = None
        if new and stamp is not None and not person.slow and stamp.intended_us / 1e6 >= self.present_since:
            person.crowd.record("delivered", stamp.intended_us / 1e6, time.monotonic())

    def acknowledge(self) -> None:
        """Tell the relay how far we are."""
        conversations, self._to_acknowledge = self._to_acknowledge, set()
        if self._person.present:
            for name in conversations:
                self._person.send(encode(Ack(name, self._person.books.conversation(name).cursor, None)))

    def finish(self) -> None:
        """What has no answer now gets none any more."""
        crowd = self._person.crowd
        crowd.tally["messages_unanswered"] += len(self)
        for message_id, sent in self._unanswered.items():
            age_s = time.monotonic() - sent.due_at
            crowd.note(
                f"{self._person}: message {message_id} to user {sent.peer}, due {age_s:.1f} s ago, has no answer"
            )

    def _send_waiting(self) -> None:
        while self._waiting and self._person.present and len(self._unanswered) < MESSAGE_WINDOW:
            self._send(*self._waiting.popleft())

    def _send(self, peer: int, due_at: float) -> None:
        person = self._person
        number = person.books.send_message(peer)
        body = encode_stamp(Stamp(person.index, number, int(due_at * 1e6)), person.crowd.body_bytes(peer))
        frame = encode(Message(person.address, person.crowd.address_of(peer), self._next_id, CONTENT_TYPE, body))
        self._unanswered[self._next_id] = _Sent(peer, number, due_at, frame)
        self._next_id += 1
        person.send(frame)


def _read(message: object) -> Stamp | None:
    """The stamp of a message, if it is the message its sender made."""
    if not isinstance(message, Message) or message.content_type != CONTENT_TYPE:
        return None
    stamp = decode_stamp(message.body)
    if stamp is None or not message.sender.startswith(f"{user_name(stamp.sender)}/"):
        return None
    return stamp
