"""A disk that remembers: a VFS for SQLite that hands everything on to the real one and keeps a record of it.

Recorded is what reaches the database's files: the database, its write-ahead log, its rollback journal. The shared
memory file is not: SQLite never syncs it and makes it anew from the write-ahead log after a crash.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import apsw

_REAL = apsw.vfs_names()[0]
_NAME = "relay-recording"


class Created(NamedTuple):
    """A file came into being. It is in its directory for good after the next DirectorySynced."""

    file: str


class Written(NamedTuple):
    """Bytes were handed to the operating system. They are on the disk after the next Synced of this file."""

    file: str
    offset: int
    data: bytes


class Truncated(NamedTuple):
    """The file was cut or extended to this size; on the disk as with Written."""

    file: str
    size: int


class Synced(NamedTuple):
    """A sync of the file has returned."""

    file: str


class SyncFailed(NamedTuple):
    """A sync of the file has failed. What it was to cover may be lost, and no later sync will tell."""

    file: str


class Deleted(NamedTuple):
    """The file was removed from its directory; for good after the next DirectorySynced."""

    file: str


class DirectorySynced(NamedTuple):
    """A sync of the directory has returned."""


class Noted(NamedTuple):
    """Something happened outside the disk, such as an acknowledgement."""

    what: Any


Event = Created | Written | Truncated | Synced | SyncFailed | Deleted | DirectorySynced | Noted


class Fault:
    """Asked before each operation; raises apsw's error to make it fail. This one lets everything pass."""

    def before_write(self, file: "RecordingFile", data: bytes, offset: int) -> None:
        pass

    def before_sync(self, file: "RecordingFile") -> None:
        pass

    def before_truncate(self, file: "RecordingFile", size: int) -> None:
        pass

    def before_read(self, file: "RecordingFile", amount: int, offset: int) -> None:
        pass


class RecordingFile(apsw.VFSFile):
    """A file of the database. `write_part` is for faults: bytes that reach the file although the write fails."""

    def __init__(self, record: "Record", filename: Any, flags: list[int]) -> None:
        super().__init__(_REAL, filename, flags)
        self._record = record
        path = filename.filename() if isinstance(filename, apsw.URIFilename) else filename
        # SQLite's own temporary files have no name; they mean nothing after a crash.
        self.name = Path(path).name if path else ""
        self._new = bool(self.name) and self.name not in record.names
        if self._new:
            record.names.add(self.name)
            record.add(Created(self.name))

    def xWrite(self, data: Any, offset: int) -> None:  # noqa: N802
        content = bytes(data)
        if self.name:
            self._record.fault.before_write(self, content, offset)
        self.write_part(content, offset)

    def write_part(self, data: bytes, offset: int) -> None:
        super().xWrite(data, offset)
        if self.name:
            self._record.add(Written(self.name, offset, data))

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        if self.name:
            self._record.fault.before_truncate(self, newsize)
        super().xTruncate(newsize)
        if self.name:
            self._record.add(Truncated(self.name, newsize))

    def xSync(self, flags: int) -> None:  # noqa: N802
        if self.name:
            try:
                self._record.fault.before_sync(self)
            except apsw.Error:
                self._record.add(SyncFailed(self.name))
                raise
        super().xSync(flags)
        if self.name:
            self._record.add(Synced(self.name))
            # SQLite syncs the directory with the first sync of a journal that it has created (os_unix.c, unixSync).
            if self._new and not self.name.endswith(".db"):
                self._record.add(DirectorySynced())
                self._new = False

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802
        if self.name:
            self._record.fault.before_read(self, amount, offset)
        return super().xRead(amount, offset)


class _RecordingVFS(apsw.VFS):
    def __init__(self, record: "Record") -> None:
        super().__init__(_NAME, _REAL)
        self._record = record

    def xOpen(self, name: Any, flags: Any) -> apsw.VFSFile:  # noqa: N802
        return RecordingFile(self._record, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        super().xDelete(filename, syncdir)
        name = Path(filename).name
        if name in self._record.names:
            self._record.names.discard(name)
            self._record.add(Deleted(name))
            if syncdir:
                self._record.add(DirectorySynced())


class Record:
    """What happened, in order: `events`. Threads may add to it at the same time."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.names: set[str] = set()
        self.fault = Fault()

    def add(self, event: Event) -> None:
        self.events.append(event)

    def note(self, what: Any) -> None:
        self.events.append(Noted(what))


@contextmanager
def recording() -> Iterator[Record]:
    """Databases that are opened inside lie on this disk. One directory at a time: files are told apart by name."""
    record = Record()
    vfs = _RecordingVFS(record)
    apsw.set_default_vfs(_NAME)
    try:
        yield record
    finally:
        apsw.set_default_vfs(_REAL)
        vfs.unregister()
