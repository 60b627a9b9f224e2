"""What a program gets to see: messages, signals, calls, acknowledgements, who is online. Values without any I/O.

The shells add `reply` and `ack` (client.py, aio.py).
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from relay.protocol import packets
from relay.protocol.addresses import user_of
from relay.protocol.payloads import MSGPACK, PayloadError, Value, decode_body
from relay.protocol.transfer import FILE
from relay_client.errors import BadValue

# The content type of a signal that says that somebody is typing; its body is empty.
TYPING = "application/vnd.relay.typing"


class Stored(NamedTuple):
    """A message is on the relay's disk: its place in its conversation, and when it got there (UTC)."""

    id: int
    conversation: str
    offset: int
    time: datetime


class Announced(NamedTuple):
    """A file, as the message about it says: `id` for `files.get`, empty if it went directly from session to session.
    `hash`: the SHA-256 of its content. The sender said all of it, and `files.get` checks it."""

    id: str
    name: str
    size: int
    hash: bytes
    type: str


class Online(NamedTuple):
    """A user who is online now, with the device names of her sessions."""

    user: str
    sessions: tuple[str, ...]
    bot: bool


def online_from(value: Any) -> list[Online]:
    """The relay's answer to `presence.list`. Raises BadValue if it is something else."""
    try:
        users = value["users"]
        return [Online(user["user"], tuple(user["sessions"]), bool(user.get("bot"))) for user in users]
    except (KeyError, TypeError, AttributeError):
        raise BadValue("the relay's answer to presence.list has another form than this version knows") from None


def utc_time(time_ms: int) -> datetime:
    """The aware datetime of a relay's time in milliseconds."""
    return datetime.fromtimestamp(time_ms / 1000, UTC)


class Received:
    """What messages, signals and calls have in common: a sender, a destination and a body."""

    __slots__ = ("_packet",)

    def __init__(self, packet: packets.Message | packets.Signal | packets.Call) -> None:
        self._packet = packet

    @property
    def sender_session(self) -> str:
        """The session it came from: `alice/phone`."""
        return self._packet.sender

    @property
    def sender(self) -> str:
        """The user who sent it: `alice`."""
        return user_of(self._packet.sender)

    @property
    def sender_device(self) -> str:
        """The device it was sent from: `phone`."""
        return self._packet.sender.partition("/")[2]

    @property
    def to(self) -> str:
        """Where it was sent to: a user, a room, or (not a message) one session."""
        return self._packet.to

    @property
    def content_type(self) -> str:
        """What the body is: `text/plain`, `application/msgpack`, empty for plain bytes, or the sender's own."""
        return self._packet.content_type

    @property
    def body(self) -> bytes:
        """The body as it was sent."""
        return self._packet.body

    @property
    def value(self) -> Value:
        """The body decoded: str for text, the structure for msgpack, bytes for anything else. Raises BadValue."""
        try:
            return decode_body(self.content_type, self.body)
        except PayloadError as error:
            raise BadValue(f"what {self.sender_session} sent cannot be read: {error}") from None

    @property
    def text(self) -> str:
        """The body to show a person: text as it is, a structure as JSON, a file's name, bytes read as UTF-8. Never
        fails."""
        if self.content_type == FILE and (file := _announced(self.body)) is not None:
            return f"[file {file.name}, {file.size} bytes]"
        if self.content_type == MSGPACK:
            try:
                return json.dumps(self.value, ensure_ascii=False, default=repr)
            except (BadValue, ValueError, RecursionError):
                return repr(self.body)
        return self.body.decode("utf-8", "replace")


class ReceivedSignal(Received):
    """A signal: it came live and is kept nowhere."""

    __slots__ = ()

    @property
    def is_typing(self) -> bool:
        """Whether it only says that the sender is typing; that counts for about five seconds."""
        return self.content_type == TYPING

    def __repr__(self) -> str:
        return f"<Signal from {self.sender_session}: {_short(self)}>"


class ReceivedMessage(Received):
    """A message, with its place in its conversation, and `time_ms`, when the relay stored it."""

    __slots__ = ("conversation", "offset", "time_ms")
    _packet: packets.Message

    def __init__(self, conversation: str, offset: int, time_ms: int, packet: packets.Message) -> None:
        super().__init__(packet)
        self.conversation = conversation
        self.offset = offset
        self.time_ms = time_ms

    @property
    def id(self) -> int:
        """The number that the sending device gave it."""
        return self._packet.id

    @property
    def time(self) -> datetime:
        """When the relay stored it, as an aware datetime in UTC."""
        return utc_time(self.time_ms)

    @property
    def file(self) -> Announced | None:
        """The file that this message is about, if it is about one."""
        return _announced(self.body) if self.content_type == FILE else None

    @property
    def reply_to(self) -> str:
        """Where an answer belongs: the room it was sent to, or its sender."""
        return self.to if self.to.startswith("#") else self.sender

    def __repr__(self) -> str:
        return f"<Message {self.conversation} {self.offset} from {self.sender_session}: {_short(self)}>"


def stored_message(conversation: str, row: Mapping[str, Any]) -> ReceivedMessage:
    """A message from a page of `history.read`."""
    packet = packets.decode(row["packet"])
    if not isinstance(packet, packets.Message):
        raise ValueError(f"the relay's history holds a {type(packet).__name__} packet")
    return ReceivedMessage(conversation, row["offset"], row["time_ms"], packet)


class Call(Received):
    """A call from somebody, as a method sees it.

    `deadline_at`: until then (time.monotonic()) the caller waits. `epoch`: on which of our connections it came.
    """

    __slots__ = ("deadline_at", "epoch")
    _packet: packets.Call

    def __init__(self, packet: packets.Call, deadline_at: float, epoch: int) -> None:
        super().__init__(packet)
        self.deadline_at = deadline_at
        self.epoch = epoch

    @property
    def id(self) -> int:
        """The number that the calling session gave it."""
        return self._packet.id

    @property
    def method(self) -> str:
        """What is called."""
        return self._packet.method

    def __repr__(self) -> str:
        return f"<Call of {self.method} from {self.sender_session}>"


def _announced(body: bytes) -> Announced | None:
    """What the body of a FILE message says; None if it does not say it."""
    try:
        value: Any = decode_body(MSGPACK, body)
        file = Announced(value["id"], value["name"], value["size"], value["hash"], value["type"])
    except (PayloadError, KeyError, TypeError):
        return None
    kinds = (str, str, int, bytes, str)
    right = all(type(part) is kind for part, kind in zip(file, kinds, strict=True))
    return file if right and file.size >= 0 else None


def _short(received: Received) -> str:
    text = received.text
    return repr(text if len(text) <= 60 else text[:57] + "...")
