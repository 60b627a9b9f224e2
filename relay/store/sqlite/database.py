"""The connection that writes: durable transactions, groups of them, and errors in words.

Knows no table. Other processes may write accounts to the same file, so every transaction takes the write lock first
(BEGIN IMMEDIATE) and waits a while for it.
"""

import os
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw

from relay.store.base import (
    AccountExistsError,
    NoSuchAccountError,
    RoomExistsError,
    StoreBrokenError,
    StoreError,
    StoreFullError,
)
from relay.store.sqlite.wal import Promise, promise, put_back

DATABASE_FILE = "relay.db"

# Where a database is made before it is put in place, see `backup`.
RESTORING = "restoring"

# Another program holds the write lock for one short transaction. Ten seconds without it means that one hangs.
BUSY_TIMEOUT_MS = 10_000

# A connection's own page cache, in KiB. The log is only appended to, so it serves the index and the accounts.
_CACHE_KIB = 16 * 1024

# Prepared statements that are kept: the inserts of the log, one for each size of a group, and all others.
_STATEMENTS_CACHED = 160

# The write-ahead log keeps its file after a checkpoint; an exceptional size is given back.
_WAL_KEPT_BYTES = 64 * 1024 * 1024

# Operations that end like this have changed nothing.
_HARMLESS = (AccountExistsError, NoSuchAccountError, RoomExistsError)


class Database:
    """The read-write connection to the database in `directory`. Raises StoreError if it cannot be opened.

    `on_rollback` is called after every rollback: what is cached in memory may be wrong then.
    """

    def __init__(self, directory: Path) -> None:
        self.path = directory / DATABASE_FILE
        self.on_rollback: Callable[[], None] = lambda: None
        self._grouping = False
        self._aborted: StoreError | None = None
        if (directory / RESTORING).exists() and not self.path.exists():
            raise StoreError(f"a restore was interrupted; repeat it: relay restore FILE --data {directory}")
        try:
            _make_private(self.path)
            refuse_emptied(self.path)
            promised = promise(self.path)
            self.connection = apsw.Connection(str(self.path), statementcachesize=_STATEMENTS_CACHED)
        except OSError as error:
            raise StoreError(_unusable(directory, error.strerror or str(error))) from None
        except apsw.Error as error:
            raise self.explain(error) from None
        try:
            self.connection.set_busy_timeout(BUSY_TIMEOUT_MS)
            self._keep(promised)
        except apsw.Error as error:
            self.connection.close()
            raise self.explain(error) from None

    def _keep(self, promised: Promise | None) -> None:
        """Read the write-ahead log, and raise StoreBrokenError if it has lost something. Raises apsw.Error."""
        self.connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
        if promised and promised.is_broken_by(promise(self.path)):
            # Closing would write what is left of it into the database.
            self.connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            self.connection.close()
            put_back(promised, self.path)
            raise damaged(self.path, "the end of the write-ahead log")

    def configure(self) -> None:
        """Durable commits through a write-ahead log. Changes the file, so it must be known to be a relay's."""
        for setting in (
            "journal_mode = wal",
            "synchronous = full",
            "fullfsync = on",
            "checkpoint_fullfsync = on",
            "foreign_keys = off",
            f"cache_size = -{_CACHE_KIB}",
            f"journal_size_limit = {_WAL_KEPT_BYTES}",
        ):
            self.connection.execute(f"PRAGMA {setting}").fetchall()
        # The store chooses a moment when nobody waits.
        self.connection.wal_autocheckpoint(0)

    def close(self) -> None:
        """Close the connection; the last one to close writes the write-ahead log back into the database.

        Raises StoreError if that fails. The log is kept then, and read at the next start.
        """
        with self.reading():
            self.connection.close()

    def execute(self, sql: str, bindings: Sequence[Any] = ()) -> apsw.Cursor:
        """Run one statement as it is: inside `change`, or a read whose errors may surface as apsw's."""
        return self.connection.execute(sql, bindings)

    def rows(self, sql: str, bindings: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query; errors as in `execute`."""
        return self.connection.execute(sql, bindings).fetchall()

    def row(self, sql: str, bindings: Sequence[Any] = ()) -> tuple[Any, ...] | None:
        """The first row of a query, or None; errors as in `execute`."""
        return self.connection.execute(sql, bindings).fetchone()

    def begin(self) -> None:
        """Take the write lock. Raises StoreError."""
        try:
            self.connection.execute("BEGIN IMMEDIATE")
        except apsw.Error as error:
            raise self.explain(error) from None

    def ensure_begun(self) -> None:
        """Begin a transaction unless one is open. Raises apsw.Error."""
        if not self.connection.in_transaction:
            self.connection.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Make the transaction durable, if one is open. Raises apsw.Error; roll back then."""
        if self.connection.in_transaction:
            self.connection.execute("COMMIT")

    def roll_back(self) -> None:
        """End the transaction, whether SQLite has done so by itself already or not, and say that it was undone."""
        try:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
        finally:
            self.on_rollback()

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Errors of what is read inside come out as StoreError."""
        try:
            yield
        except apsw.Error as error:
            raise self.explain(error) from error
        except (TypeError, ValueError, LookupError, ArithmeticError, struct.error) as error:
            # Damage may have changed lengths, and even types.
            raise damaged(self.path, f"a part of the database ({error})") from error

    @contextmanager
    def change(self) -> Iterator[None]:
        """One durable transaction, or a part of the group that is open. Errors come out as StoreError."""
        if self._aborted:
            raise self._aborted
        if not self.connection.in_transaction:
            self.begin()
        try:
            yield
            if not self._grouping:
                self.commit()
        except _HARMLESS:
            if not self._grouping:
                self.roll_back()
            raise
        except apsw.Error as error:
            self._abort(self.explain(error))
            raise self.explain(error) from error
        except BaseException as error:
            self._abort(StoreError(f"the store failed: {error!r}"))
            raise

    @contextmanager
    def group(self) -> Iterator[None]:
        """Make one transaction of all changes inside. Begun with the first change: reads alone need none."""
        self._grouping, self._aborted = True, None
        try:
            yield
            if self._aborted:
                raise self._aborted
            if self.connection.in_transaction:
                self.commit()
        except apsw.Error as error:
            self.roll_back()
            raise self.explain(error) from error
        except BaseException:
            self.roll_back()
            raise
        finally:
            self._grouping, self._aborted = False, None

    def wal_pages(self) -> int:
        """How many pages of the write-ahead log are not in the database yet. Raises StoreError."""
        with self.reading():
            pages, written = self.connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)
            return pages - written

    def checkpoint(self) -> None:
        """Copy the write-ahead log back into the database, as far as nobody reads it. Raises StoreBrokenError.

        Without room it stays in the log and is tried again later. A checkpoint whose sync failed must never be tried
        again: the system may believe that the lost pages were written.
        """
        try:
            self.connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        except (apsw.FullError, apsw.BusyError, apsw.LockedError):
            pass
        except apsw.Error as error:
            raise self.explain(error) from error

    def explain(self, error: apsw.Error) -> StoreError:
        """SQLite's error as ours, in a sentence."""
        return explain(error, self.path)

    def _abort(self, error: StoreError) -> None:
        if self._grouping:
            self._aborted = error
        self.roll_back()


def open_for_reading(path: Path) -> apsw.Connection:
    """A read-only connection for another thread."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    connection.set_busy_timeout(BUSY_TIMEOUT_MS)
    return connection


def explain(error: apsw.Error, path: Path) -> StoreError:
    """SQLite's error as ours, in a sentence that names the cause and the remedy."""
    if isinstance(error, apsw.FullError) or getattr(error, "extendedresult", 0) == apsw.SQLITE_IOERR_SHMSIZE:
        return StoreFullError(
            f"no room on the disk for {path}: free some; until then messages are refused, and nothing stored is lost"
        )
    if isinstance(error, apsw.NotADBError):
        return StoreError(f"{path} is not a database of a relay; move it away, or choose another directory with --data")
    if isinstance(error, apsw.CorruptError):
        return StoreBrokenError(f"the database {path} is damaged ({error}); restore it from a backup")
    if isinstance(error, apsw.IOError):
        return StoreBrokenError(
            f"reading or writing {path} failed ({error}); check the disk and the system's log, then start again"
        )
    if isinstance(error, apsw.BusyError | apsw.LockedError):
        return StoreError(
            f"another program has kept the database {path} locked for {BUSY_TIMEOUT_MS // 1000} s; find and end it"
        )
    if isinstance(error, apsw.CantOpenError | apsw.ReadOnlyError | apsw.PermissionsError | apsw.AuthError):
        return StoreError(_unusable(path.parent, str(error)))
    if isinstance(error, apsw.NoMemError):
        return StoreError("the relay's process has no memory left for the database; give it more, or lower its limits")
    return StoreError(f"the database {path} refused a statement, which is a defect of the relay: {error}")


def damaged(path: Path, what: str) -> StoreBrokenError:
    """The error for a database that has lost or altered something."""
    return StoreBrokenError(
        f"{what} is missing or altered in {path}: the database is damaged; restore it from a backup"
    )


def _unusable(directory: Path, reason: str) -> str:
    return (
        f"the database in {directory} cannot be opened ({reason}); "
        f"make the directory and its files writable for this user, or choose another with --data"
    )


def refuse_emptied(path: Path) -> None:
    """Raises StoreBrokenError for an empty file with a write-ahead log: SQLite would take it for a new database, and
    remove the log. Raises OSError.
    """
    wal = Path(f"{path}-wal")
    if not path.stat().st_size and wal.exists() and wal.stat().st_size:
        raise damaged(path, "everything")


def _make_private(path: Path) -> None:
    """Make the directory and an empty database that only this user may read: it holds what passwords leave behind."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
