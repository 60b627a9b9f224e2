"""The store without a disk: the same answers, gone with the process. For tests and for relays that need keep nothing.

It is also the plainest statement of what a store does: the SQLite store is compared with it.
"""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import takewhile
from typing import NamedTuple

from relay.protocol.addresses import conversation_members, is_temporary
from relay.protocol.codes import ErrorCode
from relay.protocol.limits import MESSAGE_WINDOW
from relay.protocol.scram import Credentials
from relay.store.base import (
    CONTACT_ROOM_MAX,
    KEEP_ALL,
    Account,
    AccountExistsError,
    Answer,
    Append,
    Appended,
    Arrival,
    Backlog,
    ConversationInfo,
    Cursor,
    DeviceInfo,
    Entry,
    HeldTicket,
    Member,
    Membership,
    NoSuchAccountError,
    Reader,
    Refusal,
    Retention,
    Role,
    Room,
    RoomExistsError,
    Store,
    deleted_since,
    quota_exceeded,
    together,
)
from relay.store.memory_files import MemoryFileReader, MemoryFiles, MemoryFileStore


@dataclass(slots=True)
class _Device:
    """A device of a user. `opened` says that messages are kept for it."""

    seen_ms: int
    opened: bool = False
    created_ms: int = 0
    # The latest MESSAGE_WINDOW message ids, ascending, and what was stored under them.
    sent: dict[int, tuple["_Log", Entry]] = field(default_factory=dict)
    # Conversation -> (delivered, read).
    cursors: dict[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(slots=True)
class _User:
    """An account with its devices and, by conversation, the offset after which it joined."""

    account: Account
    devices: dict[str, _Device] = field(default_factory=dict)
    joined: dict[str, int] = field(default_factory=dict)
    blocked: set[str] = field(default_factory=set)
    tickets: dict[str, HeldTicket] = field(default_factory=dict)
    # Bytes of kept messages that the user has sent.
    used: int = 0


class _Kept(NamedTuple):
    """The messages from offset `first` on, and who sent each."""

    first: int
    entries: list[Entry]
    senders: list[_User]

    @property
    def head(self) -> int:
        return self.first + len(self.entries) - 1


class _Log:
    """A conversation's log. `kept` is replaced as a whole, so that readers of other threads see one or the other."""

    def __init__(self) -> None:
        self.kept = _Kept(1, [], [])

    def append(self, time_ms: int, packet: bytes, sender: _User) -> Entry:
        """Add a message."""
        entry = Entry(self.kept.head + 1, time_ms, packet)
        sender.used += len(packet)
        self.kept.senders.append(sender)
        self.kept.entries.append(entry)
        return entry

    def let_go(self, count: int) -> None:
        """Delete so many of the oldest messages."""
        first, entries, senders = self.kept
        for entry, sender in zip(entries[:count], senders, strict=False):
            sender.used -= len(entry.packet)
        self.kept = _Kept(first + count, entries[count:], senders[count:])


@dataclass(slots=True)
class _Room:
    """A room and everybody who is something in it."""

    title: str
    public: bool
    created_ms: int
    roles: dict[str, Role] = field(default_factory=dict)


class _MemoryReader(MemoryFileReader, Reader):
    """Reads what the store holds. Other threads may do so while it changes: every look at a container is one step."""

    def __init__(
        self, users: dict[str, _User], logs: dict[str, _Log], rooms: dict[str, _Room], files: MemoryFiles
    ) -> None:
        super().__init__(files)
        self._users = users
        self._logs = logs
        self._rooms = rooms

    def read(self, conversation: str, after: int, limit: int, limit_bytes: int) -> list[Entry]:
        first, kept, _ = self._kept(conversation)
        start = max(after + 1 - first, 0)
        entries = kept[start : start + limit]
        total_bytes = 0
        for count, entry in enumerate(entries):
            total_bytes += len(entry.packet)
            if count and total_bytes > limit_bytes:
                return entries[:count]
        return entries

    def backlog(self, user: str, device: str) -> list[Backlog]:
        account = self._users.get(user)
        known = account and account.devices.get(device)
        if not account or not known or not known.opened:
            return []
        behind = []
        for conversation, joined in sorted(account.joined.items()):
            delivered = max(joined, known.cursors.get(conversation, (0, 0))[0])
            head = self.head(conversation)
            if head > delivered:
                behind.append(Backlog(conversation, delivered, head))
        return behind

    def joined(self, user: str, conversation: str) -> int | None:
        account = self._users.get(user)
        return account.joined.get(conversation) if account else None

    def read_back(self, conversation: str, before: int, limit: int, limit_bytes: int) -> list[Entry]:
        first, kept, _ = self._kept(conversation)
        entries = kept[: max(before - first, 0)][-limit:] if limit > 0 else []
        while len(entries) > 1 and sum(len(entry.packet) for entry in entries) > limit_bytes:
            del entries[0]
        return entries

    def first_kept(self, conversation: str) -> int:
        return self._kept(conversation).first

    def head(self, conversation: str) -> int:
        return self._kept(conversation).head

    def conversations(self, user: str, device: str, after: str, limit: int) -> list[ConversationInfo]:
        account = self._users.get(user)
        names = sorted(name for name in account.joined if name > after) if account else []
        return [self._describe(user, device, name) for name in names[:limit]]

    def cursors(self, conversation: str, limit: int) -> list[Cursor]:
        found = []
        for name, user in sorted(self._users.items()):
            if conversation not in user.joined:
                continue
            for device, known in sorted(user.devices.items()):
                if known.opened and not is_temporary(device):
                    delivered, read = known.cursors.get(conversation, (0, 0))
                    found.append(Cursor(name, device, conversation, max(delivered, user.joined[conversation]), read))
        return found[:limit]

    def room(self, name: str) -> Room | None:
        room = self._rooms.get(name)
        if room is None:
            return None
        inside = sum(role.inside for role in room.roles.values())
        return Room(name, room.title, room.public, inside, self.head(name), room.created_ms)

    def role(self, room: str, user: str) -> Role | None:
        known = self._rooms.get(room)
        return known.roles.get(user) if known else None

    def rooms_of(self, user: str) -> list[Membership]:
        found = []
        for name in sorted(self._rooms):
            room, role = self.room(name), self.role(name, user)
            if room and role and role is not Role.BANNED:
                found.append(Membership(room, role))
        return found

    def public_rooms(self, after: str, limit: int) -> list[Room]:
        names = sorted(name for name, room in self._rooms.items() if room.public and name > after)
        return [room for room in map(self.room, names[:limit]) if room]

    def members(self, room: str, after: str, limit: int) -> list[Member]:
        known = self._rooms.get(room)
        roles = sorted(known.roles.items()) if known else []
        return [Member(user, role) for user, role in roles if user > after and role is not Role.BANNED][:limit]

    def owners(self, room: str) -> list[str]:
        known = self._rooms.get(room)
        return sorted(user for user, role in known.roles.items() if role is Role.OWNER) if known else []

    def devices(self, user: str) -> list[DeviceInfo]:
        account = self._users.get(user)
        devices = sorted(account.devices.items()) if account else []
        return [DeviceInfo(name, known.created_ms, known.seen_ms) for name, known in devices if known.opened]

    def blocked_by(self, user: str) -> list[str]:
        account = self._users.get(user)
        return sorted(account.blocked) if account else []

    def shares(self, user: str, other: str) -> bool:
        first, second = self._users.get(user), self._users.get(other)
        return bool(first and second and first.joined.keys() & second.joined.keys())

    def contacts(self, user: str, limit: int) -> list[str]:
        account = self._users.get(user)
        if account is None:
            return []
        shared = {name for name in account.joined if name not in self._rooms or self._inside(name) <= CONTACT_ROOM_MAX}
        names = sorted(name for name, other in self._users.items() if other.joined.keys() & shared and name != user)
        return names[:limit]

    def last_seen_ms(self, user: str) -> int | None:
        account = self._users.get(user)
        return max((known.seen_ms for known in account.devices.values()), default=None) if account else None

    def account(self, name: str) -> Account | None:
        user = self._users.get(name)
        return user.account if user else None

    def iterations(self) -> dict[int, int]:
        return dict(Counter(user.account.credentials.iterations for user in list(self._users.values())))

    def accounts(self) -> list[Account]:
        return [user.account for _, user in sorted(self._users.items())]

    def close(self) -> None:
        pass

    def _kept(self, conversation: str) -> _Kept:
        log = self._logs.get(conversation)
        return log.kept if log else _Kept(1, [], [])

    def _inside(self, room: str) -> int:
        return sum(role.inside for role in self._rooms[room].roles.values())

    def _describe(self, user: str, device: str, name: str) -> ConversationInfo:
        account, room, kept = self._users[user], self._rooms.get(name), self._kept(name)
        known = account.devices.get(device)
        delivered = known.cursors.get(name, (0, 0))[0] if known else 0
        read = max((other.cursors.get(name, (0, 0))[1] for other in account.devices.values()), default=0)
        joined = account.joined[name]
        first = kept.first if room else max(kept.first, joined + 1)
        time_ms = kept.entries[-1].time_ms if kept.entries else 0
        return ConversationInfo(
            name, room.title if room else "", first, kept.head, max(delivered, joined), read, time_ms
        )


class MemoryStore(MemoryFileStore, _MemoryReader, Store):
    """A store that forgets everything with the process."""

    def __init__(self, retention: Retention = KEEP_ALL) -> None:
        users: dict[str, _User] = {}
        rooms: dict[str, _Room] = {}
        super().__init__(users, {}, rooms, MemoryFiles(users, rooms))
        self._retention = retention
        # Logs of rooms that ended, until the next sweep.
        self._ended: list[_Log] = []
        self._secret = os.urandom(32)
        self._generation = os.urandom(8).hex()
        self._changes: dict[str, None] = {}
        self._listening = False

    def __repr__(self) -> str:
        return f"<MemoryStore: {len(self._users)} users, {len(self._logs)} conversations>"

    def group(self) -> AbstractContextManager[None]:
        return nullcontext()

    def maintain(self, idle: bool) -> bool:
        return False

    def sweep(self, time_ms: int) -> None:
        for log in self._ended:
            log.let_go(len(log.kept.entries))
        self._ended.clear()
        age_ms, limit_bytes, _ = self._retention
        for log in self._logs.values():
            if age_ms:
                log.let_go(sum(1 for _ in takewhile(lambda entry: entry.time_ms < time_ms - age_ms, log.kept.entries)))
            if limit_bytes:
                log.let_go(_surplus(log.kept.entries, limit_bytes))

    def append(self, items: Sequence[Append], time_ms: int) -> list[Answer]:
        return [together([self._append(part, time_ms) for part in item.apart()]) for item in items]

    def last_message_id(self, user: str, device: str) -> int:
        known = self._device(user, device)
        return next(reversed(known.sent), 0) if known else 0

    def arrival(self, user: str, device: str) -> Arrival:
        rooms = [room.name for room, role in self.rooms_of(user) if role is not None and role.inside]
        return Arrival(self.last_message_id(user, device), rooms, self.blocked_by(user))

    def open_device(self, user: str, device: str, start: int | None, time_ms: int) -> bool:
        account = self._user(user)
        lasting = any(known.opened and not is_temporary(name) for name, known in account.devices.items())
        known = account.devices.setdefault(device, _Device(time_ms))
        known.seen_ms = max(known.seen_ms, time_ms)
        if known.opened:
            return False
        known.opened, known.created_ms = True, time_ms
        if start is None and not lasting and not is_temporary(device):
            return True
        for conversation, joined in account.joined.items():
            known.cursors[conversation] = (max(joined, self.head(conversation) - (start or 0)), 0)
        return True

    def advance(self, cursors: Sequence[Cursor]) -> None:
        for user, device, conversation, delivered, read in cursors:
            known = self._device(user, device)
            if known is None or not known.opened or conversation not in self._users[user].joined:
                continue
            head = self.head(conversation)
            was, was_read = known.cursors.get(conversation, (0, 0))
            known.cursors[conversation] = (max(was, min(delivered, head)), max(was_read, min(read or 0, head)))

    def seen(self, devices: Sequence[tuple[str, str]], time_ms: int) -> None:
        for user, device in devices:
            if known := self._device(user, device):
                known.seen_ms = max(known.seen_ms, time_ms)

    def forget_devices(self, unused_since_ms: int, lasting_since_ms: int = 0) -> int:
        count = 0
        for user in self._users.values():
            for name in list(user.devices):
                if user.devices[name].seen_ms < (unused_since_ms if is_temporary(name) else lasting_since_ms):
                    del user.devices[name]
                    count += 1
        return count

    def forget_device(self, user: str, device: str) -> bool:
        if user in self._users:
            self._users[user].tickets.pop(device, None)
        known = self._device(user, device)
        if known is None:
            return False
        del self._users[user].devices[device]
        return known.opened

    def create_room(self, name: str, title: str, public: bool, owner: str, time_ms: int) -> None:
        self._user(owner)
        if name in self._rooms:
            raise RoomExistsError(f"there is a room {name} already")
        self._rooms[name] = _Room(title, public, time_ms)
        self._logs[name] = _Log()
        self.set_role(name, owner, Role.OWNER, time_ms)

    def set_room(self, name: str, title: str, public: bool) -> None:
        if room := self._rooms.get(name):
            room.title, room.public = title, public

    def remove_room(self, name: str) -> None:
        if self._rooms.pop(name, None) is None:
            return
        self._ended.append(self._logs.pop(name))
        for user in self._users.values():
            _leave(user, name)

    def set_role(self, room: str, user: str, role: Role | None, time_ms: int) -> None:
        known, account = self._rooms.get(room), self._users.get(user)
        if known is None or account is None:
            return
        if role is None:
            known.roles.pop(user, None)
        else:
            known.roles[user] = role
        if role is None or not role.inside:
            _leave(account, room)
        else:
            account.joined.setdefault(room, self.head(room))

    def block(self, user: str, blocked: str) -> None:
        if user in self._users and blocked in self._users:
            self._users[user].blocked.add(blocked)

    def unblock(self, user: str, blocked: str) -> None:
        if user in self._users:
            self._users[user].blocked.discard(blocked)

    def add_account(self, name: str, credentials: Credentials, bot: bool, time_ms: int) -> None:
        if name in self._users:
            raise AccountExistsError(f"the account {name!r} exists already")
        self._users[name] = _User(Account(name, credentials, bot, False, time_ms))

    def set_credentials(self, name: str, credentials: Credentials) -> None:
        self._change(name, lambda account: account._replace(credentials=credentials))
        self._users[name].tickets.clear()

    def set_disabled(self, name: str, disabled: bool) -> None:
        self._change(name, lambda account: account._replace(disabled=disabled))
        self._users[name].tickets.clear()

    def remove_account(self, name: str) -> None:
        self._user(name)
        self._kept_files.forget_owner(name)
        del self._users[name]
        for room in list(self._rooms):
            role = self._rooms[room].roles.pop(name, None)
            if role is not None and role.inside:
                self._hand_over(room)
        for user in self._users.values():
            user.blocked.discard(name)
        self._changes[name] = None

    def account_changes(self) -> list[str]:
        changes = list(self._changes) if self._listening else []
        self._changes, self._listening = {}, True
        return changes

    def hold_ticket(self, user: str, device: str, login_key: bytes, ticket: HeldTicket) -> bool:
        account = self._users.get(user)
        if account is None or account.account.disabled or account.account.credentials.stored_key != login_key:
            return False
        account.tickets[device] = ticket
        return True

    def held_ticket(self, user: str, device: str) -> HeldTicket | None:
        account = self._users.get(user)
        return account.tickets.get(device) if account else None

    def keep_tickets(self, devices: Sequence[tuple[str, str]], until_ms: int) -> None:
        for user, device in devices:
            if held := self.held_ticket(user, device):
                self._users[user].tickets[device] = held._replace(until_ms=max(held.until_ms, until_ms))

    def forget_tickets(self, now_ms: int) -> int:
        count = 0
        for user in self._users.values():
            for device in [device for device, held in user.tickets.items() if held.until_ms <= now_ms]:
                del user.tickets[device]
                count += 1
        return count

    def secret(self) -> bytes:
        return self._secret

    def generation(self) -> str:
        return self._generation

    def reader(self) -> Reader:
        return _MemoryReader(self._users, self._logs, self._rooms, self._kept_files)

    def _append(self, item: Append, time_ms: int) -> Appended | Refusal:
        known = self._device(item.user, item.device)
        if (answer := known and _answer_again(known, item)) or (answer := self._over_quota(item)):
            return answer
        members = conversation_members(item.conversation)
        if members is None:
            role = self.role(item.conversation, item.user)
            if role is None or not role.inside:
                sentence = f"there is no room {item.conversation}, or you are not in it"
                return Refusal(ErrorCode.NO_SUCH_ROOM, sentence)
        elif refusal := self._direct_obstacle(members, item.user):
            return refusal
        log = self._logs.setdefault(item.conversation, _Log())
        for user in members or ():
            self._users[user].joined.setdefault(item.conversation, log.kept.head)
        known = known or self._users[item.user].devices.setdefault(item.device, _Device(time_ms))
        known.seen_ms = max(known.seen_ms, time_ms)
        entry = log.append(time_ms, item.packet, self._users[item.user])
        _remember(known, item.message_id, log, entry)
        return Appended(entry.offset, time_ms)

    def _over_quota(self, item: Append) -> Refusal | None:
        allowed, size, sender = self._retention.user_bytes, len(item.packet), self._users.get(item.user)
        used = sender.used if sender else 0
        return quota_exceeded(used, size, allowed) if allowed and used + size > allowed else None

    def _hand_over(self, room: str) -> None:
        """Somebody inside is gone: see that the room has an owner, or end it."""
        roles = self._rooms[room].roles
        inside = [user for user, role in roles.items() if role.inside]
        if not inside:
            self.remove_room(room)
        elif not self.owners(room):
            heir = min(inside, key=lambda user: (roles[user] != Role.MODERATOR, self._users[user].joined[room], user))
            roles[heir] = Role.OWNER

    def _direct_obstacle(self, members: tuple[str, str], sender: str) -> Refusal | None:
        other = members[0] if members[1] == sender else members[1]
        if other in self._users and sender in self._users[other].blocked:
            return Refusal(ErrorCode.BLOCKED, f"{other} does not take messages from you")
        for user in (*members, sender):
            if user not in self._users:
                return Refusal(ErrorCode.NO_SUCH_USER, f"there is no user {user!r}")
        return None

    def _user(self, name: str) -> _User:
        user = self._users.get(name)
        if user is None:
            raise NoSuchAccountError(f"there is no account {name!r}")
        return user

    def _device(self, user: str, device: str) -> _Device | None:
        account = self._users.get(user)
        return account.devices.get(device) if account else None

    def _change(self, name: str, change: Callable[[Account], Account]) -> None:
        user = self._user(name)
        user.account = change(user.account)
        self._changes[name] = None


def _leave(user: _User, conversation: str) -> None:
    user.joined.pop(conversation, None)
    for device in user.devices.values():
        device.cursors.pop(conversation, None)


def _answer_again(device: _Device, item: Append) -> Appended | Refusal | None:
    """The answer to a message id that was stored before or is too old; None for a new one."""
    if item.message_id in device.sent:
        log, (offset, time_ms, packet) = device.sent[item.message_id]
        if offset < log.kept.first:
            return deleted_since(item.message_id)
        if packet != item.packet:
            return Refusal(ErrorCode.ID_REUSED, f"message id {item.message_id} was used for another message")
        return Appended(offset, time_ms, True)
    if len(device.sent) >= MESSAGE_WINDOW and item.message_id < next(iter(device.sent)):
        return Refusal(
            ErrorCode.ID_REUSED,
            f"message id {item.message_id} is more than {MESSAGE_WINDOW} messages old; ids must grow",
        )
    return None


def _remember(device: _Device, message_id: int, log: _Log, entry: Entry) -> None:
    in_order = message_id > next(reversed(device.sent), 0)
    device.sent[message_id] = log, entry
    if not in_order:
        device.sent = dict(sorted(device.sent.items()))
    if len(device.sent) > MESSAGE_WINDOW:
        del device.sent[next(iter(device.sent))]


def _surplus(entries: Sequence[Entry], limit_bytes: int) -> int:
    """How many of the oldest have to go so that the others have at most `limit_bytes`."""
    surplus = sum(len(entry.packet) for entry in entries) - limit_bytes
    count = 0
    while surplus > 0:
        surplus -= len(entries[count].packet)
        count += 1
    return count
