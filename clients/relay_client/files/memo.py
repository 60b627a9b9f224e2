"""What a program must know to go on with a transfer after it was ended: one small file for each.

They lie in `$XDG_STATE_HOME/relay/` (`~/.local/state/relay/`), are locked while the transfer runs, so that it runs
once, and are removed with its end. Lines are appended and synced: one that a crash has torn is as if never written.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import logging
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from relay_client.errors import FileBusy

log = logging.getLogger("relay_client")

# The relay forgets an unfinished upload after a day, by its standard settings.
KEPT_S = 7 * 24 * 3600.0

_SUFFIX = ".jsonl"


class Memo:
    """`facts`: what was noted so far, here or by an earlier program. `kind`: a directory; `key`: what the transfer is.

    Raises FileBusy while another one is open for the same. Without a key, and where nothing can be written, the facts
    live as long as this object.
    """

    def __init__(self, kind: str, *key: str) -> None:
        self.facts: dict[str, Any] = {}
        self._path = state_directory() / kind / (hashlib.sha256("\0".join(key).encode()).hexdigest()[:32] + _SUFFIX)
        self._fd: int | None = None
        if not key:
            return
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._fd = self._open()
            self._read()
            _forget_old(self._path.parent)
        except OSError as error:
            log.warning("%s: %s; if this program ends, the transfer begins anew", self._path.parent, error.strerror)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def note(self, **facts: Any) -> None:
        """Add facts, durably."""
        self.facts |= facts
        if self._fd is not None:
            try:
                os.write(self._fd, json.dumps(facts).encode() + b"\n")
                os.fsync(self._fd)
            except OSError as error:
                log.warning("%s: %s; if this program ends, the transfer begins anew", self._path, error.strerror)

    def forget(self) -> None:
        """The transfer is over."""
        if self._fd is not None:
            with contextlib.suppress(OSError):
                self._path.unlink()
        self.close()

    def close(self) -> None:
        """Leave it to later programs. What holds no facts is removed."""
        fd, self._fd = self._fd, None
        if fd is not None:
            if not self.facts:
                with contextlib.suppress(OSError):
                    self._path.unlink()
            os.close(fd)

    def _open(self) -> int:
        """The file, locked, and still the one of this name: another program may just have removed it."""
        while True:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(fd).st_nlink:
                    return fd
            except OSError as error:
                os.close(fd)
                if error.errno in (errno.EAGAIN, errno.EACCES):
                    raise FileBusy("another program is at the same transfer now: wait for it, or stop it") from None
                raise
            os.close(fd)

    def _read(self) -> None:
        assert self._fd is not None
        for line in os.pread(self._fd, os.fstat(self._fd).st_size, 0).splitlines():
            with contextlib.suppress(ValueError):
                facts = json.loads(line)
                if isinstance(facts, dict):
                    self.facts |= facts


def state_directory() -> Path:
    """XDG base directory specification: an empty or relative XDG_STATE_HOME counts as unset."""
    home = os.environ.get("XDG_STATE_HOME", "")
    return (Path(home) if home.startswith("/") else Path.home() / ".local/state") / "relay"


def _forget_old(directory: Path) -> None:
    until = time.time() - KEPT_S
    for path in directory.glob("*" + _SUFFIX):
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < until:
                path.unlink()
