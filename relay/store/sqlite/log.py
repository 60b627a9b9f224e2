"""The conversation logs: append before the acknowledgement, index behind it.

An append only adds rows at the end of table `log`, one for each message or run of messages; heads, the index of the
latest rows and the message ids of devices are kept in memory (`tail`) until `index` writes them to the database. When
the process ends without that, the tail is read from the log again. Measurements: docs/decisions/store-append.md.
"""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

from relay.protocol.addresses import conversation_members, is_temporary
from relay.protocol.codes import ErrorCode
from relay.protocol.limits import MESSAGE_WINDOW
from relay.protocol.runs import payload_at, size_of
from relay.store.base import KEEP_ALL, Answer, Append, Appended, Refusal, deleted_since, together
from relay.store.sqlite.cache import Cache
from relay.store.sqlite.checksum import CHECKED, is_intact, message_checksum
from relay.store.sqlite.database import Database, damaged
from relay.store.sqlite.index import Index, indexed_head
from relay.store.sqlite.schema import KIND_DIRECT, ROLE_MEMBER
from relay.store.sqlite.tail import Run, Tail, Unindexed
from relay.store.sqlite.usage import Usage
from relay.store.sqlite.window import Window, complete

# One statement for many rows gives the interpreter lock away once; beside a busy event loop each time costs a wait
# until it comes back. Up to so many rows: apsw would not keep the text of a longer one prepared.
_ROWS_MAX = 512

# How many rows a statement may have: every number up to 16, then in steps of a quarter to an eighth. The rows of a
# statement that are more than there are messages stay NULL, and are left out.
_SIZES = [*range(1, 17), *(step << octave for octave in range(2, 7) for step in (5, 6, 7, 8))]
_COLUMNS = 8


def _insert_sql(rows: int) -> str:
    values = ",".join("(?1,?,?,?,?,?,?,?,?)" for _ in range(rows))
    columns = 'time_ms, seq, conversation_id, "offset", device_id, message_id, packet, total, checksum'
    return f"INSERT INTO log ({columns}) SELECT * FROM (VALUES {values}) WHERE column2 NOTNULL"  # noqa: S608


_LAST_ID = """
SELECT d.id, (SELECT last_id FROM sent WHERE device_id = d.id ORDER BY last_seq DESC LIMIT 1)
FROM users u JOIN devices d ON d.user_id = u.id
WHERE u.name = ? AND d.name = ?
"""

_LAST_ID_OF = """
SELECT id, (SELECT last_id FROM sent WHERE device_id = devices.id ORDER BY last_seq DESC LIMIT 1)
FROM devices WHERE user_id = ? AND name = ?
"""

# The row that holds the message with this seq.
_STORED = f"SELECT seq, {CHECKED} FROM log WHERE seq <= ? ORDER BY seq DESC LIMIT 1"  # noqa: S608

# The last seq of that row, the message's offset less its seq, and the first offset kept.
_PLACE = """
SELECT l.seq + l.total - 1, l."offset" - l.seq, c.first_kept
FROM log l LEFT JOIN conversations c ON c.id = l.conversation_id
WHERE l.seq <= ? ORDER BY l.seq DESC LIMIT 1
"""

_INSERTS = [_insert_sql(rows) for rows in _SIZES]


class Conversation:
    """What an append needs to know. That it is cached means that its members exist."""

    __slots__ = ("head", "id")

    def __init__(self, conversation_id: int, head: int) -> None:
        self.id = conversation_id
        self.head = head


# Whether a user is inside a room.
_INSIDE = """
SELECT 1 FROM users u JOIN members m ON m.user_id = u.id AND m.role >= 0
JOIN conversations c ON c.id = m.conversation_id
WHERE u.name = ? AND c.name = ?
"""

# Whether the first user blocks the second.
_BLOCKED = """
SELECT 1 FROM users u JOIN blocks b ON b.user_id = u.id JOIN users o ON o.id = b.blocked_id
WHERE u.name = ? AND o.name = ?
"""


class _RefusedError(Exception):
    """Ends the look-up of a conversation that cannot be written to."""

    def __init__(self, code: ErrorCode, sentence: str) -> None:
        self.refusal = Refusal(code, sentence)


def _no_such_room(name: str) -> _RefusedError:
    return _RefusedError(ErrorCode.NO_SUCH_ROOM, f"there is no room {name}, or you are not in it")


class Log:
    """The writing side of the logs. For the thread that writes; `unindexed` is what readers may look into.

    Nothing is read from the database before `load`.
    """

    def __init__(self, database: Database, index_every: int, usage: Usage | None = None) -> None:
        self.unindexed = Unindexed()
        self.loaded = False
        self.usage = usage or Usage(database, KEEP_ALL)
        self._database = database
        self.index = Index(database, self.unindexed, index_every)
        self._seq = 0
        self._time_ms = 0
        # The values of rows that are not inserted yet.
        self._rows: list[Any] = []
        self._conversations = Cache(self._find_conversation)
        # (conversation, user) -> True: the user may send to it.
        self._senders = Cache(self._check_sender)
        # (user, device) -> window.
        self._windows: Cache[tuple[str, str], Window] = Cache(self._find_window)

    def __repr__(self) -> str:
        tail = self.unindexed.tails[-1] if self.loaded else None
        return f"<Log at {self._seq}, {self._seq - tail.start} rows not indexed>" if tail else "<Log, not loaded>"

    def load(self) -> None:
        """Read the tail, unless that was done. Raises apsw.Error."""
        if self.loaded:
            return
        indexed: int = self._database.rows("SELECT value FROM facts WHERE name = 'indexed_seq'")[0][0]
        tail = Tail(indexed)
        self._seq = indexed
        sql = (
            'SELECT seq, conversation_id, "offset", device_id, message_id, time_ms, total '
            "FROM log WHERE seq > ? ORDER BY seq"
        )
        rows = self._database.execute(sql, (indexed,))
        for seq, conversation_id, offset, device_id, message_id, time_ms, total in rows:
            run = tail.runs.get(conversation_id)
            if run is None:
                run = tail.runs[conversation_id] = Run(offset)
            run.add(seq, total)
            window = tail.windows.get(device_id)
            if window is None:
                window = tail.windows[device_id] = Window(device_id, whole=False)
            for step in range(total):
                window.insert(message_id + step, seq + step)
            window.seen_ms = max(window.seen_ms, time_ms)
            self._seq = seq + total - 1
        self.usage.load(self._seq)
        self.index.restart()
        self.unindexed.tails = (tail,)
        self.unindexed.committed_seq = self._seq
        self.loaded = True

    def forget(self) -> None:
        """Forget what is known of conversations, users and devices by name: something was changed or undone."""
        self._conversations.forget()
        self._senders.forget()
        self._windows.forget()
        self.usage.forget()

    def forget_device(self, user: str, device: str) -> None:
        """Forget what is known of one device by name: it was made."""
        self._windows.drop((user, device))

    def forget_sender(self, conversation: str, user: str) -> None:
        """Find out anew whether the user may send to the conversation."""
        self._senders.drop((conversation, user))

    def forget_conversation(self, name: str) -> None:
        """Forget what is known of one conversation by name: it ended."""
        self._conversations.drop(name)
        self._senders.forget()

    def append(self, items: Sequence[Append], time_ms: int) -> list[Answer]:
        """See Store.append. The transaction, if it was begun, is still open then; `confirm` after its commit, `undo`
        after its rollback. Raises apsw.Error.

        A group that fits into one statement and makes nothing else needs no other statement to be a transaction.
        """
        self._time_ms = time_ms
        self._rows = []
        answers = [self._append(item) for item in items]
        self._insert()
        return answers

    def confirm(self) -> None:
        """What was appended is on disk: let readers see it."""
        self.unindexed.committed_seq = self._seq

    def undo(self) -> None:
        """What was appended is not in the database: read the tail anew before the next use."""
        self.forget()
        self.loaded = False

    def head(self, conversation_id: int) -> int:
        """The last offset of the conversation, 0 if it is empty."""
        head = self.unindexed.head(conversation_id)
        return indexed_head(self._database.connection, conversation_id) if head is None else head

    def last_message_id(self, user: str, device: str) -> int:
        """See Store.last_message_id. Does not load the device's window: most that log in only listen."""
        return self._last_id((user, device), self._database.row(_LAST_ID, (user, device)))

    def last_message_id_of(self, user: str, user_id: int, device: str) -> int:
        """The same for a user whose id is known."""
        return self._last_id((user, device), self._database.row(_LAST_ID_OF, (user_id, device)))

    def _last_id(self, key: tuple[str, str], row: tuple[Any, ...] | None) -> int:
        if key in self._windows:
            return self._windows[key].last_id
        if row is None:
            return 0
        window = self.unindexed.window(row[0])
        return max(window.last_id if window else 0, row[1] or 0)

    def _append(self, item: Append) -> Answer:
        """Take in a message or a run: its row is inserted with the next `_insert`."""
        name, user, device, message_id, packet, _, total = item
        try:
            window = self._windows[user, device]
            if message_id <= window.last_id and (answer := self._append_again(window, item)):
                return answer
            if self.usage.counts and (refusal := self._check_quota(item)):
                return refusal
            self._senders[name, user]
            conversation = self._conversations[name]
            if not window.device_id:
                self._create_device(window, user, device)
        except _RefusedError as refused:
            return refused.refusal
        device_id, time_ms, tail = window.device_id, self._time_ms, self.unindexed.tails[-1]
        seq, offset = self._seq + 1, conversation.head + 1
        self._seq += total
        conversation.head += total
        run = tail.runs.get(conversation.id)
        if run is None:
            run = tail.runs[conversation.id] = Run(offset)
        if total > 1:
            run.add(seq, total)
            window.add(message_id, seq, total)
        elif message_id > window.last_id:
            # As above, without the calls: a message that is no run pays for this alone.
            run.seqs.append(seq)
            window.last_id = message_id
            window.ids.append(message_id)
            window.seqs.append(seq)
        else:
            run.seqs.append(seq)
            window.insert(message_id, seq)
        if self.usage.counts:
            self.usage.note(user, device_id, size_of(packet, total))
        window.seen_ms = time_ms
        tail.windows[device_id] = window
        checksum = message_checksum(conversation.id, offset, time_ms, device_id, message_id, packet, total)
        self._rows += (seq, conversation.id, offset, device_id, message_id, packet, total, checksum)
        return _appended(Appended, (offset, time_ms, False))

    def _append_again(self, window: Window, item: Append) -> Answer | None:
        """The answer to an item whose first id is not the highest so far; None for a message that is new all the same.

        A run is taken apart: some of its messages may be new.
        """
        if item.total > 1:
            return together([self._append(part) for part in item.apart()])  # type: ignore[misc]
        self._database.ensure_begun()
        self._insert()
        return self._answer_again(window, item.message_id, item.packet)

    def _check_quota(self, item: Append) -> Answer | None:
        """Why the item may not be stored, if so. A run that does not fit as a whole is taken apart: its first messages
        may.
        """
        refusal = self.usage.refusal(item.user, size_of(item.packet, item.total))
        if refusal is None or item.total == 1:
            return refusal
        return together([self._append(part) for part in item.apart()])  # type: ignore[misc]

    def _insert(self) -> None:
        """Insert the rows taken in since the last time."""
        rows, self._rows = self._rows, []
        size = _ROWS_MAX * _COLUMNS
        if len(rows) > size:
            self._database.ensure_begun()
        for at in range(0, len(rows), size):
            part = rows[at : at + size]
            count = len(part) // _COLUMNS
            place = bisect_left(_SIZES, count)
            unused = [None] * ((_SIZES[place] - count) * _COLUMNS)
            self._database.execute(_INSERTS[place], [self._time_ms, *part, *unused])

    def _answer_again(self, window: Window, message_id: int, packet: bytes) -> Appended | Refusal | None:
        """The answer to an id that is not the highest so far; None if it is new all the same."""
        seq = window.find(message_id)
        if seq is None:
            if window.is_past(message_id):
                return Refusal(
                    ErrorCode.ID_REUSED,
                    f"message id {message_id} is more than {MESSAGE_WINDOW} messages old; ids must grow",
                )
            return None
        if self._is_deleted(seq):
            return deleted_since(message_id)
        first, *row = self._database.row(_STORED, (seq,)) or (0, None)
        if not is_intact(row):
            raise damaged(self._database.path, f"the message with id {message_id} of a device")
        _, offset, time_ms, device_id, first_id, stored, total, _ = row
        place = seq - first
        if place >= total or (device_id, first_id + place) != (window.device_id, message_id):
            raise damaged(self._database.path, f"the message with id {message_id} of a device")
        if payload_at(stored, total, place) != packet:
            return Refusal(ErrorCode.ID_REUSED, f"message id {message_id} was used for another message")
        return Appended(offset + place, time_ms, True)

    def _is_deleted(self, seq: int) -> bool:
        """Whether retention has deleted the message; its row may still be there for others of its run."""
        (deleted_seq,) = self._database.rows("SELECT value FROM facts WHERE name = 'deleted_seq'")[0]
        if seq > deleted_seq:
            return False
        row = self._database.row(_PLACE, (seq,))
        return row is None or seq > row[0] or row[1] + seq < row[2]

    def _find_conversation(self, name: str) -> Conversation:
        members = conversation_members(name)
        if members is None:
            return self._find_room(name)
        self._database.ensure_begun()
        row = self._database.row
        users = []
        for user in dict.fromkeys(members):
            known = row("SELECT id FROM users WHERE name = ?", (user,))
            if known is None:
                raise _RefusedError(ErrorCode.NO_SUCH_USER, f"there is no user {user!r}")
            users.append(known[0])
        found = row("SELECT id FROM conversations WHERE name = ?", (name,))
        conversation = Conversation(found[0], self._full_head(found[0])) if found else self._create_conversation(name)
        for user_id in users:
            self._database.execute(
                "INSERT OR IGNORE INTO members (user_id, conversation_id, role, joined) VALUES (?, ?, ?, ?)",
                (user_id, conversation.id, ROLE_MEMBER, conversation.head),
            )
        return conversation

    def _find_room(self, name: str) -> Conversation:
        found = self._database.row("SELECT id FROM conversations WHERE name = ?", (name,))
        if found is None:
            raise _no_such_room(name)
        return Conversation(found[0], self._full_head(found[0]))

    def _check_sender(self, key: tuple[str, str]) -> bool:
        """Whether the user may send to the conversation: True, or _RefusedError. Unknown users are not its business."""
        name, user = key
        members = conversation_members(name)
        if members is None:
            if self._database.row(_INSIDE, (user, name)) is None:
                raise _no_such_room(name)
        else:
            other = members[0] if members[1] == user else members[1]
            if self._database.row(_BLOCKED, (other, user)) is not None:
                raise _RefusedError(ErrorCode.BLOCKED, f"{other} does not take messages from you")
        return True

    def _create_conversation(self, name: str) -> Conversation:
        self._database.execute(
            "INSERT INTO conversations (name, kind, created_ms) VALUES (?, ?, ?)", (name, KIND_DIRECT, self._time_ms)
        )
        return Conversation(self._database.connection.last_insert_rowid(), 0)

    def _full_head(self, conversation_id: int) -> int:
        """The head, what the open transaction appended included."""
        for tail in reversed(self.unindexed.tails):
            if run := tail.runs.get(conversation_id):
                return run.first + len(run.seqs) - 1
        return indexed_head(self._database.connection, conversation_id)

    def _find_window(self, key: tuple[str, str]) -> Window:
        """The device's window. For a device that is not known an empty one, with device id 0."""
        sql = "SELECT d.id FROM users u JOIN devices d ON d.user_id = u.id WHERE u.name = ? AND d.name = ?"
        row = self._database.row(sql, key)
        if row is None:
            return Window(0)
        window = self.unindexed.window(row[0]) or Window(row[0], whole=False)
        return window if window.whole else complete(self._database, window)

    def _create_device(self, window: Window, user: str, device: str) -> None:
        """Make the device known as one that sends. `window` is its empty one in the cache."""
        self._database.ensure_begun()
        self._database.execute(
            "INSERT INTO devices (user_id, name, temporary, opened, seen_ms) "
            "SELECT id, ?, ?, 0, ? FROM users WHERE name = ?",
            (device, is_temporary(device), self._time_ms, user),
        )
        if not self._database.connection.changes():
            raise _RefusedError(ErrorCode.NO_SUCH_USER, f"there is no user {user!r}")
        window.device_id = self._database.connection.last_insert_rowid()


def _appended(kind: type[Appended], values: tuple[int, int, bool]) -> Appended:
    """An Appended without the cost of its keyword arguments; once per message."""
    return tuple.__new__(kind, values)
