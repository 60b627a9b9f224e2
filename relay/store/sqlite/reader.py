"""The read side: pages of the logs, backlogs, accounts. One connection and one thread each.

What was appended lately is found in memory, see `tail`; the rest through the index.
"""

import json
import struct
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import apsw

from relay.protocol.runs import payloads
from relay.protocol.scram import Credentials
from relay.store.base import (
    CONTACT_ROOM_MAX,
    Account,
    Backlog,
    ConversationInfo,
    Cursor,
    DeviceInfo,
    Entry,
    Member,
    Membership,
    Reader,
    Role,
    Room,
    StoreBrokenError,
)
from relay.store.files import Content, FilePage, StoredFile
from relay.store.sqlite import files, queries
from relay.store.sqlite.checksum import CHECKED, is_intact
from relay.store.sqlite.database import damaged, explain, open_for_reading
from relay.store.sqlite.index import indexed_head
from relay.store.sqlite.rooms import ROLE_NUMBERS
from relay.store.sqlite.tail import Unindexed
from relay.store.sqlite.window import decode_integers

_ACCOUNT = "SELECT name, salt, iterations, stored_key, server_key, bot, disabled, created_ms FROM users"

_BACKLOG = """
SELECT c.id, c.name, m.joined, k.delivered,
    (SELECT first_offset + length(seqs) / 8 - 1 FROM runs WHERE conversation_id = c.id
     ORDER BY first_offset DESC LIMIT 1)
FROM users u
JOIN devices d ON d.user_id = u.id AND d.name = ?2 AND d.opened
JOIN members m ON m.user_id = u.id AND m.role >= 0
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
JOIN members m ON m.user_id = u.id AND m.role >= 0
JOIN conversations c ON c.id = m.conversation_id
WHERE u.name = ? AND c.name = ?
"""

# The rows that hold the messages with these seqs: a run is found by any of its own, and comes once.
_ROWS = f"""
SELECT log.seq, {CHECKED} FROM log WHERE log.seq IN (
    SELECT (SELECT max(held.seq) FROM log AS held WHERE held.seq <= wanted.value) FROM json_each(?) AS wanted)
ORDER BY log.seq
"""  # noqa: S608

_ROLES = {number: role for role, number in ROLE_NUMBERS.items()}


class SqliteReader(Reader):
    """Reads through a connection of its own, or through the writer's, if that is given."""

    def __init__(self, path: Path, unindexed: Unindexed, connection: apsw.Connection | None = None) -> None:
        self._path = path
        self._unindexed = unindexed
        with self._explained():
            self._connection = connection or open_for_reading(path)

    def read(self, conversation: str, after: int, limit: int, limit_bytes: int) -> list[Entry]:
        def look(conversation_id: int, first_kept: int) -> list[Entry]:
            start = max(after, first_kept - 1)
            seqs = self._seqs(conversation_id, start, limit)
            return self._entries(conversation, conversation_id, start + 1, seqs, limit_bytes)

        return self._undisturbed(conversation, look)

    def read_back(self, conversation: str, before: int, limit: int, limit_bytes: int) -> list[Entry]:
        def look(conversation_id: int, first_kept: int) -> list[Entry]:
            end = min(before - 1, self._head(conversation_id))
            after = max(first_kept - 1, end - limit)
            seqs = self._seqs(conversation_id, after, max(end - after, 0))
            sizes = [size for (size,) in self._connection.execute(queries.SIZES, (json.dumps(seqs),))]
            while len(sizes) > 1 and sum(sizes) > limit_bytes:
                del sizes[0], seqs[0]
            return self._entries(conversation, conversation_id, end - len(seqs) + 1, seqs, sum(sizes))

        return self._undisturbed(conversation, look)

    def first_kept(self, conversation: str) -> int:
        with self._explained():
            return self._find(conversation)[1]

    def head(self, conversation: str) -> int:
        with self._reading_log():
            return self._head(self._find(conversation)[0])

    def conversations(self, user: str, device: str, after: str, limit: int) -> list[ConversationInfo]:
        with self._reading_log():
            rows = self._connection.execute(queries.CONVERSATIONS, (user, device, after, limit)).fetchall()
            return [self._describe(row) for row in rows]

    def cursors(self, conversation: str, limit: int) -> list[Cursor]:
        with self._explained():
            rows = self._connection.execute(queries.CURSORS, (conversation, limit))
            return [Cursor(user, device, conversation, delivered, read) for user, device, delivered, read in rows]

    def room(self, name: str) -> Room | None:
        with self._reading_log():
            row = self._connection.execute(queries.ROOM, (name,)).fetchone()
            return self._room(row) if row else None

    def role(self, room: str, user: str) -> Role | None:
        with self._explained():
            row = self._connection.execute(queries.ROLE, (user, room)).fetchone()
            return _ROLES[row[0]] if row else None

    def rooms_of(self, user: str) -> list[Membership]:
        with self._reading_log():
            rows: list[tuple[Any, ...]] = self._connection.execute(queries.ROOMS_OF, (user,)).fetchall()
            return [Membership(self._room(row[1:]), _ROLES[row[0]]) for row in rows]

    def public_rooms(self, after: str, limit: int) -> list[Room]:
        with self._reading_log():
            rows = self._connection.execute(queries.PUBLIC_ROOMS, (after, limit)).fetchall()
            return [self._room(row) for row in rows]

    def members(self, room: str, after: str, limit: int) -> list[Member]:
        with self._explained():
            rows = self._connection.execute(queries.MEMBERS, (room, after, limit))
            return [Member(user, _ROLES[role]) for user, role in rows]

    def owners(self, room: str) -> list[str]:
        with self._explained():
            return [user for (user,) in self._connection.execute(queries.OWNERS, (room,))]

    def devices(self, user: str) -> list[DeviceInfo]:
        with self._explained():
            return [DeviceInfo(*row) for row in self._connection.execute(queries.DEVICES, (user,))]

    def blocked_by(self, user: str) -> list[str]:
        with self._explained():
            return [name for (name,) in self._connection.execute(queries.BLOCKED_BY, (user,))]

    def shares(self, user: str, other: str) -> bool:
        with self._explained():
            return self._connection.execute(queries.SHARES, (user, other)).fetchone() is not None

    def contacts(self, user: str, limit: int) -> list[str]:
        with self._explained():
            rows = self._connection.execute(queries.CONTACTS, (user, CONTACT_ROOM_MAX, limit))
            return [name for (name,) in rows]

    def last_seen_ms(self, user: str) -> int | None:
        with self._explained():
            row = self._connection.execute(queries.LAST_SEEN, (user,)).fetchone()
            return row[0] if row else None

    def backlog(self, user: str, device: str) -> list[Backlog]:
        behind = []
        with self._reading_log():
            # Memory first: what is being indexed meanwhile is in the database by the time it is read.
            recent = self._unindexed.snapshot()
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

    def iterations(self) -> dict[int, int]:
        with self._explained():
            return dict(self._connection.execute("SELECT iterations, count(*) FROM users GROUP BY iterations"))

    def accounts(self) -> list[Account]:
        with self._explained():
            return [_account(row) for row in self._connection.execute(f"{_ACCOUNT} ORDER BY name")]

    def file(self, user: str, id: str, time_ms: int) -> StoredFile | None:
        with self._explained():
            return files.find_file(self._rows, user, id, time_ms)

    def files(self, user: str, page: FilePage, time_ms: int) -> list[StoredFile] | None:
        with self._explained():
            return files.list_files(self._rows, user, page, time_ms)

    def file_usage(self, user: str, time_ms: int) -> int:
        with self._explained():
            return files.usage(self._rows, user, time_ms)

    def contents(self, after: bytes, limit: int) -> list[Content]:
        with self._explained():
            sql = "SELECT DISTINCT size, hash FROM files WHERE hash > ? ORDER BY hash LIMIT ?"
            return [Content(*row) for row in self._rows(sql, (after, limit))]

    def has_content(self, hash: bytes) -> bool:
        with self._explained():
            return bool(self._rows("SELECT 1 FROM files WHERE hash = ? LIMIT 1", (hash,)))

    def partials(self) -> list[str]:
        with self._explained():
            return [name for (name,) in self._rows("SELECT partial FROM uploads ORDER BY partial", ())]

    def close(self) -> None:
        self._connection.close()

    def _rows(self, sql: str, bindings: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql, bindings).fetchall()

    def _find(self, conversation: str) -> tuple[int, int]:
        """The id of a conversation and the first offset kept; (0, 1) for an unknown one, which is an empty one."""
        sql = "SELECT id, first_kept FROM conversations WHERE name = ?"
        row = self._connection.execute(sql, (conversation,)).fetchone()
        return row or (0, 1)

    def _head(self, conversation_id: int) -> int:
        # Memory first: what is being indexed meanwhile is in the database by the time it is read.
        recent = self._unindexed.head(conversation_id)
        return indexed_head(self._connection, conversation_id) if recent is None else recent

    def _describe(self, row: tuple[Any, ...]) -> ConversationInfo:
        conversation_id, name, title, first_kept, joined, delivered, read = row
        head = self._head(conversation_id)
        seqs = self._seqs(conversation_id, head - 1, 1) if head else []
        time_ms = 0
        if head >= first_kept:
            for (found,) in self._connection.execute(queries.TIME, (seqs or (0,))):
                time_ms = found
        delivered = max(delivered, joined)
        first = first_kept if title is not None else max(first_kept, joined + 1)
        return ConversationInfo(name, title or "", first, head, delivered, read, time_ms)

    def _room(self, row: tuple[Any, ...]) -> Room:
        conversation_id, name, title, public, members, created_ms = row
        return Room(name, title, bool(public), members, self._head(conversation_id), created_ms)

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

    def _entries(
        self, conversation: str, conversation_id: int, offset: int, seqs: list[int], limit_bytes: int
    ) -> list[Entry]:
        """The messages with these seqs, which have the offsets from `offset` on, as far as `limit_bytes` goes.

        One that is missing, or is not what was stored, is an error: nothing altered ever leaves the store.
        """
        entries: list[Entry] = []
        left_bytes = limit_bytes
        for seq, *row in self._connection.execute(_ROWS, (json.dumps(seqs),)):
            found_id, first, time_ms, _, _, packet, total, _ = row
            if not is_intact(row) or found_id != conversation_id:
                break
            next_offset = offset + len(entries)
            skipped = next_offset - first
            if not 0 <= skipped < total or seq + skipped != seqs[len(entries)]:
                break
            parts = payloads(packet, total)[skipped : skipped + len(seqs) - len(entries)]
            size = len(parts[0])
            fitting = max(left_bytes // size, 0 if entries else 1) if size else len(parts)
            entries += [_entry(Entry, (at, time_ms, part)) for at, part in enumerate(parts[:fitting], next_offset)]
            if fitting < len(parts):
                return entries
            left_bytes -= size * len(parts)
        if len(entries) < len(seqs):
            raise damaged(self._path, f"message {offset + len(entries)} of {conversation}")
        return entries

    def _undisturbed(self, conversation: str, look: Callable[[int, int], list[Entry]]) -> list[Entry]:
        """What `look(conversation_id, first_kept)` finds; again if retention deleted meanwhile what was looked for."""
        with self._reading_log():
            while True:
                found = self._find(conversation)
                try:
                    return look(*found)
                except StoreBrokenError:
                    if found == self._find(conversation):
                        raise

    def _reading_log(self) -> AbstractContextManager[None]:
        """Around everything that looks at the log or at what is not indexed."""
        return self._explained()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except apsw.Error as error:
            raise explain(error, self._path) from error
        except (struct.error, TypeError, ValueError) as error:
            # Not what was written: damage may have changed lengths, and even types.
            raise damaged(self._path, f"a part of the database ({error})") from error


def _entry(kind: type[Entry], values: tuple[int, int, bytes]) -> Entry:
    """An Entry without the cost of its keyword arguments; once per message."""
    return tuple.__new__(kind, values)


def _account(row: tuple[Any, ...]) -> Account:
    name, salt, iterations, stored_key, server_key, bot, disabled, created_ms = row
    return Account(name, Credentials(salt, iterations, stored_key, server_key), bool(bot), bool(disabled), created_ms)
