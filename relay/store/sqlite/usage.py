"""How many bytes are kept: of each conversation, and of each user as a sender.

Counted behind the acknowledgement, like the index: the tables are right for the log up to `counted_seq`, and what was
stored after that is summed up in memory, anew at each start. One transaction moves the numbers and `counted_seq`, and
another deletes rows and takes them off, so that a crash never counts anything twice or not at all.
"""

from collections.abc import Iterable

from relay.protocol.limits import HEADER_BYTES
from relay.store.base import Refusal, Retention, quota_exceeded
from relay.store.sqlite.cache import Cache
from relay.store.sqlite.database import Database

# Rows that are counted in one piece: about a millisecond.
_PIECE_ROWS = 2_000

# So many rows are worth a piece while the relay is busy.
_COUNT_EVERY = 4_096

# More rows than this are not counted at a start, but behind it: that happens once, when a bound is set for the first
# time. Until then it holds for what is counted so far.
_COUNTED_AT_START = 200_000

# The bytes of a row's packets, without the headers of a run's frames.
SIZE = f"(length(packet) - iif(total = 1, 0, {HEADER_BYTES} * total))"

_COUNT = f"""
SELECT conversation_id, device_id, sum(size), sum(size * (seq > ?4)), max(last) FROM
    (SELECT seq, seq + total - 1 AS last, conversation_id, device_id, {SIZE} AS size FROM log
     WHERE seq > ?1 AND seq <= ?2 ORDER BY seq LIMIT ?3)
GROUP BY conversation_id, device_id
"""  # noqa: S608

_SENDERS = "SELECT id FROM devices WHERE user_id = ?1 UNION SELECT device_id FROM usage WHERE user_id = ?1"

# Kept only for what the device sent; a device that exists may send more.
_DROP_SENDER = """
DELETE FROM usage WHERE device_id = ?1 AND bytes <= 0 AND NOT EXISTS (SELECT 1 FROM devices WHERE id = ?1)
"""


class _Used:
    """Bytes that are kept of a user."""

    __slots__ = ("bytes", "user_id")

    def __init__(self, user_id: int, used_bytes: int) -> None:
        self.user_id = user_id
        self.bytes = used_bytes


class Usage:
    """For the thread that writes. Methods raise apsw.Error, `count` StoreError; nothing is read before `load`.

    `counts` says whether anybody wants to know. `crowded` holds the ids of conversations over their bound.
    """

    def __init__(self, database: Database, retention: Retention) -> None:
        self.counts = bool(retention.conversation_bytes or retention.user_bytes)
        self.counted_seq = 0
        self.crowded: set[int] = set()
        self._database = database
        self._conversation_bytes = retention.conversation_bytes
        self._user_bytes = retention.user_bytes
        # device id -> bytes of the rows above `_floor` that are not counted.
        self._uncounted: dict[int, int] = {}
        self._floor = 0
        self._used = Cache(self._find_used)
        self._used_by_id: dict[int, _Used] = {}

    def load(self, seq: int) -> None:
        """Sum up what is not counted of the log, which ends at `seq`."""
        self.counted_seq = self._database.rows("SELECT value FROM facts WHERE name = 'counted_seq'")[0][0]
        self.forget()
        self._uncounted = {}
        if not self.counts:
            return
        self._floor = seq if seq - self.counted_seq > _COUNTED_AT_START else self.counted_seq
        sql = f"SELECT device_id, sum({SIZE}) FROM log WHERE seq > ? GROUP BY device_id"  # noqa: S608
        self._uncounted = dict(self._database.rows(sql, (self._floor,)))
        if self._conversation_bytes:
            sql = "SELECT id FROM conversations WHERE kept_bytes > ?"
            self.crowded = {row[0] for row in self._database.rows(sql, (self._conversation_bytes,))}

    def forget(self) -> None:
        """Forget what is known of users by name."""
        self._used.forget()
        self._used_by_id.clear()

    def refusal(self, user: str, size_bytes: int) -> Refusal | None:
        """Why the user may not store a packet of this size, if so."""
        if not self._user_bytes:
            return None
        used = self._used[user].bytes
        return quota_exceeded(used, size_bytes, self._user_bytes) if used + size_bytes > self._user_bytes else None

    def note(self, user: str, device_id: int, size_bytes: int) -> None:
        """A packet is being stored. When that fails, `load` follows."""
        self._uncounted[device_id] = self._uncounted.get(device_id, 0) + size_bytes
        if self._user_bytes:
            self._used[user].bytes += size_bytes

    def is_due(self, committed_seq: int, idle: bool) -> bool:
        """Whether there are rows to count now."""
        return self.counts and committed_seq - self.counted_seq >= (1 if idle else _COUNT_EVERY)

    def count(self, up_to: int) -> None:
        """Count the next piece of the log, which has rows up to `up_to` at least."""
        execute = self._database.execute
        crowded = set()
        with self._database.change():
            rows = self._database.rows(_COUNT, (self.counted_seq, up_to, _PIECE_ROWS, self._floor))
            for conversation_id, device_id, size, _, _ in rows:
                sql = "UPDATE conversations SET kept_bytes = kept_bytes + ? WHERE id = ? RETURNING kept_bytes"
                kept = self._database.rows(sql, (size, conversation_id))
                if self._conversation_bytes and kept and kept[0][0] > self._conversation_bytes:
                    crowded.add(conversation_id)
                execute("UPDATE usage SET bytes = bytes + ? WHERE device_id = ?", (size, device_id))
                if not self._database.connection.changes():
                    execute("INSERT INTO usage SELECT id, user_id, ? FROM devices WHERE id = ?", (size, device_id))
            end = max((row[4] for row in rows), default=up_to)
            execute("UPDATE facts SET value = ? WHERE name = 'counted_seq'", (end,))
        self.crowded |= crowded
        if self.counted_seq < self._floor:
            self.forget()
        self.counted_seq = end
        for _, device_id, _, known, _ in rows:
            self._uncounted[device_id] = self._uncounted.get(device_id, 0) - known
            if not self._uncounted[device_id]:
                del self._uncounted[device_id]

    def take_off(self, device_id: int, size_bytes: int) -> int | None:
        """In the transaction that deletes counted packets of a device. Returns whose they were, for `confirm`."""
        sql = "UPDATE usage SET bytes = bytes - ? WHERE device_id = ? RETURNING user_id"
        row = self._database.rows(sql, (size_bytes, device_id))
        if device_id not in self._uncounted:
            self._database.execute(_DROP_SENDER, (device_id,))
        return row[0][0] if row else None

    def confirm(self, taken: Iterable[tuple[int | None, int]]) -> None:
        """(user id, bytes) were deleted, and that is durable."""
        for user_id, size_bytes in taken:
            if user_id in self._used_by_id:
                self._used_by_id[user_id].bytes -= size_bytes

    def keep_sender(self, device_id: int, user_id: int) -> None:
        """In the transaction that forgets a device: remember whose the packets are that it has sent."""
        if device_id in self._uncounted:
            self._database.execute("INSERT OR IGNORE INTO usage VALUES (?, ?, 0)", (device_id, user_id))
        else:
            self._database.execute(_DROP_SENDER, (device_id,))

    def _find_used(self, user: str) -> _Used:
        row = self._database.row("SELECT id FROM users WHERE name = ?", (user,))
        if row is None:
            return _Used(0, 0)
        counted = self._database.rows("SELECT coalesce(sum(bytes), 0) FROM usage WHERE user_id = ?", row)[0][0]
        uncounted = sum(self._uncounted.get(device_id, 0) for (device_id,) in self._database.rows(_SENDERS, row))
        used = self._used_by_id[row[0]] = _Used(row[0], counted + uncounted)
        return used
