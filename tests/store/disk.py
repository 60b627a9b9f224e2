"""Coming back to a store on a disk: in good order, or after a crash at this very moment."""

import itertools
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from relay.store.base import KEEP_ALL, Retention
from relay.store.sqlite import SqliteStore

_numbers = itertools.count()


class Disk:
    """Directories with databases under `root`; remembers what it opened and closes it at the end."""

    def __init__(self, root: Path, index_every: int = 65_536) -> None:
        self._root = root
        self._index_every = index_every
        self.retention: Retention = KEEP_ALL
        self._open: list[SqliteStore] = []
        self.directory = root / f"data{next(_numbers)}"

    def open(self) -> SqliteStore:
        store = SqliteStore(self.directory, index_every=self._index_every, retention=self.retention)
        self._open.append(store)
        return store

    def crash(self) -> SqliteStore:
        """What a new process finds if the process died now: the same files, without any memory of the old one.

        The shared memory file is left out, as after a power cut.
        """
        copy = self._root / f"data{next(_numbers)}"
        copy.mkdir()
        for name in ("relay.db", "relay.db-wal"):
            if (self.directory / name).exists():
                shutil.copy(self.directory / name, copy / name)
        self.directory = copy
        return self.open()

    def restart(self, store: SqliteStore) -> SqliteStore:
        store.close()
        return self.open()

    def count(self, table: str) -> int:
        """The rows of a table, of a store that was closed."""
        with closing(sqlite3.connect(self.directory / "relay.db")) as connection:
            return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])

    def unindexed(self) -> int:
        """How many rows of the log are not in the index yet."""
        sql = "SELECT (SELECT max(seq) FROM log) - value FROM facts WHERE name = 'indexed_seq'"
        with closing(sqlite3.connect(f"file:{self.directory}/relay.db?mode=ro", uri=True)) as connection:
            return int(connection.execute(sql).fetchone()[0])

    def wal_bytes(self) -> int:
        return (self.directory / "relay.db-wal").stat().st_size

    def close(self) -> None:
        for store in self._open:
            store.close()


@contextmanager
def disk(root: Path, index_every: int = 65_536) -> Iterator[Disk]:
    """A disk that is cleared away at the end."""
    made = Disk(root, index_every)
    try:
        yield made
    finally:
        made.close()
