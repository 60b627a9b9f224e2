"""A disk that fails when told to: a VFS for SQLite in front of the real one."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import apsw

NAME = "relay-faults"
_REAL = apsw.vfs_names()[0]


class Faults:
    """What goes wrong from now on. `writes_left`: None for any number, else writes beyond it fail."""

    def __init__(self) -> None:
        self.writes_left: int | None = None
        self.write_error: type[apsw.Error] = apsw.FullError
        self.syncs_fail = False
        self.syncs = 0

    def check_write(self) -> None:
        if self.writes_left is None:
            return
        if self.writes_left == 0:
            raise self.write_error("told to fail")
        self.writes_left -= 1

    def check_sync(self) -> None:
        self.syncs += 1
        if self.syncs_fail:
            raise apsw.IOError("told to fail")


class _FaultyFile(apsw.VFSFile):
    def __init__(self, faults: Faults, filename: Any, flags: Any) -> None:
        super().__init__(_REAL, filename, flags)
        self._faults = faults

    def xWrite(self, data: Any, offset: int) -> None:  # noqa: N802
        self._faults.check_write()
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:  # noqa: N802
        self._faults.check_sync()
        super().xSync(flags)


class _FaultyVFS(apsw.VFS):
    def __init__(self, faults: Faults) -> None:
        super().__init__(NAME, _REAL)
        self._faults = faults

    def xOpen(self, name: Any, flags: Any) -> apsw.VFSFile:  # noqa: N802
        return _FaultyFile(self._faults, name, flags)


@contextmanager
def faulty_disk() -> Iterator[Faults]:
    """Databases that are opened inside lie on this disk."""
    faults = Faults()
    vfs = _FaultyVFS(faults)
    apsw.set_default_vfs(NAME)
    try:
        yield faults
    finally:
        apsw.set_default_vfs(_REAL)
        vfs.unregister()
