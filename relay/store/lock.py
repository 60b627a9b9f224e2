"""One relay per data directory: a lock that the operating system drops when its process ends, however it ends."""

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from relay.store.base import StoreError

LOCK_FILE = "relay.lock"


class DataLock:
    """Held by the relay that serves a data directory. Makes the directory if it is missing.

    Raises StoreError, naming the process, while another relay holds it.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._descriptor = _open_lock(directory)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._descriptor)
            pid = holder(directory)
            who = f"process {pid}" if pid else "another process"
            raise StoreError(
                f"a relay is running on {directory} already ({who}); stop it, or choose another directory with --data"
            ) from None
        with suppress(OSError):  # on a full disk the lock holds as well without a name in it
            os.ftruncate(self._descriptor, 0)
            os.write(self._descriptor, f"{os.getpid()}\n".encode())

    def release(self) -> None:
        """Let another relay have the directory. Calling it twice is allowed.

        The file stays: removing it would let two processes lock two different files of the same name.
        """
        if self._descriptor >= 0:
            with suppress(OSError):
                os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = -1


def holder(directory: Path) -> int | None:
    """The process that holds the lock, as far as its file tells; None if it does not."""
    try:
        text = (directory / LOCK_FILE).read_text()
    except OSError:
        return None
    return int(text) if text.strip().isdigit() else None


def _open_lock(directory: Path) -> int:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(directory / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    except (FileExistsError, NotADirectoryError):
        raise StoreError(f"{directory} is no directory; choose another with --data") from None
    except OSError as error:
        raise StoreError(
            f"the data directory {directory} cannot be used: {error.strerror}; "
            f"make it writable for this user, or choose another with --data"
        ) from None
