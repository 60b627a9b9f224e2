"""What is sent: a file on the disk, or something that can be read only once, such as standard input.

`read` may be asked again for what was read before, after a cut: a file is read again, of anything else the latest
chunks are kept until the other end has said that it has them. Every method may wait, for a disk or for whoever writes.
"""

import hashlib
import os
import stat
from collections import deque
from pathlib import Path
from typing import Any, Protocol

from relay.protocol.transfer import Chunk
from relay_client.errors import FileChanged, FileFailed

# What is hashed in one step at most.
HASH_STEP_BYTES = 64 * 1024 * 1024


class Readable(Protocol):
    """A binary file object."""

    def read(self, size: int, /) -> bytes | None: ...


class Source:
    """`size`: None if it is not known. `identity`: what tells it from others and from its later self; empty if it is
    there only once. `digest` covers what was read in order so far."""

    name: str = ""
    size: int | None = None
    identity: tuple[str, ...] = ()

    def __init__(self, chunk_bytes: int) -> None:
        self.digest = hashlib.sha256()
        self._chunk_bytes = chunk_bytes
        self._hashed = 0
        self._zeros = bytes(chunk_bytes)
        self._zeros_sha256 = hashlib.sha256(self._zeros).digest()

    @property
    def whole_sha256(self) -> bytes | None:
        """That of the whole, if all of it was read."""
        return self.digest.digest() if self._hashed == self._end() else None

    def read(self, offset: int) -> Chunk:
        """The chunk at the offset, empty at the end; what stands before it was hashed. Raises FileFailed and
        FileChanged."""
        body = self._bytes_at(offset)
        if offset == self._hashed:
            self.digest.update(body)
            self._hashed += len(body)
        sha256 = self._zeros_sha256 if body == self._zeros else hashlib.sha256(body).digest()
        return Chunk(offset, sha256, (body,))

    def hash_some(self, offset: int) -> bool:
        """Bring the hash forward to the offset by one step. Whether it has reached it. Raises as `read`."""
        end = min(offset, self._hashed + HASH_STEP_BYTES)
        while self._hashed < end:
            body = self._bytes_at(self._hashed)
            if not body:
                raise FileFailed(f"the other end has {offset} bytes of {self.name}, which has only {self._hashed}")
            self.digest.update(body)
            self._hashed += len(body)
        return self._hashed >= offset

    def had(self, offset: int) -> None:
        """The other end has everything before the offset."""

    def must_wait(self) -> bool:
        """Whether no more can be read before the other end has said that it has something."""
        return False

    def close(self) -> None:
        """Read no more."""

    def _end(self) -> int | None:
        """How many bytes there are, if that is known by now."""
        return self.size

    def _bytes_at(self, offset: int) -> bytes:
        raise NotImplementedError


class DiskFile(Source):
    """A file on the disk, which must not change meanwhile. Raises FileFailed."""

    def __init__(self, path: Path, fd: int, chunk_bytes: int) -> None:
        super().__init__(chunk_bytes)
        self._path = path
        self._fd = fd
        self._status = os.fstat(fd)
        self.size = self._status.st_size
        self.name = path.name
        status = self._status
        self.identity = tuple(map(str, (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)))

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _bytes_at(self, offset: int) -> bytes:
        wanted = min(self._chunk_bytes, self._status.st_size - offset)
        try:
            body = os.pread(self._fd, max(0, wanted), offset)
        except OSError as error:
            raise FileFailed(f"{self._path} cannot be read: {error.strerror}") from error
        now = os.fstat(self._fd)
        if (now.st_size, now.st_mtime_ns) != (self._status.st_size, self._status.st_mtime_ns) or len(body) < wanted:
            how = (
                f"from {self._status.st_size} to {now.st_size} bytes"
                if now.st_size != self._status.st_size
                else "inside"
            )
            raise FileChanged(f"{self._path} changed while it was sent ({how}): send it again once it rests")
        return body


class OnceOnly(Source):
    """A file object that is read in order. `kept_chunks`: how many chunks are kept for a repetition."""

    def __init__(self, file: Readable, name: str, chunk_bytes: int, kept_chunks: int = 16) -> None:
        super().__init__(chunk_bytes)
        self.name = name
        self._file = file
        self._kept: deque[bytes] = deque()
        self._kept_chunks = kept_chunks
        self._first = 0  # the offset of the first kept chunk
        self._ended = False

    def had(self, offset: int) -> None:
        while self._kept and self._first + len(self._kept[0]) <= offset:
            self._first += len(self._kept.popleft())

    def must_wait(self) -> bool:
        return len(self._kept) >= self._kept_chunks

    def _bytes_at(self, offset: int) -> bytes:
        index, begin = divmod(offset - self._first, self._chunk_bytes)
        if offset < self._first:
            raise FileFailed(f"{self.name} can be read only once, and the other end lost a part of it: send it again")
        while len(self._kept) <= index and not self._ended:
            self._kept.append(self._next())
        return self._kept[index][begin:] if index < len(self._kept) else b""

    def _end(self) -> int | None:
        return self._first + sum(map(len, self._kept)) if self._ended else None

    def _next(self) -> bytes:
        parts: list[bytes] = []
        missing = self._chunk_bytes
        while missing and not self._ended:
            try:
                part = self._file.read(missing)
            except (OSError, ValueError) as error:
                raise FileFailed(f"{self.name} cannot be read: {error}") from error
            if part is not None and not isinstance(part, bytes):
                raise FileFailed(f"{self.name} is read as text: open it with mode 'rb'")
            self._ended = not part
            parts.append(part or b"")
            missing -= len(parts[-1])
        return b"".join(parts)


def open_source(source: str | os.PathLike[str] | Readable, name: str | None, chunk_bytes: int) -> Source:
    """From what a program names. Without `name` a path gives its last component, a file object its own. Raises
    FileFailed."""
    if not isinstance(source, str | os.PathLike):
        return OnceOnly(source, name or _own_name(source), chunk_bytes)
    path = Path(source)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise FileFailed(f"{path} cannot be read: {error.strerror}") from error
    kind = os.fstat(fd).st_mode
    if stat.S_ISDIR(kind):
        os.close(fd)
        raise FileFailed(f"{path} is a directory: pack it first, for example with tar")
    if not stat.S_ISREG(kind):
        return _Pipe(fd, name or path.name, chunk_bytes)
    found = DiskFile(path, fd, chunk_bytes)
    found.name = name or path.name
    return found


class _Pipe(OnceOnly):
    """A path that is no plain file: a pipe, a device."""

    def __init__(self, fd: int, name: str, chunk_bytes: int) -> None:
        self._open = os.fdopen(fd, "rb", buffering=0)
        super().__init__(self._open, name, chunk_bytes)

    def close(self) -> None:
        self._open.close()


def _own_name(file: Any) -> str:
    own = getattr(file, "name", None)
    return Path(own).name if isinstance(own, str) else ""
