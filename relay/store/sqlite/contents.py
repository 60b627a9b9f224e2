"""The contents of files beside a database or a backup of it: copied with it, and checked against their hashes.

A data directory has them in `blobs`, a backup `x.db` in the directory `x.db.files` beside it. They never change once
they are there, so that a hard link is as good as a copy where one is possible.
"""

import errno
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import apsw

from relay.protocol.limits import FILE_CHUNK_BYTES
from relay.protocol.transfer import HASH_BYTES
from relay.store.base import StoreError
from relay.store.blobs import BLOBS, CHUNKS
from relay.store.files import Content
from relay.store.sqlite.database import DATABASE_FILE, open_for_reading

OnProgress = Callable[[int, int], None]

# Where links cannot be made: another file system, one that has none, or too many of one file.
_NO_LINK = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EACCES})

_ZEROS = bytes(FILE_CHUNK_BYTES)


def place_beside(database: Path) -> Path:
    """The directory of the contents that belong to a database file."""
    beside = database.with_name(f"{database.name}.files")
    if database.name == DATABASE_FILE and not beside.exists():
        return database.with_name(BLOBS)
    return beside


def contents_in(database: Path) -> list[Content]:
    """The contents that a database's files refer to, by hash; none in one of an earlier version. Raises apsw.Error."""
    with closing(open_for_reading(database)) as connection:
        if not connection.table_exists("main", "files"):
            return []
        sql = "SELECT DISTINCT size, hash FROM files ORDER BY hash"
        return [Content(*row) for row in connection.execute(sql)]


def copy_contents(database: Path, source: Path, target: Path, on_progress: OnProgress) -> list[bytes]:
    """Bring the contents that `database` refers to from one directory to another, which is made if there are any, by
    hard links or copies, durably. Returns the hashes of those that are not there. Raises OSError, apsw.Error.
    """
    contents = contents_in(database)
    if not contents:
        return []
    target.mkdir(mode=0o700, exist_ok=True)
    missing, done, total = [], 0, sum(content.size for content in contents)
    for content in contents:
        if not _bring(content, source, target):
            missing.append(content.hash)
        done += content.size
        on_progress(done, max(1, total))
    _sync(target)
    return missing


def forget(database: Path, hashes: list[bytes]) -> None:
    """Take the files of these contents out of a copy of a database: they were removed while it was made. Raises
    apsw.Error.
    """
    if hashes:
        with closing(apsw.Connection(str(database))) as connection, connection:
            for hash in hashes:
                connection.execute("DELETE FROM files WHERE hash = ?", (hash,))


def prune(database: Path, directory: Path) -> None:
    """Delete what an earlier backup of the same name has in the directory. Raises OSError, apsw.Error."""
    if not directory.is_dir():
        return
    kept = {content.hash.hex() for content in contents_in(database)}
    for path in list(directory.iterdir()):
        if path.name.removesuffix(CHUNKS) not in kept:
            path.unlink()
    if not kept:
        directory.rmdir()


def damages(database: Path, directory: Path, on_progress: OnProgress) -> Iterator[tuple[Content, str | None]]:
    """Each content that the database refers to, and what is wrong with it, if anything is. Reads all of them. Raises
    apsw.Error.
    """
    contents = contents_in(database)
    done, total = 0, sum(content.size for content in contents)
    for content in contents:
        problem = None
        try:
            problem = _problem(content, directory)
        except FileNotFoundError:
            # A relay that runs meanwhile may have deleted it, with its files.
            if content in contents_in(database):
                problem = "is missing"
        except OSError as error:
            problem = f"cannot be read: {error.strerror or error}"
        yield content, problem
        done += content.size
        on_progress(done, max(1, total))


def _problem(content: Content, directory: Path) -> str | None:
    whole, chunks = hashlib.sha256(), bytearray()
    with (directory / content.hash.hex()).open("rb") as file:
        size = 0
        while body := file.read(FILE_CHUNK_BYTES):
            size += len(body)
            whole.update(body)
            chunks += hashlib.sha256(body).digest()
    if size != content.size:
        return f"has {size} bytes and not {content.size}"
    if whole.digest() != content.hash:
        return "is altered"
    if size > FILE_CHUNK_BYTES and (directory / f"{content.hash.hex()}{CHUNKS}").read_bytes() != chunks:
        return "has other hashes of its chunks than were stored with it"
    return None


def _bring(content: Content, source: Path, target: Path) -> bool:
    """Whether the content was there."""
    name = content.hash.hex()
    try:
        if content.size > FILE_CHUNK_BYTES:
            _link_or_copy(source / f"{name}{CHUNKS}", target / f"{name}{CHUNKS}")
        _link_or_copy(source / name, target / name)
    except FileNotFoundError:
        for left in (target / name, target / f"{name}{CHUNKS}"):
            left.unlink(missing_ok=True)
        return False
    return True


def _link_or_copy(source: Path, target: Path) -> None:
    part = target.with_name(f".{target.name}.part")
    part.unlink(missing_ok=True)
    try:
        os.link(source, part, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        _copy(source, part)
    part.replace(target)


def _copy(source: Path, target: Path) -> None:
    """A durable copy, whose chunks of zeros are holes."""
    with source.open("rb") as read, os.fdopen(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as to:
        while body := read.read(FILE_CHUNK_BYTES):
            if body == _ZEROS:
                to.seek(len(body), os.SEEK_CUR)
            else:
                to.write(body)
        to.truncate(read.tell())
        to.flush()
        os.fsync(to.fileno())


def discard(directory: Path, before: set[str] | None) -> None:
    """Take back what was added to a directory since it had the names `before`; None: it did not exist."""
    if before is None:
        shutil.rmtree(directory, ignore_errors=True)
        return
    for path in directory.iterdir() if directory.is_dir() else ():
        if path.name not in before:
            with suppress(OSError):
                path.unlink()


def names_in(directory: Path) -> set[str] | None:
    """The names in a directory; None if it does not exist."""
    return {path.name for path in directory.iterdir()} if directory.is_dir() else None


def is_content(size: object, hash: object) -> bool:
    """Whether these are the size and the hash of a content."""
    return isinstance(size, int) and size >= 0 and isinstance(hash, bytes) and len(hash) == HASH_BYTES


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def explain(error: OSError | apsw.Error, what: str) -> StoreError:
    """Why contents could not be copied."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return StoreError(f"no room on the disk for {what}: free some, or choose another place")
    return StoreError(f"{what} cannot be copied: {error}")
