"""Where received files go: one directory, and nothing outside it.

A file under way is `.NAME.part-KEY`; it holds verified chunks only, and gets its name once the whole is verified and on
the disk. Everything is done by names inside one open directory, and no symbolic link is followed, so it does not matter
what others do in the directory meanwhile. Every method may wait for the disk. The errors are FileFailed and its kinds.
"""

import contextlib
import errno
import fcntl
import hashlib
import itertools
import os
import re
import stat
import time
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Self

from relay.protocol.codes import ErrorCode
from relay_client.errors import FileBusy, FileFailed, FileThere

# What is hashed in one step at most, so that a step takes a fraction of a second.
HASH_STEP_BYTES = 64 * 1024 * 1024
READ_BYTES = 1024 * 1024

NAME_MAX_BYTES = 255

# A transfer that nobody has gone on with for so long is over. The relay forgets uploads sooner.
PART_KEPT_S = 7 * 24 * 3600.0

_PART = re.compile(r"\..*\.part-[0-9a-f]{16}", re.DOTALL)

# Filesystems that have no hard links answer so.
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


class IfThere(Enum):
    """What to do when the name is taken."""

    REFUSE = "refuse"
    REPLACE = "replace"
    NUMBER = "number"


class Folder:
    """An open directory. Raises FileFailed if it is none, or cannot be used."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        with _explained(str(path)):
            self.fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """A second time nothing happens."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def holds(self, name: str) -> bool:
        """Whether there is something of this name, be it a dangling link."""
        return self._status(name) is not None

    def refusal(self, name: str) -> FileThere:
        """Says that the name is taken."""
        sentence = f"{self.path / name} exists already; move it, or ask for it to be replaced"
        return FileThere(sentence, ErrorCode.NOT_ALLOWED, "the receiver has a file of this name already")

    def forget(self, key: str) -> None:
        """The transfer with this key will never go on: keep no part of it."""
        for name in self._parts():
            if name.endswith(_part_ending(key)):
                self._remove_unused(name)

    def sweep(self) -> None:
        """Remove the parts of transfers that have not gone on for so long that they will not."""
        until = time.time() - PART_KEPT_S
        for name in self._parts():
            status = self._status(name)
            if status is not None and status.st_mtime < until:
                self._remove_unused(name)

    def _parts(self) -> list[str]:
        return [name for name in os.listdir(self.fd) if _PART.fullmatch(name)]  # noqa: PTH208 - by descriptor

    def _remove_unused(self, name: str) -> None:
        with contextlib.suppress(OSError):
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self.fd)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if stat.S_ISREG(os.fstat(fd).st_mode):
                    os.unlink(name, dir_fd=self.fd)
            finally:
                os.close(fd)

    def _status(self, name: str) -> os.stat_result | None:
        try:
            return os.stat(name, dir_fd=self.fd, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def is_same(self, name: str, status: os.stat_result) -> bool:
        """Whether the name stands for the file with this status."""
        found = self._status(name)
        return found is not None and os.path.samestat(found, status)


class Part:
    """A file under way in a folder, locked: `offset` bytes of it are there. `key` tells transfers of one name apart.

    `landed`: the name it has got already, in an earlier program that was ended before it could say so. Raises FileBusy
    while somebody else has it open.
    """

    def __init__(self, folder: Folder, name: str, key: str, chunk_bytes: int) -> None:
        self.name = name
        self.landed: str | None = None
        self.digest = hashlib.sha256()
        self._folder = folder
        self._part = part_name(name, key)
        self._hashed = 0
        with _explained(str(folder.path / self._part)):
            self._fd = self._open()
        try:
            self._resume(chunk_bytes)
        except BaseException:
            os.close(self._fd)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def restart(self) -> None:
        """Keep nothing of what was there."""
        with self._writing():
            os.ftruncate(self._fd, 0)
        self.offset = self._hashed = 0
        self.digest = hashlib.sha256()

    def hash_some(self) -> bool:
        """Bring the hash forward by one step. Whether it has reached the offset."""
        end = min(self.offset, self._hashed + HASH_STEP_BYTES)
        while self._hashed < end:
            data = os.pread(self._fd, min(READ_BYTES, end - self._hashed), self._hashed)
            if not data:
                raise FileFailed(f"{self._folder.path / self._part} became shorter under our hands; try again")
            self.digest.update(data)
            self._hashed += len(data)
        return self._hashed == self.offset

    def write(self, data: bytes) -> None:
        """Add a verified chunk; all that was there before is hashed. Zeros become a hole. If it fails, the part is as
        it was."""
        assert self._hashed == self.offset
        end = self.offset + len(data)
        with self._writing():
            try:
                if data == bytes(len(data)):
                    os.ftruncate(self._fd, end)
                else:
                    _write_all(self._fd, data, self.offset)
            except BaseException:
                os.ftruncate(self._fd, self.offset)
                raise
        self.digest.update(data)
        self.offset = self._hashed = end

    def land(self, if_there: IfThere) -> str:
        """Make it durable and give it its name, or one with a number; the name. Raises FileThere."""
        with self._writing():
            os.fsync(self._fd)
            for name in numbered(self.name):
                if self._take_name(name, if_there):
                    self.landed = name
                    break
                if if_there is not IfThere.NUMBER:
                    raise self._folder.refusal(name)
            os.fsync(self._folder.fd)
        assert self.landed is not None
        return self.landed

    def settle(self) -> None:
        """After landing: only the name remains."""
        if self._folder.is_same(self._part, os.fstat(self._fd)):
            os.unlink(self._part, dir_fd=self._folder.fd)

    def discard(self) -> None:
        """Keep nothing."""
        if self._fd >= 0:
            self.settle()
            self.close()

    def close(self) -> None:
        """Leave it to later programs, unless nothing is in it. A second time nothing happens."""
        if self._fd < 0:
            return
        with contextlib.suppress(OSError):
            if self.offset == 0 and self.landed is None:
                self.settle()
        os.close(self._fd)
        self._fd = -1

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        while True:
            fd = os.open(self._part, flags, 0o666, dir_fd=self._folder.fd)
            try:
                if not stat.S_ISREG(os.fstat(fd).st_mode):
                    raise OSError(errno.EINVAL, "it is in the way, and no plain file: remove it")
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if self._folder.is_same(self._part, os.fstat(fd)):
                    return fd
            except BlockingIOError:
                os.close(fd)
                sentence = f"another program receives {self.name} into {self._folder.path} now: wait for it, or stop it"
                raise FileBusy(sentence, ErrorCode.NOT_ALLOWED, "the receiver is at it already") from None
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)

    def _resume(self, chunk_bytes: int) -> None:
        status = os.fstat(self._fd)
        self.offset = status.st_size
        if status.st_nlink > 1:
            self.landed = self._other_name(status)
            return
        self.offset -= self.offset % chunk_bytes
        with self._writing():
            os.ftruncate(self._fd, self.offset)

    def _other_name(self, status: os.stat_result) -> str:
        for name in itertools.chain([self.name], os.listdir(self._folder.fd)):  # noqa: PTH208 - by descriptor
            if name != self._part and self._folder.is_same(name, status):
                return name
        sentence = f"{self._folder.path / self._part} is also another file elsewhere: remove it, and try again"
        raise FileFailed(sentence, ErrorCode.NOT_ALLOWED, "the receiver cannot write it; its log says why")

    def _take_name(self, name: str, if_there: IfThere) -> bool:
        ends = {"src_dir_fd": self._folder.fd, "dst_dir_fd": self._folder.fd}
        if if_there is IfThere.REPLACE:
            os.replace(self._part, name, **ends)  # noqa: PTH105 - by descriptor
            return True
        try:
            os.link(self._part, name, **ends, follow_symlinks=False)
        except FileExistsError:
            return self._folder.is_same(name, os.fstat(self._fd))
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            return self._take_reserved(name)
        return True

    def _take_reserved(self, name: str) -> bool:
        """Without hard links: an empty file holds the name for the moment until the part is renamed to it."""
        try:
            os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666, dir_fd=self._folder.fd))
        except FileExistsError:
            return False
        fd = self._folder.fd
        os.replace(self._part, name, src_dir_fd=fd, dst_dir_fd=fd)
        return True

    def _writing(self) -> contextlib.AbstractContextManager[None]:
        return _explained(str(self._folder.path / self.name))


def part_name(name: str, key: str) -> str:
    """The name of a file under way, as long as a name may be."""
    tail = _part_ending(key)
    return "." + name.encode()[: NAME_MAX_BYTES - 1 - len(tail)].decode(errors="ignore") + tail


def _part_ending(key: str) -> str:
    return f".part-{hashlib.sha256(key.encode()).hexdigest()[:16]}"


def numbered(name: str) -> Iterator[str]:
    """`a.tar`, `a (1).tar`, `a (2).tar` and so on."""
    yield name
    stem, dot, ending = name.rpartition(".")
    if not stem:
        stem, dot, ending = name, "", ""
    for number in itertools.count(1):
        tail = f" ({number}){dot}{ending}"
        yield stem.encode()[: NAME_MAX_BYTES - len(tail.encode())].decode(errors="ignore") + tail


def _write_all(fd: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        view, offset = view[written:], offset + written


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextlib.contextmanager
def _explained(what: str) -> Iterator[None]:
    """Turn an error of the operating system into a sentence."""
    try:
        yield
    except FileFailed:
        raise
    except OSError as error:
        if error.errno in _FULL:
            sentence = f"{what}: there is no room for it ({error.strerror}); make some, and try again"
            told = "the receiver has no room for it; once there is some, the same transfer goes on"
            raise FileFailed(sentence, ErrorCode.QUOTA_EXCEEDED, told) from error
        sentence = f"{what}: {error.strerror or error}"
        if error.errno == errno.ELOOP:
            sentence = f"{what} is a symbolic link, which is not followed: remove it"
        raise FileFailed(sentence, ErrorCode.NOT_ALLOWED, "the receiver cannot write it; its log says why") from error
