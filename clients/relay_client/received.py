"""What a program gets to see: messages, signals, calls, acknowledgements, who is online. Values without any I/O.

The shells add `reply` and `ack` (client.py, aio.py).
"""

import json
from datetime import UTC, datetime
from typing import NamedTuple

from relay.protocol.addresses import user_of
from relay.protocol.payloads import MSGPACK, PayloadError, Value, decode_body
from relay_client.errors import BadValue


class Stored(NamedTuple):
    """A message is on the relay's disk: its place in its conversation, and when it got there (UTC)."""

    id: int
    conversation: str
    offset: int
    time: datetime


class Online(NamedTuple):
    """A user who is online now, with the device names of her sessions."""

    user: str
    sessions: tuple[str, ...]
    bot: bool


def utc_time(time_ms: int) -> datetime:
    """The aware datetime of a relay's time in milliseconds."""
    return datetime.fromtimestamp(time_ms / 1000, UTC)


class Received:
    """What messages, signals and calls have in common: a sender, a destination and a body."""

    __slots__ = ("body", "content_type", "sender_session", "to")

    def __init__(self, sender_session: str, to: str, content_type: str, body: bytes) -> None:
        self.sender_session = sender_session
        self.to = to
        self.content_type = content_type
        self.body = body

    @property
    def sender(self) -> str:
        """The user who sent it: `alice`."""
        return user_of(self.sender_session)

    @property
    def sender_device(self) -> str:
        """The device it was sent from: `phone`."""
        return self.sender_session.partition("/")[2]

    @property
    def value(self) -> Value:
        """The body decoded: str for text, the structure for msgpack, bytes for anything else. Raises BadValue."""
        try:
            return decode_body(self.content_type, self.body)
        except PayloadError as error:
            raise BadValue(f"what {self.sender_session} sent cannot be read: {error}") from None

    @property
    def text(self) -> str:
        """The body to show a person: text as it is, a structure as JSON, bytes read as UTF-8. Never fails."""
        if self.content_type == MSGPACK:
            try:
                return json.dumps(self.value, ensure_ascii=False, default=repr)
            except (BadValue, ValueError):
                return repr(self.body)
        return self.body.decode("utf-8", "replace")


class ReceivedSignal(Received):
    """A signal: it came live and is kept nowhere."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<Signal from {self.sender_session}: {_short(self)}>"


class ReceivedMessage(Received):
    """A message: where it stands in its conversation, its id (per sending device), and when the relay stored it (UTC)."""

    __slots__ = ("conversation", "id", "offset", "time_ms")

    def __init__(  # noqa: PLR0913 - one argument per field of the packets it is made from
        self,
        conversation: str,
        offset: int,
        time_ms: int,
        message_id: int,
        sender_session: str,
        to: str,
        content_type: str,
        body: bytes,
    ) -> None:
        super().__init__(sender_session, to, content_type, body)
        self.conversation = conversation
        self.offset = offset
        self.time_ms = time_ms
        self.id = message_id

    @property
    def time(self) -> datetime:
        """When the relay stored it, as an aware datetime in UTC."""
        return utc_time(self.time_ms)

    @property
    def reply_to(self) -> str:
        """Where an answer belongs: the room it was sent to, or its sender."""
        return self.to if self.to.startswith("#") else self.sender

    def __repr__(self) -> str:
        return f"<Message {self.conversation} {self.offset} from {self.sender_session}: {_short(self)}>"


class Call(Received):
    """A call from somebody, as a method sees it. `deadline_at` is an instant of time.monotonic()."""

    __slots__ = ("deadline_at", "epoch", "id", "method")

    def __init__(  # noqa: PLR0913 - one argument per field of the packet it is made from
        self,
        sender_session: str,
        to: str,
        call_id: int,
        method: str,
        deadline_at: float,
        content_type: str,
        body: bytes,
        epoch: int,
    ) -> None:
        super().__init__(sender_session, to, content_type, body)
        self.id = call_id
        self.method = method
        self.deadline_at = deadline_at
        self.epoch = epoch

    def __repr__(self) -> str:
        return f"<Call of {self.method} from {self.sender_session}>"


def _short(received: Received) -> str:
    text = received.text
    return repr(text if len(text) <= 60 else text[:57] + "...")
