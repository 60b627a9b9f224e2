"""Copies of the database: a backup beside a running relay, and the way back.

A backup is what one read transaction sees: everything acknowledged up to its beginning and nothing after. Both ways the
copy is made under another name, synced, and only then given its own.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import apsw

from relay.store.base import StoreError
from relay.store.blobs import BLOBS, PARTIAL
from relay.store.lock import DataLock
from relay.store.sqlite import contents, schema
from relay.store.sqlite.database import DATABASE_FILE, RESTORING, Database, explain
from relay.store.sqlite.snapshot import ReadOnlyDatabase
from relay.store.sqlite.verify import Report, verify

# (done, total), in any unit.
OnProgress = Callable[[int, int], None]

# Between two pieces a backup pauses as long as the piece took, so that the relay gets at least half of the disk.
_PIECE_PAGES = 256
_PAUSE_MAX_S = 0.1

_FORCE = ", or put that aside with --force"

_FILES = (DATABASE_FILE, f"{DATABASE_FILE}-wal", f"{DATABASE_FILE}-shm")


class DamagedError(StoreError):
    """What was to be restored is not whole; `report` says what is wrong."""

    def __init__(self, sentence: str, report: Report) -> None:
        super().__init__(sentence)
        self.report = report


def ignore_progress(done: int, total: int) -> None:
    """For whoever does not show any."""


def back_up(directory: Path, target: Path, *, force: bool = False, on_progress: OnProgress = ignore_progress) -> int:
    """Copy the database in `directory`, whether a relay runs on it or not, to the file `target`, and the contents of
    files into a directory beside it. Returns the file's bytes.

    Raises StoreError, and leaves nothing behind then; an existing file is replaced only with `force`.
    """
    beside = target.with_name(f"{target.name}.files")
    before = contents.names_in(beside)
    try:
        with writing(target, force) as part:
            _copy(directory / DATABASE_FILE, part, on_progress, _PAUSE_MAX_S)
            _copy_contents(part, directory / BLOBS, beside, on_progress)
        contents.prune(target, beside)
    except BaseException:
        contents.discard(beside, before)
        raise
    return target.stat().st_size


def _copy_contents(database: Path, source: Path, target: Path, on_progress: OnProgress) -> None:
    try:
        # What is missing was removed since the database was copied; or it was lost, which `verify` tells of.
        contents.forget(database, contents.copy_contents(database, source, target, on_progress))
    except (OSError, apsw.Error) as error:
        raise contents.explain(error, f"what is in {source}") from None


@contextmanager
def writing(target: Path, force: bool) -> Iterator[Path]:
    """The name of a file to write; it becomes `target`, synced, if that succeeds. Raises StoreError."""
    _refuse_existing(target, force)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        yield part
        _sync(part)
        _refuse_existing(target, force)
        part.replace(target)
        _sync(target.parent)
    except OSError as error:
        raise StoreError(f"{target} cannot be written: {error.strerror or error}") from None
    finally:
        for leftover in (part, part.with_name(f"{part.name}-journal")):
            leftover.unlink(missing_ok=True)


def restore(
    backup: Path, directory: Path, *, force: bool = False, on_progress: OnProgress = ignore_progress
) -> Path | None:
    """Make `directory` a relay's data directory with what is in the backup, after verifying that.

    The logs get a new generation. A database that is there already is put aside with `force`; returns where. Raises
    StoreError, also while a relay runs on the directory, and changes nothing then; DamagedError if the backup is.
    """
    if not force:
        refuse_database(directory, _FORCE)
    lock = DataLock(directory)
    try:
        if not force:
            refuse_database(directory, _FORCE)
        with staging(directory) as made:
            _copy(backup, made / DATABASE_FILE, on_progress, 0)
            _renew(made)
            try:
                contents.copy_contents(made / DATABASE_FILE, contents.place_beside(backup), made / BLOBS, on_progress)
            except apsw.Error as error:
                raise contents.explain(error, f"the files of {backup}") from None
            report = verify(made / DATABASE_FILE, on_progress)
            if report.findings:
                first = report.findings[0].sentence
                raise DamagedError(f"the backup {backup} is damaged: {first}; nothing was changed", report)
        return put_in_place(directory)
    except OSError as error:
        raise StoreError(f"the data directory {directory} cannot be written: {error.strerror or error}") from None
    finally:
        lock.release()


def refuse_database(directory: Path, or_else: str = "") -> None:
    """Raises StoreError if a database is in the directory. `or_else`: what may be done but to choose another."""
    if any((directory / name).exists() for name in _FILES):
        raise StoreError(f"a relay's data is in {directory} already; choose an empty directory{or_else}")


@contextmanager
def staging(directory: Path) -> Iterator[Path]:
    """An empty directory inside `directory`, which is locked, to make a database in; removed if that fails. Raises
    OSError.
    """
    made = directory / RESTORING
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(mode=0o700)
    try:
        yield made
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise


def put_in_place(directory: Path) -> Path | None:
    """Make the database in the staging directory, which is closed, the one of `directory`. Returns where the one that
    was there is kept. Raises OSError.

    Whenever this is interrupted, a relay finds the old database whole, or the new one, or says that the restore has to
    be repeated: never a database with another one's write-ahead log.
    """
    made = directory / RESTORING
    _sync(made / DATABASE_FILE)
    _sync(made)
    _sync(directory)
    aside = None
    filled = [name for name in (BLOBS, PARTIAL) if _holds_something(directory / name)]
    if filled or any((directory / name).exists() for name in _FILES):
        aside = Path(tempfile.mkdtemp(prefix=time.strftime("replaced-%Y%m%d-%H%M%S-"), dir=directory))
        for name in (*_FILES, *filled):
            with suppress(FileNotFoundError):
                (directory / name).rename(aside / name)
            _sync(directory)
        _sync(aside)
    if (made / BLOBS).exists():
        (made / BLOBS).rename(directory / BLOBS)
        _sync(directory)
    (made / DATABASE_FILE).rename(directory / DATABASE_FILE)
    _sync(directory)
    shutil.rmtree(made, ignore_errors=True)
    return aside


def _holds_something(path: Path) -> bool:
    return path.is_dir() and any(path.iterdir())


def _copy(source: Path, target: Path, on_progress: OnProgress, pause_max_s: float) -> None:
    origin = ReadOnlyDatabase(source)
    # It holds what passwords leave behind.
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    with closing(origin.connection):
        # Its transaction fixes what is seen; without it every write of the relay would start the copy anew.
        try:
            with closing(apsw.Connection(str(target))) as copy:
                copy.pragma("synchronous", 0)
                _copy_pages(origin, copy, on_progress, pause_max_s)
                # One file that is all there is, and that can be read from a medium that cannot be written.
                copy.pragma("journal_mode", "delete")
        except (apsw.CorruptError, apsw.NotADBError) as error:
            raise explain(error, source) from None
        except apsw.FullError:
            raise StoreError(f"no room on the disk for {target}: free some, or choose another place") from None
        except apsw.Error as error:
            raise StoreError(f"{source} cannot be copied to {target}: {error}") from None


def _copy_pages(origin: Database, copy: apsw.Connection, on_progress: OnProgress, pause_max_s: float) -> None:
    with copy.backup("main", origin.connection, "main") as pages:
        while not pages.done:
            began_at = time.monotonic()
            pages.step(_PIECE_PAGES)
            on_progress(pages.page_count - pages.remaining, pages.page_count)
            time.sleep(min(time.monotonic() - began_at, pause_max_s))


def _renew(directory: Path) -> None:
    """Bring a copy to this version, and let clients know that its logs are not those they knew."""
    database = Database(directory)
    try:
        schema.prepare(database)
        with database.change():
            sql = "UPDATE facts SET value = ? WHERE name = 'generation'"
            database.execute(sql, (schema.new_generation(),))
            # Those that were used since the backup was made would be good again.
            database.execute("DELETE FROM tickets")
    finally:
        database.close()


def _refuse_existing(target: Path, force: bool) -> None:
    if target.is_dir():
        raise StoreError(f"{target} is a directory; name a file")
    if target.exists() and not force:
        raise StoreError(f"{target} exists already; choose another name, or replace it with --force")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
