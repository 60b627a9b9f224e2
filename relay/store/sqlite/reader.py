"""The read side: pages of the logs, backlogs, accounts. One connection and one thread each.

What was appended lately is found in memory, see `tail`; the rest through the index.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw

from relay.protocol.scram import Credentials
from relay.store.base import Account, Backlog, Entry, Reader, StoreBrokenError
from relay.store.sqlite.database import explain, open_for_reading
from relay.store.sqlite.tail import Unindexed, decode_integers

_ACCOUNT = "SELECT name, salt, iterations, stored_key, server_key, bot, disabled, created_ms FROM users"

_BACKLOG = """
SELECT c.id, c.name, m.joined, k.delivered,
    (SELECT first_offset + length(seqs) / 8 - 1 FROM runs WHERE conversation_id = c.id
     ORDER BY first_offset DESC LIMIT 1)
FROM users u
JOIN devices d ON d.user_id = u.id AND d.name = ?2 AND d.opened
JOIN members m ON m.user_id = u.id
JOIN conversations c ON c.id = m.conversation_id
LEFT JOIN cursors k ON k.device_id = d.id AND k.conversation_id = c.id
WHERE u.name = ?1
ORDER BY c.name
"""

# The run that holds an offset, and those behind it.
_RUNS = """
SELECT first_offset, seqs FROM runs
WHERE conversation_id = ?1 AND first_offset >= coalesce(
    (SELECT max(first_offset) FROM runs WHERE conversation_id = ?1 AND first_offset <= ?2), 0)
ORDER BY first_offset
"""

_JOINED = """
SELECT m.joined FROM users u
JOIN members m ON m.user_id = u.id
JOIN conversations c ON c.id = m.conversation_id
WHERE u.name = ? AND c.name = ?
"""

# CROSS: in the order of the array.
_ROWS = """
SELECT log."offset", log.time_ms, log.packet FROM json_each(?) AS wanted CROSS JOIN log ON log.seq = wanted.value
"""


class SqliteReader(Reader):
    """Reads through a connection of its own, or through the writer's, if that is given."""

    def __init__(self, path: Path, unindexed: Unindexed, connection: apsw.Connection | None = None) -> None:
        self._path = path
        self._unindexed = unindexed
        with self._explained():
            self._connection = connection or open_for_reading(path)

    def read(self, conversation: str, after: int, limit: int, limit_bytes: int) -> list[Entry]:
        with self._explained():
            row = self._connection.execute("SELECT id FROM conversations WHERE name = ?", (conversation,)).fetchone()
            if row is None:
                return []
            seqs = self._seqs(row[0], max(after, 0), limit)
            return self._entries(conversation, max(after, 0) + 1, seqs, limit_bytes)

    def backlog(self, user: str, device: str) -> list[Backlog]:
        behind = []
        # Memory first: what is being indexed meanwhile is in the database by the time it is read.
        recent = self._unindexed.snapshot()
        with self._explained():
            for conversation_id, name, joined, delivered, indexed in self._connection.execute(_BACKLOG, (user, device)):
                head = max(recent.head(conversation_id) or 0, indexed or 0)
                start = max(joined, delivered or 0)
                if head > start:
                    behind.append(Backlog(name, start, head))
        return behind

    def joined(self, user: str, conversation: str) -> int | None:
        with self._explained():
            row = self._connection.execute(_JOINED, (user, conversation)).fetchone()
            return row[0] if row else None

    def account(self, name: str) -> Account | None:
        with self._explained():
            row = self._connection.execute(f"{_ACCOUNT} WHERE name = ?", (name,)).fetchone()
            return _account(row) if row else None

    def accounts(self) -> list[Account]:
        with self._explained():
            return [_account(row) for row in self._connection.execute(f"{_ACCOUNT} ORDER BY name")]

    def close(self) -> None:
        self._connection.close()

    def _seqs(self, conversation_id: int, after: int, limit: int) -> list[int]:
        """The seqs of the offsets above `after`, at most `limit`."""
        recent = self._unindexed.after(conversation_id, after, limit)
        if recent and recent[0] <= after + 1:
            return recent[1]
        seqs: list[int] = []
        for first, data in self._connection.execute(_RUNS, (conversation_id, after + 1)):
            numbers = decode_integers(data)
            seqs += numbers[max(0, after + 1 - first) :]
            if len(seqs) >= limit:
                break
        if recent:
            # Indexed meanwhile: the same offsets may be in both.
            del seqs[recent[0] - after - 1 :]
            seqs += recent[1]
        return seqs[:limit]

    def _entries(self, conversation: str, offset: int, seqs: list[int], limit_bytes: int) -> list[Entry]:
        """The messages with these seqs, which have the offsets from `offset` on, as far as `limit_bytes` goes."""
        entries: list[Entry] = []
        total_bytes = 0
        for row in self._connection.execute(_ROWS, (json.dumps(seqs),)):
            total_bytes += len(row[2])
            if entries and total_bytes > limit_bytes:
                return entries
            if row[0] != offset + len(entries):
                break
            entries.append(Entry(*row))
        if len(entries) < len(seqs):
            raise StoreBrokenError(
                f"message {offset + len(entries)} of {conversation} is missing in {self._path}: "
                f"the database is damaged; restore it from a backup"
            )
        return entries

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except apsw.Error as error:
            raise explain(error, self._path) from error


def _account(row: tuple[Any, ...]) -> Account:
    name, salt, iterations, stored_key, server_key, bot, disabled, created_ms = row
    return Account(name, Credentials(salt, iterations, stored_key, server_key), bool(bot), bool(disabled), created_ms)
