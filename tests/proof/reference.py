"""The whole model as plainly as it can be said: users, devices, rooms, blocks, logs, cursors. What the relay tells its
clients is compared with this.

It is told of every change in the order in which the store makes it, and answers with what the relay has to answer.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from relay.protocol.addresses import conversation_members
from relay.protocol.codes import ErrorCode
from relay.store.base import Append, Cursor


class Place(NamedTuple):
    """Where a message stands. `life` counts the rooms that had this name; it is 0 for a direct conversation."""

    conversation: str
    life: int
    offset: int


class Line(NamedTuple):
    """One life of a conversation."""

    conversation: str
    life: int


@dataclass
class Stay:
    """A user's time in a conversation: she gets the offsets above `after`, up to `until` once she has left."""

    after: int
    until: int | None = None

    def covers(self, offset: int) -> bool:
        return self.after < offset and (self.until is None or offset <= self.until)


@dataclass
class Device:
    """What is kept for a device. `begins`: in each conversation, the offset behind which it was opened."""

    opened: bool = False
    sent: dict[int, tuple[bytes, Place]] = field(default_factory=dict)
    cursors: dict[Line, int] = field(default_factory=dict)
    begins: dict[Line, int] = field(default_factory=dict)


class Reference:
    """Answers are an offset, a dictionary, or an ErrorCode."""

    def __init__(self, users: tuple[str, ...]) -> None:
        self.users = users
        self.devices: dict[tuple[str, str], Device] = {}
        self.logs: dict[Line, list[bytes]] = {}
        # The lowest offset that retention has left; 1 where it has taken nothing.
        self.kept: dict[Line, int] = {}
        self.stays: dict[tuple[str, Line], list[Stay]] = {}
        self.roles: dict[str, dict[str, str]] = {}
        self.public: dict[str, bool] = {}
        self.lives: dict[str, int] = {}
        self.blocked: set[tuple[str, str]] = set()

    def line(self, conversation: str) -> Line:
        """The present life of a conversation."""
        return Line(conversation, self.lives.get(conversation, 0))

    def log(self, conversation: str) -> list[bytes]:
        return self.logs.setdefault(self.line(conversation), [])

    def device(self, user: str, device: str) -> Device:
        return self.devices.setdefault((user, device), Device())

    def stay(self, user: str, line: Line) -> Stay | None:
        """The user's present stay."""
        stays = self.stays.get((user, line), [])
        return stays[-1] if stays and stays[-1].until is None else None

    def present(self, user: str) -> dict[Line, Stay]:
        """Where the user is now."""
        return {
            line: stay
            for (name, line), stays in self.stays.items()
            if name == user
            for stay in stays[-1:]
            if stay.until is None
        }

    def cursor(self, user: str, device: str, line: Line) -> int:
        """The offset behind which the relay goes on to deliver to a device."""
        stay = self.stay(user, line)
        assert stay is not None
        return max(stay.after, self.device(user, device).cursors.get(line, 0))

    def first_kept(self, line: Line) -> int:
        return self.kept.get(line, 1)

    def fitting(self, line: Line, limit_bytes: int) -> int:
        """The first offset of the longest tail of what is kept that has at most so many bytes."""
        log = self.logs.get(line, [])
        offset, left = self.first_kept(line), sum(map(len, log[self.first_kept(line) - 1 :]))
        while left > limit_bytes:
            left -= len(log[offset - 1])
            offset += 1
        return offset

    def is_over(self, line: Line) -> bool:
        """Whether it is a room that ended."""
        return bool(line.life) and (line != self.line(line.conversation) or line.conversation not in self.roles)

    # What changes it.

    def clear_ended(self) -> None:
        """Of rooms that ended nothing is left."""
        for line, log in self.logs.items():
            if self.is_over(line):
                self.kept[line] = len(log) + 1

    def append(self, item: Append) -> tuple[int, bool] | ErrorCode:
        """(offset, whether it stood there before), or the refusal."""
        device = self.device(item.user, item.device)
        if item.message_id in device.sent:
            packet, place = device.sent[item.message_id]
            if place.offset < self.first_kept(Line(*place[:2])):
                return ErrorCode.ID_REUSED
            return (place.offset, True) if packet == item.packet else ErrorCode.ID_REUSED
        members = conversation_members(item.conversation)
        if members is None:
            if not self.inside(item.user, item.conversation):
                return ErrorCode.NO_SUCH_ROOM
        else:
            other = members[members[0] == item.user]
            if (other, item.user) in self.blocked:
                return ErrorCode.BLOCKED
            if other not in self.users:
                return ErrorCode.NO_SUCH_USER
        line, log = self.line(item.conversation), self.log(item.conversation)
        for user in members or ():
            if self.stay(user, line) is None:
                self.stays.setdefault((user, line), []).append(Stay(0))
        log.append(item.packet)
        device.sent[item.message_id] = item.packet, Place(*line, len(log))
        return len(log), False

    def open_device(self, user: str, name: str, start: int | None) -> bool:
        """Returns whether it is a new one that begins somewhere near the end."""
        first = not any(device.opened for (owner, _), device in self.devices.items() if owner == user)
        device = self.device(user, name)
        if device.opened:
            return False
        device.opened = True
        if start is None and first:
            device.begins = {line: stay.after for line, stay in self.present(user).items()}
            return False
        for line, stay in self.present(user).items():
            begin = max(stay.after, len(self.logs.get(line, [])) - (start or 0))
            device.cursors[line] = device.begins[line] = begin
        return True

    def advance(self, cursor: Cursor) -> None:
        device, line = self.device(cursor.user, cursor.device), self.line(cursor.conversation)
        if device.opened and self.stay(cursor.user, line) is not None:
            delivered = min(cursor.delivered, len(self.log(cursor.conversation)))
            device.cursors[line] = max(delivered, device.cursors.get(line, 0))

    def forget(self, user: str, name: str) -> None:
        self.devices.pop((user, name), None)

    def block(self, user: str, other: str, wanted: bool) -> Any:
        if wanted and user == other:
            return ErrorCode.BAD_ARGUMENTS
        (self.blocked.add if wanted else self.blocked.discard)((user, other))
        return {}

    # Rooms. `None` is an answer whose content is not looked at.

    def inside(self, user: str, room: str) -> bool:
        return self.roles.get(room, {}).get(user) in ("owner", "member")

    def create(self, user: str, room: str, public: bool) -> ErrorCode | None:
        if room in self.roles:
            return ErrorCode.NOT_ALLOWED
        self.lives[room] = self.lives.get(room, 0) + 1
        self.roles[room], self.public[room] = {}, public
        self._enter(user, room, "owner")
        return None

    def join(self, user: str, room: str) -> ErrorCode | None:
        role = self.roles.get(room, {}).get(user)
        if room not in self.roles or role == "banned" or (role is None and not self.public[room]):
            return ErrorCode.NO_SUCH_ROOM
        if role == "invited" or role is None:
            self._enter(user, room, "member")
        return None

    def leave(self, user: str, room: str) -> ErrorCode | None:
        roles = self.roles.get(room, {})
        if roles.get(user) in (None, "banned"):
            return ErrorCode.NO_SUCH_ROOM
        inside = [name for name in roles if self.inside(name, room)]
        if roles[user] == "owner" and len(inside) > 1:
            return ErrorCode.NOT_ALLOWED
        self._exit(user, room, None)
        if inside == [user]:
            del self.roles[room]
        return None

    def invite(self, user: str, room: str, other: str) -> ErrorCode | None:
        if not self.inside(user, room):
            return ErrorCode.NO_SUCH_ROOM
        roles = self.roles[room]
        if not self.public[room] and roles[user] != "owner":
            return ErrorCode.NOT_ALLOWED
        if roles.get(other) == "banned":
            return ErrorCode.NOT_ALLOWED
        roles.setdefault(other, "invited")
        return None

    def remove(self, user: str, room: str, other: str, ban: bool) -> ErrorCode | None:
        if not self.inside(user, room):
            return ErrorCode.NO_SUCH_ROOM
        roles = self.roles[room]
        if roles[user] != "owner" or roles.get(other) == "owner":
            return ErrorCode.NOT_ALLOWED
        if not ban and roles.get(other) in (None, "banned"):
            return ErrorCode.NO_SUCH_USER
        self._exit(other, room, "banned" if ban else None)
        return None

    def history(self, user: str, conversation: str, after: int | None, limit: int) -> Any:
        """(offset and packet of each message, the head), or the refusal."""
        members = conversation_members(conversation)
        if members is None and not self.inside(user, conversation):
            return ErrorCode.NO_SUCH_ROOM
        head, first = len(self.log(conversation)), self.first_kept(self.line(conversation))
        entries = [entry for entry in enumerate(self.log(conversation), 1) if entry[0] >= max(first, (after or 0) + 1)]
        return entries[-limit:] if after is None else entries[:limit], head

    def _enter(self, user: str, room: str, role: str) -> None:
        self.roles[room][user] = role
        self.stays.setdefault((user, self.line(room)), []).append(Stay(len(self.log(room))))

    def _exit(self, user: str, room: str, role: str | None) -> None:
        self.roles[room].pop(user, None)
        if role is not None:
            self.roles[room][user] = role
        line = self.line(room)
        if stay := self.stay(user, line):
            stay.until = len(self.log(room))
        for (owner, _), device in self.devices.items():
            if owner == user:
                device.cursors.pop(line, None)
                device.begins.pop(line, None)
