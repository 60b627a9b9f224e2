"""Deletes what is not kept any more, in pieces of a few milliseconds between the groups of appends.

By age the log is eaten from its beginning: rows stand there in the order of time. By size, and for rooms that ended,
the index tells the oldest rows of a conversation. Only rows that are indexed are deleted, so that a start never misses
one of the tail; and the last run of a conversation's index stays, because it tells the head. Each piece is one
transaction that also moves `first_kept`: what can be read begins there, and readers never see half of it.
"""

import json
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from relay.store.base import Retention
from relay.store.sqlite.database import Database
from relay.store.sqlite.index import Index
from relay.store.sqlite.schema import KIND_ENDED
from relay.store.sqlite.tail import Unindexed
from relay.store.sqlite.usage import SIZE, Usage
from relay.store.sqlite.window import decode_integers

# Rows, and bytes of packets, that one piece deletes at most, but one row at least: 1 to 3 ms.
_PIECE_ROWS = 500
_PIECE_BYTES = 1024 * 1024

# seq, conversation, offset of the first, device, bytes of all packets, messages, time.
_ROW = f'l.seq, l.conversation_id, l."offset", l.device_id, {SIZE}, l.total, l.time_ms'

_OLDEST = f"SELECT {_ROW} FROM log l ORDER BY l.seq LIMIT ?"  # noqa: S608

_RUN_OF = """
SELECT first_offset, seqs FROM runs WHERE conversation_id = ? AND first_offset <= ? ORDER BY first_offset DESC LIMIT 1
"""

# The rows that hold the messages with these seqs.
_HOLDING = f"""
SELECT {_ROW} FROM log l WHERE l.seq IN (
    SELECT (SELECT max(held.seq) FROM log AS held WHERE held.seq <= wanted.value) FROM json_each(?) AS wanted)
ORDER BY l.seq
"""  # noqa: S608

_DROP_RUNS = """
DELETE FROM runs WHERE conversation_id = ?1 AND first_offset <
    (SELECT max(first_offset) FROM runs WHERE conversation_id = ?1 AND first_offset <= ?2)
"""


class _Row(NamedTuple):
    """A row of the log: a message, or a run of `total`."""

    seq: int
    conversation_id: int
    offset: int
    device_id: int
    size: int
    total: int
    time_ms: int

    @property
    def last_seq(self) -> int:
        return self.seq + self.total - 1

    @property
    def message_bytes(self) -> int:
        return self.size // self.total


class _Cut(NamedTuple):
    """Of this row the messages below offset `end` are to go, those included that are gone already."""

    row: _Row
    end: int

    @property
    def whole(self) -> bool:
        return self.end == self.row.offset + self.row.total


class Sweeper:
    """Does what Store.sweep asks for. For the thread that writes; methods raise StoreError or apsw.Error."""

    def __init__(
        self, database: Database, unindexed: Unindexed, index: Index, usage: Usage, retention: Retention
    ) -> None:
        self._database = database
        self._unindexed = unindexed
        self._index = index
        self._usage = usage
        self._retention = retention
        # What the sweep under way still has to do: rows up to `_goal`, older than `_cutoff_ms`, rooms that ended.
        self._sweeping = False
        self._goal = 0
        self._cutoff_ms = 0
        self._ended: list[int] = []

    def begin(self, time_ms: int) -> None:
        """See Store.sweep."""
        sql = f"SELECT id FROM conversations WHERE kind = {KIND_ENDED}"  # noqa: S608
        self._ended = [row[0] for row in self._database.rows(sql)]
        self._cutoff_ms = time_ms - self._retention.age_ms if self._retention.age_ms else 0
        self._goal = self._unindexed.committed_seq
        self._sweeping = True

    def maintain(self, idle: bool) -> bool:
        """Do a piece, if one is due; see Store.maintain."""
        usage, committed = self._usage, self._unindexed.committed_seq
        if self._sweeping and usage.counts and usage.counted_seq < self._goal:
            usage.count(self._goal)
        elif self._sweeping:
            self._sweeping = self._delete_piece()
        elif usage.is_due(committed, idle):
            usage.count(committed)
        return self._sweeping or usage.is_due(committed, idle)

    def _delete_piece(self) -> bool:
        """Returns whether more is to be done."""
        if self._cutoff_ms:
            self._delete_old()
        elif self._usage.crowded:
            self._shrink(next(iter(self._usage.crowded)))
        elif self._ended:
            self._clear(self._ended[-1])
        else:
            return False
        return True

    def _delete_old(self) -> None:
        rows = []
        for row in map(_Row._make, self._database.rows(_OLDEST, (_PIECE_ROWS,))):
            if row.time_ms >= self._cutoff_ms or row.seq > self._goal:
                break
            rows.append(row)
        if rows:
            self._delete([_Cut(row, row.offset + row.total) for row in rows])
        else:
            self._cutoff_ms = 0

    def _shrink(self, conversation_id: int) -> None:
        sql = "SELECT first_kept, kept_bytes FROM conversations WHERE id = ?"
        first, kept = self._database.row(sql, (conversation_id,)) or (0, 0)
        surplus = kept - self._retention.conversation_bytes
        rows = self._oldest_of(conversation_id, first) if surplus > 0 else None
        if not rows:
            self._usage.crowded.discard(conversation_id)
            return
        cuts = []
        for row in rows:
            if surplus <= 0:
                break
            left = row.offset + row.total - first
            count = min(left, -(-surplus // row.message_bytes)) if row.message_bytes else left
            surplus -= count * row.message_bytes
            first += count
            cuts.append(_Cut(row, first))
        self._delete(cuts)

    def _clear(self, conversation_id: int) -> None:
        """Delete all of a room that ended, and then the room."""
        found = self._database.row("SELECT first_kept FROM conversations WHERE id = ?", (conversation_id,))
        if found and (rows := self._oldest_of(conversation_id, found[0])):
            self._delete([_Cut(row, row.offset + row.total) for row in rows])
            return
        with self._database.change():
            self._database.execute("DELETE FROM runs WHERE conversation_id = ?", (conversation_id,))
            self._database.execute("DELETE FROM conversations WHERE id = ?", (conversation_id,))
        self._ended.remove(conversation_id)

    def _oldest_of(self, conversation_id: int, first: int) -> list[_Row]:
        """The rows with the messages from offset `first` on, some hundred messages of them; none if there is none, or
        the database is damaged. That is for those to find who read.
        """
        recent = self._unindexed.after(conversation_id, first - 1, _PIECE_ROWS)
        if recent and recent[0] <= first:
            seqs = recent[1]
        else:
            run = self._database.row(_RUN_OF, (conversation_id, first))
            seqs = list(decode_integers(run[1])[first - run[0] :][:_PIECE_ROWS]) if run else []
        rows = map(_Row._make, self._database.rows(_HOLDING, (json.dumps(seqs),)))
        return [row for row in rows if row.conversation_id == conversation_id]

    def _delete(self, cuts: Sequence[_Cut]) -> None:
        """Delete what is indexed of these, which ascend, up to a piece; if none is, have them indexed."""
        indexed, size = self._unindexed.tails[0].start, 0
        piece: list[_Cut] = []
        for cut in cuts:
            size += cut.row.size
            if cut.row.last_seq > indexed or (piece and size > _PIECE_BYTES):
                break
            piece.append(cut)
        if not piece:
            self._index.ask()
            return
        with self._database.change():
            self._database.execute(
                "DELETE FROM log WHERE seq IN (SELECT value FROM json_each(?))",
                (json.dumps([cut.row.seq for cut in piece if cut.whole]),),
            )
            taken = self._count_off(piece)
            last = piece[-1]
            self._database.execute(
                "UPDATE facts SET value = max(value, ?) WHERE name = 'deleted_seq'",
                (last.row.seq + last.end - last.row.offset - 1,),
            )
        self._usage.confirm(taken)

    def _count_off(self, piece: Sequence[_Cut]) -> list[tuple[int | None, int]]:
        """Move `first_kept` of the conversations, and take the bytes off them and off the senders."""
        ends = {cut.row.conversation_id: cut.end for cut in piece}
        sql = "SELECT id, first_kept FROM conversations WHERE id IN (SELECT value FROM json_each(?))"
        firsts = dict(self._database.rows(sql, (json.dumps(list(ends)),)))
        conversations, devices = Counter[int](), Counter[int]()
        for row, end in piece:
            if row.seq <= self._usage.counted_seq:
                size = (end - max(row.offset, firsts.get(row.conversation_id, 1))) * row.message_bytes
                conversations[row.conversation_id] += size
                devices[row.device_id] += size
        for conversation_id, end in ends.items():
            self._database.execute(
                "UPDATE conversations SET first_kept = max(first_kept, ?), kept_bytes = kept_bytes - ? WHERE id = ?",
                (end, conversations[conversation_id], conversation_id),
            )
            self._database.execute(_DROP_RUNS, (conversation_id, end))
        return [(self._usage.take_off(device_id, size), size) for device_id, size in devices.items()]
