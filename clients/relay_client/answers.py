"""What the relay's answers hold: rooms, members, conversations, devices, receipts, presence. Values without any I/O.

Each `from_row` reads what docs/protocol.md, section 12, describes, and ignores what it does not know. A row of another
form raises KeyError, TypeError or ValueError, which the questions turn into BadValue.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from relay_client.received import ReceivedMessage, stored_message, utc_time


class Room(NamedTuple):
    """A room as its asker sees it.

    `room`: its name, `#ops`. `role`: the asker's own (`owner`, `moderator`, `member`, `invited`), None for somebody
    outside. `members`: how many are inside. `head`: the offset of its last message, 0 if there is none.
    """

    room: str
    title: str
    public: bool
    role: str | None
    members: int
    head: int

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "Room":
        """From a ROOM of the protocol."""
        return cls(row["room"], row["title"], row["public"], row["role"], row["members"], row["head"])


class Member(NamedTuple):
    """Somebody in a room. `role`: `owner`, `moderator`, `member`, or `invited`."""

    user: str
    role: str

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "Member":
        """From an answer of rooms.members."""
        return cls(row["user"], row["role"])


class Conversation(NamedTuple):
    """One of the asker's conversations.

    `head`, `first`: the offsets of the last message, and of the first that may be read. `delivered`: this device's
    cursor. `read`: how far the user has read, on any device. `time`: when the last message was stored; None if there
    is none.
    """

    conversation: str
    title: str
    head: int
    first: int
    delivered: int
    read: int
    time: datetime | None

    @property
    def unread(self) -> int:
        """How many kept messages stand behind what was read. Own ones count, too."""
        return max(0, self.head - max(self.read, self.first - 1))

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "Conversation":
        """From an answer of conversations.list."""
        time = utc_time(row["time_ms"]) if row["time_ms"] else None
        places = (row["head"], row["first"], row["delivered"], row["read"])
        return cls(row["conversation"], row["title"], *places, time)


class Page(NamedTuple):
    """Messages of a conversation, ascending and without holes. `first`, `head`: as in Conversation."""

    conversation: str
    first: int
    head: int
    messages: tuple[ReceivedMessage, ...]

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "Page":
        """From an answer of history.read."""
        name = row["conversation"]
        return cls(name, row["first"], row["head"], tuple(stored_message(name, found) for found in row["messages"]))


class DeviceCursor(NamedTuple):
    """How far a device is in a conversation: everything up to `delivered` arrived, up to `read` was read."""

    user: str
    device: str
    delivered: int
    read: int

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "DeviceCursor":
        """From an answer of receipts.of."""
        return cls(row["user"], row["device"], row["delivered"], row["read"])


class Device(NamedTuple):
    """One of the user's devices, for which the relay keeps messages. `seen`: when it was connected last."""

    device: str
    created: datetime
    seen: datetime
    online: bool

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "Device":
        """From an answer of devices.list."""
        return cls(row["device"], utc_time(row["created_ms"]), utc_time(row["seen_ms"]), row["online"])


class Presence(NamedTuple):
    """Whether somebody is there: `state` is `online`, `away` or `offline`. `seen`: when she was last; None if unknown.

    It is also an event: a watched user came or went.
    """

    user: str
    state: str
    seen: datetime | None

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "Presence":
        """From an answer of presence.watch, or from the event."""
        return cls(row["user"], row["state"], utc_time(row["seen_ms"]) if row["seen_ms"] else None)
