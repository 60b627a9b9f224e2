"""The store without a disk: the same answers, gone with the process. For tests and for relays that need keep nothing.

It is also the plainest statement of what a store does: the SQLite store is compared with it.
"""

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

from relay.protocol.addresses import conversation_members, is_temporary
from relay.protocol.codes import ErrorCode
from relay.protocol.limits import MESSAGE_WINDOW
from relay.protocol.scram import Credentials
from relay.store.base import (
    Account,
    AccountExistsError,
    Append,
    Appended,
    Backlog,
    Cursor,
    Entry,
    NoSuchAccountError,
    Reader,
    Refusal,
    Store,
)


@dataclass(slots=True)
class _Device:
    """A device of a user. `opened` says that messages are kept for it."""

    seen_ms: int
    opened: bool = False
    # The latest MESSAGE_WINDOW message ids, ascending, and what was stored under them.
    sent: dict[int, Entry] = field(default_factory=dict)
    # Conversation -> (delivered, read).
    cursors: dict[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(slots=True)
class _User:
    """An account with its devices and, by conversation, the offset after which it joined."""

    account: Account
    devices: dict[str, _Device] = field(default_factory=dict)
    joined: dict[str, int] = field(default_factory=dict)


class _MemoryReader(Reader):
    """Reads what the store holds. Other threads may do so while it changes: every look at a container is one step."""

    def __init__(self, users: dict[str, _User], logs: dict[str, list[Entry]]) -> None:
        self._users = users
        self._logs = logs

    def read(self, conversation: str, after: int, limit: int, limit_bytes: int) -> list[Entry]:
        after = max(after, 0)
        entries = self._logs.get(conversation, [])[after : after + limit]
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
            head = len(self._logs[conversation])
            if head > delivered:
                behind.append(Backlog(conversation, delivered, head))
        return behind

    def joined(self, user: str, conversation: str) -> int | None:
        account = self._users.get(user)
        return account.joined.get(conversation) if account else None

    def account(self, name: str) -> Account | None:
        user = self._users.get(name)
        return user.account if user else None

    def accounts(self) -> list[Account]:
        return [user.account for _, user in sorted(self._users.items())]

    def close(self) -> None:
        pass


class MemoryStore(_MemoryReader, Store):
    """A store that forgets everything with the process."""

    def __init__(self) -> None:
        super().__init__({}, {})
        self._secret = os.urandom(32)
        self._changes: dict[str, None] = {}
        self._listening = False

    def __repr__(self) -> str:
        return f"<MemoryStore: {len(self._users)} users, {len(self._logs)} conversations>"

    def group(self) -> AbstractContextManager[None]:
        return nullcontext()

    def maintain(self, idle: bool) -> bool:
        return False

    def append(self, items: Sequence[Append], time_ms: int) -> list[Appended | Refusal]:
        return [self._append(item, time_ms) for item in items]

    def last_message_id(self, user: str, device: str) -> int:
        known = self._device(user, device)
        return next(reversed(known.sent), 0) if known else 0

    def open_device(self, user: str, device: str, start: int | None, time_ms: int) -> None:
        account = self._user(user)
        lasting = any(known.opened and not is_temporary(name) for name, known in account.devices.items())
        known = account.devices.setdefault(device, _Device(time_ms))
        known.seen_ms = max(known.seen_ms, time_ms)
        if known.opened:
            return
        known.opened = True
        if start is None and not lasting and not is_temporary(device):
            return
        for conversation, joined in account.joined.items():
            known.cursors[conversation] = (max(joined, len(self._logs[conversation]) - (start or 0)), 0)

    def advance(self, cursors: Sequence[Cursor]) -> None:
        for user, device, conversation, delivered, read in cursors:
            known = self._device(user, device)
            if known is None or not known.opened or conversation not in self._users[user].joined:
                continue
            head = len(self._logs[conversation])
            was, was_read = known.cursors.get(conversation, (0, 0))
            known.cursors[conversation] = (max(was, min(delivered, head)), max(was_read, min(read or 0, head)))

    def seen(self, devices: Sequence[tuple[str, str]], time_ms: int) -> None:
        for user, device in devices:
            if known := self._device(user, device):
                known.seen_ms = max(known.seen_ms, time_ms)

    def forget_devices(self, unused_since_ms: int) -> int:
        count = 0
        for user in self._users.values():
            for name in [name for name in user.devices if is_temporary(name)]:
                if user.devices[name].seen_ms < unused_since_ms:
                    del user.devices[name]
                    count += 1
        return count

    def add_account(self, name: str, credentials: Credentials, bot: bool, time_ms: int) -> None:
        if name in self._users:
            raise AccountExistsError(f"the account {name!r} exists already")
        self._users[name] = _User(Account(name, credentials, bot, False, time_ms))

    def set_credentials(self, name: str, credentials: Credentials) -> None:
        self._change(name, lambda account: account._replace(credentials=credentials))

    def set_disabled(self, name: str, disabled: bool) -> None:
        self._change(name, lambda account: account._replace(disabled=disabled))

    def remove_account(self, name: str) -> None:
        self._user(name)
        del self._users[name]
        self._changes[name] = None

    def account_changes(self) -> list[str]:
        changes = list(self._changes) if self._listening else []
        self._changes, self._listening = {}, True
        return changes

    def secret(self) -> bytes:
        return self._secret

    def reader(self) -> Reader:
        return _MemoryReader(self._users, self._logs)

    def _append(self, item: Append, time_ms: int) -> Appended | Refusal:
        known = self._device(item.user, item.device)
        if known and (answer := _answer_again(known, item)):
            return answer
        members = conversation_members(item.conversation)
        if members is None:
            return Refusal(ErrorCode.NO_SUCH_ROOM, f"there is no room {item.conversation!r}")
        for user in (*members, item.user):
            if user not in self._users:
                return Refusal(ErrorCode.NO_SUCH_USER, f"there is no user {user!r}")
        log = self._logs.setdefault(item.conversation, [])
        for user in members:
            self._users[user].joined.setdefault(item.conversation, len(log))
        known = known or self._users[item.user].devices.setdefault(item.device, _Device(time_ms))
        known.seen_ms = max(known.seen_ms, time_ms)
        entry = Entry(len(log) + 1, time_ms, item.packet)
        log.append(entry)
        _remember(known, item.message_id, entry)
        return Appended(entry.offset, time_ms)

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


def _answer_again(device: _Device, item: Append) -> Appended | Refusal | None:
    """The answer to a message id that was stored before or is too old; None for a new one."""
    if item.message_id in device.sent:
        offset, time_ms, packet = device.sent[item.message_id]
        if packet != item.packet:
            return Refusal(ErrorCode.ID_REUSED, f"message id {item.message_id} was used for another message")
        return Appended(offset, time_ms, True)
    if len(device.sent) >= MESSAGE_WINDOW and item.message_id < next(iter(device.sent)):
        return Refusal(
            ErrorCode.ID_REUSED,
            f"message id {item.message_id} is more than {MESSAGE_WINDOW} messages old; ids must grow",
        )
    return None


def _remember(device: _Device, message_id: int, entry: Entry) -> None:
    in_order = message_id > next(reversed(device.sent), 0)
    device.sent[message_id] = entry
    if not in_order:
        device.sent = dict(sorted(device.sent.items()))
    if len(device.sent) > MESSAGE_WINDOW:
        del device.sent[next(iter(device.sent))]
