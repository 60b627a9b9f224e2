"""Devices and their cursors: where each device is in each conversation of its user."""

from collections.abc import Sequence
from typing import Any

from relay.protocol.addresses import is_temporary
from relay.store.base import Cursor, NoSuchAccountError
from relay.store.sqlite.database import Database
from relay.store.sqlite.log import Log

# A conversation of an opened device: where its user joined.
_PLACE = """
SELECT d.id, c.id, m.joined
FROM users u
JOIN devices d ON d.user_id = u.id AND d.name = ?2 AND d.opened
JOIN members m ON m.user_id = u.id AND m.role >= 0
JOIN conversations c ON c.id = m.conversation_id AND c.name = ?3
WHERE u.name = ?1
"""

_ADVANCE = """
INSERT INTO cursors (device_id, conversation_id, delivered, read) VALUES (?, ?, ?, ?)
ON CONFLICT DO UPDATE SET delivered = max(delivered, excluded.delivered), read = max(read, excluded.read)
"""

# A message counts as being seen; its time is in the latest block of ids, or still in memory.
_UNUSED = """
SELECT id, user_id FROM devices d
WHERE temporary = ?1 AND seen_ms < ?2 AND NOT EXISTS (SELECT 1 FROM sent WHERE device_id = d.id AND time_ms >= ?2)
"""


class Devices:
    """The writing side of devices and cursors. Methods raise StoreError."""

    def __init__(self, database: Database, log: Log) -> None:
        self._database = database
        self._log = log

    def open(self, user: str, device: str, start: int | None, time_ms: int) -> bool:
        """See Store.open_device."""
        execute = self._database.execute
        with self._database.change():
            row = self._database.row("SELECT id FROM users WHERE name = ?", (user,))
            if row is None:
                raise NoSuchAccountError(f"there is no account {user!r}")
            sql = "SELECT id, opened FROM devices WHERE user_id = ? AND name = ?"
            known = self._database.row(sql, (row[0], device))
            if known and known[1]:
                execute("UPDATE devices SET seen_ms = max(seen_ms, ?) WHERE id = ?", (time_ms, known[0]))
                return False
            from_beginning = start is None and self._is_first_lasting(row[0], device)
            device_id = self._make_known(row[0], device, known[0] if known else None, time_ms)
            self._log.forget_device(user, device)
            if not from_beginning:
                self._start_cursors(row[0], device_id, start or 0)
            return True

    def advance(self, cursors: Sequence[Cursor]) -> None:
        """See Store.advance."""
        with self._database.change():
            for user, device, conversation, delivered, read in cursors:
                row = self._database.row(_PLACE, (user, device, conversation))
                if row is None:
                    continue
                device_id, conversation_id, joined = row
                head = self._log.head(conversation_id)
                place = (max(joined, min(delivered, head)), min(read or 0, head))
                self._database.execute(_ADVANCE, (device_id, conversation_id, *place))

    def seen(self, devices: Sequence[tuple[str, str]], time_ms: int) -> None:
        """See Store.seen."""
        sql = (
            "UPDATE devices SET seen_ms = max(seen_ms, ?) "
            "WHERE name = ? AND user_id = (SELECT id FROM users WHERE name = ?)"
        )
        with self._database.change():
            for user, device in devices:
                self._database.execute(sql, (time_ms, device, user))

    def forget(self, unused_since_ms: int, lasting_since_ms: int) -> int:
        """See Store.forget_devices."""
        with self._database.change():
            count = self._forget(True, unused_since_ms)
            if lasting_since_ms:
                count += self._forget(False, lasting_since_ms)
        if count:
            self._log.forget()
        return count

    def forget_one(self, user: str, device: str) -> bool:
        """See Store.forget_device."""
        sql = (
            "SELECT d.id, d.user_id, d.opened FROM devices d JOIN users u ON u.id = d.user_id "
            "WHERE u.name = ? AND d.name = ?"
        )
        with self._database.change():
            self._database.execute(
                "DELETE FROM tickets WHERE device = ? AND user_id = (SELECT id FROM users WHERE name = ?)",
                (device, user),
            )
            known = self._database.row(sql, (user, device))
            if known is None:
                return False
            device_id, user_id, opened = known
            self._remove(device_id, user_id)
        self._log.forget_device(user, device)
        return bool(opened)

    def _forget(self, temporary: bool, since_ms: int) -> int:
        rows = self._database.rows(_UNUSED, (temporary, since_ms))
        unused = [row for row in rows if not self._sent_since(row[0], since_ms)]
        for device_id, user_id in unused:
            self._remove(device_id, user_id)
        return len(unused)

    def _remove(self, device_id: int, user_id: int) -> None:
        remove_devices(self._database, "VALUES (?)", (device_id,))
        self._log.usage.keep_sender(device_id, user_id)

    def _sent_since(self, device_id: int, time_ms: int) -> bool:
        window = self._log.unindexed.window(device_id)
        return window is not None and window.seen_ms >= time_ms

    def _is_first_lasting(self, user_id: int, device: str) -> bool:
        if is_temporary(device):
            return False
        sql = "SELECT 1 FROM devices WHERE user_id = ? AND opened AND NOT temporary"
        return self._database.row(sql, (user_id,)) is None

    def _make_known(self, user_id: int, device: str, device_id: int | None, time_ms: int) -> int:
        if device_id is not None:
            sql = "UPDATE devices SET opened = 1, seen_ms = max(seen_ms, ?), created_ms = ? WHERE id = ?"
            self._database.execute(sql, (time_ms, time_ms, device_id))
            return device_id
        self._database.execute(
            "INSERT INTO devices (user_id, name, temporary, opened, seen_ms, created_ms) VALUES (?, ?, ?, 1, ?, ?)",
            (user_id, device, is_temporary(device), time_ms, time_ms),
        )
        return self._database.connection.last_insert_rowid()

    def _start_cursors(self, user_id: int, device_id: int, start: int) -> None:
        """Put the device `start` messages before the head of each conversation of its user."""
        sql = "SELECT conversation_id, joined FROM members WHERE user_id = ? AND role >= 0"
        for conversation_id, joined in self._database.rows(sql, (user_id,)):
            delivered = max(joined, self._log.head(conversation_id) - start)
            self._database.execute(_ADVANCE, (device_id, conversation_id, delivered, 0))


def remove_devices(database: Database, select: str, bindings: Sequence[Any]) -> None:
    """Remove the devices whose ids a query selects, with their cursors and message ids."""
    for table, column in (("cursors", "device_id"), ("sent", "device_id"), ("devices", "id")):
        database.execute(f"DELETE FROM {table} WHERE {column} IN ({select})", bindings)  # noqa: S608
