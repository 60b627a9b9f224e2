"""The index of the logs, written behind the acknowledgement.

Every `index_every` rows the tail is put aside, and what is appended from then on goes into a new one. The tail put
aside is written to the tables `runs` and `sent` in sorted slices of some milliseconds, between groups of appends; its
last slice moves the fact `indexed_seq`. A crash before that costs nothing: the whole tail is read from the log again,
and a slice that was written already is replaced by one that begins at the same place and has at least as much.
"""

import apsw

from relay.protocol.limits import MESSAGE_WINDOW
from relay.store.sqlite.database import Database
from relay.store.sqlite.tail import Run, Tail, Unindexed
from relay.store.sqlite.window import Window, complete, encode_integers, encode_pairs

# The tail costs about 16 bytes a row of memory and is read again after a crash: 65,536 rows are read in 0.1 s.
INDEX_EVERY = 65_536

# With nothing else to do, a shorter tail is worth indexing too.
_INDEX_IDLE = 4_096

# How many runs or windows one slice writes at least: a few milliseconds.
_SLICE = 250

# Seqs in one row of the index, so that finding an offset reads 4 KiB.
_RUN_MAX = 512

# The write-ahead log goes back into the database when it has this many pages (of 4 KiB), or fewer with nothing to do:
# 4 MiB take 5 to 8 ms, more would only make a longer pause of the same work.
_CHECKPOINT_PAGES = 1_000
_CHECKPOINT_IDLE_PAGES = 250

# How often the length of the write-ahead log is looked at, in rows and in groups of appends.
_LOOK_ROWS = 1_000
_LOOK_GROUPS = 50


class Index:
    """Moves what `unindexed` holds to the database, piece by piece. For the thread that writes."""

    def __init__(self, database: Database, unindexed: Unindexed, index_every: int) -> None:
        self._database = database
        self._unindexed = unindexed
        self._every = index_every
        # What is left of the tail that was put aside, the next pieces last, and its last seq.
        self._runs_left: list[tuple[int, Run]] = []
        self._windows_left: list[Window] = []
        self._end = 0
        self._pieces = 0
        # Somebody wants everything indexed soon.
        self._asked = False
        # When the write-ahead log was last looked at.
        self._looked_seq = 0
        self._groups_since = 0

    def restart(self) -> None:
        """The tails were read anew: nothing is put aside."""
        self._runs_left, self._windows_left = [], []

    def ask(self) -> None:
        """Index all that is there now with the next pieces, however little it is."""
        self._asked = True

    def maintain(self, idle: bool) -> bool:
        """See Store.maintain. Raises StoreError; what was to be written then stays due."""
        more = self._is_due(idle)
        if more:
            self._write_slice()
        self._checkpoint(idle)
        return more

    def finish(self) -> None:
        """Index everything. Raises StoreError."""
        while len(self._unindexed.tails) > 1:
            self._write_slice()
        if self._unindexed.committed_seq > self._unindexed.tails[0].start:
            self._put_aside()
            self.finish()

    def _is_due(self, idle: bool) -> bool:
        """Whether there is something to index now; puts the tail aside when its time has come."""
        if len(self._unindexed.tails) == 1:
            due = 1 if self._asked else min(_INDEX_IDLE, self._every) if idle else self._every
            if self._unindexed.committed_seq - self._unindexed.tails[0].start < due:
                return False
            self._asked = False
            self._put_aside()
        return True

    def _put_aside(self) -> None:
        """Begin with the tail; what is appended from now on goes into a new one."""
        (tail,) = self._unindexed.tails
        self._end = self._unindexed.committed_seq
        self._unindexed.tails = (tail, Tail(self._end))
        self._runs_left = sorted(tail.runs.items(), reverse=True)
        self._windows_left = [tail.windows[device_id] for device_id in sorted(tail.windows, reverse=True)]
        self._pieces = len(self._runs_left) + len(self._windows_left)

    def _slice(self) -> int:
        """How many runs or windows are written next: more than usual where messages to many conversations come so fast
        that the next tail would be full before this one is done; half of that time is allowed.
        """
        appended = self._unindexed.committed_seq - self._end
        left_by_now = self._pieces * max(0.0, 1 - 2 * appended / self._every)
        return max(_SLICE, int(len(self._runs_left) + len(self._windows_left) - left_by_now))

    def _write_slice(self) -> None:
        """Write the next slice; with the last one the tail is let go of. Raises StoreError."""
        size = self._slice()
        runs = self._runs_left[-size:]
        windows = [] if runs else self._windows_left[-size:]
        last = not runs and len(windows) == len(self._windows_left)
        with self._database.change():
            self._write_runs(runs)
            self._write_windows(windows)
            if last:
                self._database.execute("UPDATE facts SET value = ? WHERE name = 'indexed_seq'", (self._end,))
        del self._runs_left[len(self._runs_left) - len(runs) :]
        del self._windows_left[len(self._windows_left) - len(windows) :]
        for window in windows:
            window.trim()
        if last:
            self._unindexed.tails = self._unindexed.tails[1:]

    def _write_runs(self, runs: list[tuple[int, Run]]) -> None:
        rows = [
            (conversation_id, run.first + at, encode_integers(run.seqs[at : at + _RUN_MAX]))
            for conversation_id, run in runs
            for at in range(0, len(run.seqs), _RUN_MAX)
        ]
        self._database.connection.executemany("REPLACE INTO runs VALUES (?, ?, ?)", rows)

    def _write_windows(self, windows: list[Window]) -> None:
        """Add a block for each window; many blocks become one, so that no more than two windows' worth is ever kept."""
        start = self._unindexed.tails[0].start
        rows = []
        for window in windows:
            if not window.whole:
                complete(self._database, window)
            ids, seqs = window.between(start, self._end)
            if window.persisted + len(ids) > 2 * MESSAGE_WINDOW:
                self._database.execute("DELETE FROM sent WHERE device_id = ?", (window.device_id,))
                window.persisted = 0
                ids, seqs = window.between(0, self._end)
                ids, seqs = ids[-MESSAGE_WINDOW:], seqs[-MESSAGE_WINDOW:]
            if not ids:
                continue
            window.persisted += len(ids)
            rows.append((window.device_id, max(seqs), window.last_id, window.seen_ms, encode_pairs(ids, seqs)))
        # A device that was forgotten meanwhile leaves nothing behind.
        sql = "REPLACE INTO sent SELECT ?1, ?2, ?3, ?4, ?5 WHERE EXISTS (SELECT 1 FROM devices WHERE id = ?1)"
        self._database.connection.executemany(sql, rows)

    def _checkpoint(self, idle: bool) -> None:
        self._groups_since += 1
        seq = self._unindexed.committed_seq
        if idle or seq - self._looked_seq >= _LOOK_ROWS or self._groups_since >= _LOOK_GROUPS:
            self._looked_seq, self._groups_since = seq, 0
            if self._database.wal_pages() >= (_CHECKPOINT_IDLE_PAGES if idle else _CHECKPOINT_PAGES):
                self._database.checkpoint()


def indexed_head(connection: apsw.Connection, conversation_id: int) -> int:
    """The last indexed offset of a conversation, 0 if there is none."""
    sql = (
        "SELECT first_offset + length(seqs) / 8 - 1 FROM runs WHERE conversation_id = ? "
        "ORDER BY first_offset DESC LIMIT 1"
    )
    row = connection.execute(sql, (conversation_id,)).fetchone()
    return int(row[0]) if row else 0
