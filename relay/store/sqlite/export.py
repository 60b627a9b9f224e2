"""Everything in a database as records for JSON lines, and the order they come in. `intake` makes a database of them.

One snapshot, one record at a time. What is random in each database (its secret, the generation of its logs, its numbers
for things) is left out, so that an export of what was imported is the same again.
"""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from relay.protocol.errors import RemoteError
from relay.protocol.packets import Message, decode, encode_payload
from relay.store.sqlite.cache import Cache
from relay.store.sqlite.database import damaged
from relay.store.sqlite.rooms import ROLE_NUMBERS
from relay.store.sqlite.snapshot import Snapshot, StoredMessage

Record = dict[str, Any]

FORMAT = 1

# Users, and what hangs on them; rooms that ended are left out, as nobody can ask for them.
_CONVERSATIONS = """
SELECT c.name, c.created_ms, c.first_kept, r.title, r.public
FROM conversations c LEFT JOIN rooms r ON r.conversation_id = c.id
WHERE c.kind = 0 OR r.title NOTNULL ORDER BY c.name
"""
_MEMBERS = """
SELECT c.name, u.name, m.role, m.joined
FROM members m JOIN conversations c ON c.id = m.conversation_id JOIN users u ON u.id = m.user_id
ORDER BY c.name, u.name
"""
_DEVICES = """
SELECT u.name, d.name, d.opened, d.created_ms, d.seen_ms FROM devices d JOIN users u ON u.id = d.user_id
ORDER BY u.name, d.name
"""
_CURSORS = """
SELECT u.name, d.name, c.name, k.delivered, k.read
FROM cursors k JOIN devices d ON d.id = k.device_id JOIN users u ON u.id = d.user_id
JOIN conversations c ON c.id = k.conversation_id ORDER BY u.name, d.name, c.name
"""
_BLOCKS = """
SELECT u.name, b.name FROM blocks JOIN users u ON u.id = user_id JOIN users b ON b.id = blocked_id
ORDER BY u.name, b.name
"""

_ROLES = {number: str(role) for role, number in ROLE_NUMBERS.items()}


@contextmanager
def exporting(path: Path, keys: bool) -> Iterator[tuple[int, Iterator[Record]]]:
    """The number of messages in the database file, and all its records. `keys`: with what passwords are checked by.

    Raises StoreError, also while the records are taken: nothing altered is ever among them.
    """
    with Snapshot(path) as snapshot, snapshot.database.reading():
        yield snapshot.count_messages(), _Export(snapshot, keys).records()


class _Export:
    def __init__(self, snapshot: Snapshot, keys: bool) -> None:
        self._snapshot = snapshot
        self._keys = keys
        self._devices: Cache[int, tuple[str, ...]] = Cache(self._find_device)
        self._conversations: Cache[int, tuple[str, ...]] = Cache(self._find_conversation)

    def records(self) -> Iterator[Record]:
        count = 0
        for record in self._parts():
            count += 1
            yield record
        # Without it the export is known to be cut off.
        yield {"type": "end", "records": count}

    def _parts(self) -> Iterator[Record]:
        yield {"type": "relay", "format": FORMAT, "keys": self._keys}
        yield from self._users()
        execute = self._snapshot.database.execute
        for name, created_ms, first, title, public in execute(_CONVERSATIONS):
            head = self._snapshot.reader.head(name)
            record = {"type": "conversation", "name": name, "created_ms": created_ms, "first": first, "head": head}
            yield record if title is None else record | {"title": title, "public": bool(public)}
        for name, user, role, joined in execute(_MEMBERS):
            yield {"type": "member", "conversation": name, "user": user, "role": _ROLES[role], "joined": joined}
        for user, name, opened, created_ms, seen_ms in execute(_DEVICES):
            yield {"type": "device", "user": user, "name": name, "opened": bool(opened), "created_ms": created_ms,
                   "seen_ms": seen_ms, "last_message_id": self._snapshot.last_message_id(user, name)}  # fmt: skip
        for user, device, name, delivered, read in execute(_CURSORS):
            yield {"type": "cursor", "user": user, "device": device, "conversation": name,
                   "delivered": delivered, "read": read}  # fmt: skip
        for user, blocked in execute(_BLOCKS):
            yield {"type": "block", "user": user, "blocked": blocked}
        for message in self._snapshot.messages():
            if names := self._conversations[message.conversation_id]:
                yield self._message(names[0], message)

    def _users(self) -> Iterator[Record]:
        sql = (
            "SELECT name, bot, disabled, created_ms, salt, iterations, stored_key, server_key FROM users ORDER BY name"
        )
        for name, bot, disabled, created_ms, salt, iterations, *keys in self._snapshot.database.execute(sql):
            record = {"type": "user", "name": name, "bot": bool(bot), "disabled": bool(disabled)}
            record |= {"created_ms": created_ms}
            if self._keys:
                record |= {"salt": _base64(salt), "iterations": iterations}
                record |= {"stored_key": _base64(keys[0]), "server_key": _base64(keys[1])}
            yield record

    def _message(self, conversation: str, message: StoredMessage) -> Record:
        record: Record = {"type": "message", "conversation": conversation, "offset": message.offset}
        record |= {"time_ms": message.time_ms, "id": message.message_id}
        sender = self._devices[message.device_id]
        packet = _plain(message)
        if packet is None or (sender and packet.sender != "/".join(sender)):
            return record | {"from": "/".join(sender) or None, "packet": _base64(message.packet)}
        record |= {"from": packet.sender, "to": packet.to, "content_type": packet.content_type}
        record["body"] = _text(packet.body)
        return record if sender else record | {"forgotten": True}

    def _find_device(self, number: int) -> tuple[str, ...]:
        sql = "SELECT u.name, d.name FROM devices d JOIN users u ON u.id = d.user_id WHERE d.id = ?"
        return self._snapshot.database.row(sql, (number,)) or ()

    def _find_conversation(self, number: int) -> tuple[str, ...]:
        """Its name; nothing for a room that ended."""
        sql = "SELECT kind, name FROM conversations WHERE id = ?"
        found = self._snapshot.database.row(sql, (number,))
        if found is None:
            raise damaged(self._snapshot.path, f"conversation {number}")
        known = "SELECT 1 FROM rooms WHERE conversation_id = ?"
        return () if found[0] and not self._snapshot.database.row(known, (number,)) else found[1:]


def _plain(message: StoredMessage) -> Message | None:
    """The packet, if its fields say everything about it."""
    try:
        packet = decode(message.packet)
    except RemoteError:
        return None
    whole = isinstance(packet, Message) and packet.id == message.message_id
    return packet if whole and isinstance(packet, Message) and encode_payload(packet) == message.packet else None


def _text(body: bytes) -> str | Record:
    """Bytes that are UTF-8 as text, others in base64."""
    try:
        return body.decode()
    except UnicodeDecodeError:
        return {"base64": _base64(body)}


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
