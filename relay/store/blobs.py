"""The contents of files, in two directories beside the database: `blobs` under their SHA-256, `partial` unfinished.

Plain blocking code, for threads that may wait for a disk; one thread at a time for each object. Beside each lies a file
of the SHA-256 of its chunks: uploads go on from it after whatever happened, downloads send it along.

Everything is opened relative to the two directories and without following symbolic links, so that nothing is ever
written anywhere else.
"""

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from relay.protocol.codes import ErrorCode
from relay.protocol.limits import FILE_CHUNK_BYTES
from relay.protocol.transfer import HASH_BYTES, Chunk, TransferError
from relay.store.base import StoreError, StoreFullError
from relay.store.files import Content

BLOBS = "blobs"
PARTIAL = "partial"

# What the name of a file of chunk hashes ends with. A content of one chunk has none.
CHUNKS = ".chunks"

# And that of the mark of a partial content that is complete: its hash and size. It may have been placed already.
COMPLETE = ".complete"

# A chunk of zeros is not written: it becomes a hole.
_ZEROS = hashlib.sha256(bytes(FILE_CHUNK_BYTES)).digest()

# With every chunk that comes, so many are read again to catch up with the hash of the whole after a restart.
_CATCH_UP_CHUNKS = 4

_SIZE_BYTES = 8

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

# So much of the disk is left to messages.
FREE_MIN_BYTES = 32 * 1024 * 1024


class BlobDirectory:
    """The contents beneath a data directory, which is made if it is missing. Raises StoreError, as all methods do."""

    def __init__(self, data: Path) -> None:
        self._path = data
        # Buffers of one chunk for the threads that work here: as many as ever worked at once.
        self._buffers: list[bytearray] = []
        with self._explained():
            data.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._blobs = _open_directory(data / BLOBS)
            try:
                self._partial = _open_directory(data / PARTIAL)
            except BaseException:
                os.close(self._blobs)
                raise

    def __repr__(self) -> str:
        return f"<BlobDirectory {self._path}>"

    def close(self) -> None:
        """Release the directories."""
        os.close(self._blobs)
        os.close(self._partial)

    def free_bytes(self) -> int:
        """What files may take of the disk."""
        with self._explained():
            found = os.fstatvfs(self._partial)
        return max(0, found.f_bavail * found.f_frsize - FREE_MIN_BYTES)

    def open_partial(self, name: str) -> "Partial":
        """The unfinished content of this name; empty if there is none. What is torn at its end is cut off."""
        with self._explained():
            data = _open(name, self._partial)
            try:
                return Partial(self, name, data, _open(name + CHUNKS, self._partial))
            except BaseException:
                os.close(data)
                raise

    def place(self, name: str, hash: bytes, size: int) -> None:
        """Make a partial content, which is complete and synced, the one of this hash. Durable when it returns."""
        with self._explained():
            if size > FILE_CHUNK_BYTES:
                self._move(name + CHUNKS, hash.hex() + CHUNKS)
            else:
                _unlink(name + CHUNKS, self._partial)
            self._move(name, hash.hex())
            os.fsync(self._blobs)

    def seal(self, name: str, hash: bytes, size: int) -> None:
        """Note that a partial content is complete, so that nobody sends it again if the process is killed before that
        is known to the store.
        """
        with self._explained():
            mark = _open(name + COMPLETE, self._partial)
            try:
                os.pwrite(mark, hash + size.to_bytes(_SIZE_BYTES, "big"), 0)
            finally:
                os.close(mark)

    def recover(self, name: str) -> Content | None:
        """Place a partial content that was sealed. None if there is none that is complete."""
        with self._explained():
            try:
                mark = _open(name + COMPLETE, self._partial, os.O_RDONLY)
            except FileNotFoundError:
                return None
            try:
                sealed = os.read(mark, HASH_BYTES + _SIZE_BYTES)
            finally:
                os.close(mark)
            content = Content(int.from_bytes(sealed[HASH_BYTES:], "big"), sealed[:HASH_BYTES])
            if len(sealed) == HASH_BYTES + _SIZE_BYTES and self._replace(name, content):
                return content
            _unlink(name + COMPLETE, self._partial)
            return None

    def _replace(self, name: str, content: Content) -> bool:
        """Place a complete partial content; whether it is there then."""
        chunked = content.size > FILE_CHUNK_BYTES
        if _size(name, self._partial) == content.size:
            if not chunked or _size(name + CHUNKS, self._partial) is not None:
                self.place(name, content.hash, content.size)
            elif _size(content.hash.hex() + CHUNKS, self._blobs) is not None:
                self._move(name, content.hash.hex())
                os.fsync(self._blobs)
        return _size(content.hash.hex(), self._blobs) == content.size

    def open_blob(self, hash: bytes, size: int) -> "Blob":
        """The content of this hash, for reading."""
        with self._explained():
            data = _open(hash.hex(), self._blobs, os.O_RDONLY)
            try:
                if os.fstat(data).st_size != size:
                    raise self.damaged(hash)
                chunks = _open(hash.hex() + CHUNKS, self._blobs, os.O_RDONLY) if size > FILE_CHUNK_BYTES else -1
            except BaseException:
                os.close(data)
                raise
            return Blob(self, hash, size, data, chunks)

    def remove_partial(self, name: str) -> None:
        """Delete an unfinished content. One that does not exist is ignored."""
        with self._explained():
            for suffix in (COMPLETE, CHUNKS, ""):
                _unlink(name + suffix, self._partial)

    def remove_blob(self, hash: bytes) -> None:
        """Delete a content; who reads it may go on. One that does not exist is ignored."""
        with self._explained():
            _unlink(hash.hex() + CHUNKS, self._blobs)
            _unlink(hash.hex(), self._blobs)

    def partial_names(self) -> set[str]:
        """What there is of partial contents."""
        with self._explained():
            names = os.listdir(self._partial)  # noqa: PTH208
        return {name.removesuffix(CHUNKS).removesuffix(COMPLETE) for name in names}

    def hashes(self) -> set[bytes]:
        """The contents that are there. Anything with another name is left alone."""
        with self._explained():
            names = {name.removesuffix(CHUNKS) for name in os.listdir(self._blobs)}  # noqa: PTH208
        found = set()
        for name in names:
            with suppress(ValueError):
                hash = bytes.fromhex(name)
                if len(hash) == HASH_BYTES and hash.hex() == name:
                    found.add(hash)
        return found

    @contextmanager
    def borrowed(self) -> Iterator[memoryview]:
        """A buffer of one chunk."""
        buffer = self._buffers.pop() if self._buffers else bytearray(FILE_CHUNK_BYTES)
        try:
            with memoryview(buffer) as view:
                yield view
        finally:
            self._buffers.append(buffer)

    def damaged(self, hash: bytes) -> StoreError:
        """The error for a content that is not what it was."""
        return StoreError(
            f"the content {hash.hex()} in {self._path / BLOBS} is missing or altered; `relay verify` tells of all such"
        )

    def _move(self, name: str, target: str) -> None:
        # One that is there already has the same content: this one takes its place, and mends it if it was damaged.
        os.rename(name, target, src_dir_fd=self._partial, dst_dir_fd=self._blobs)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self.explain(error) from error

    def explain(self, error: OSError) -> StoreError:
        """The system's error as ours."""
        if error.errno in _FULL:
            return StoreFullError("there is no room for the file on the relay's disk; try again when there is")
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            return StoreError(
                f"there is a symbolic link, or no directory, where {self._path} has its files; remove it, and mount or "
                f"move the whole data directory instead"
            )
        return StoreError(f"the files in {self._path} cannot be used: {error.strerror or error}")


class Partial:
    """An unfinished content. `offset`: everything before it is there, in whole chunks until the last one comes."""

    def __init__(self, directory: BlobDirectory, name: str, data: int, chunks: int) -> None:
        """Owns both descriptors once it was made. Raises OSError."""
        self.name = name
        self._directory = directory
        self._data = data
        self._chunks = chunks
        self._whole = hashlib.sha256()
        self._hashed = 0
        self._closed = False
        try:
            count = min(os.fstat(data).st_size // FILE_CHUNK_BYTES, os.fstat(chunks).st_size // HASH_BYTES)
            self.offset = 0
            self._cut(count)
        except BaseException:
            os.close(chunks)
            raise

    def __repr__(self) -> str:
        return f"<Partial {self.name}: {self.offset} bytes, {self._hashed} hashed>"

    def write(self, chunk: Chunk) -> None:
        """Verify and keep the next chunk. Raises TransferError (WRONG_HASH), StoreError; then nothing of it is kept."""
        with self._directory.borrowed() as buffer, self._explained():
            at = 0
            for piece in chunk.pieces:
                buffer[at : at + len(piece)] = piece
                at += len(piece)
            with buffer[:at] as body:
                if hashlib.sha256(body).digest() != chunk.hash:
                    raise TransferError(
                        ErrorCode.WRONG_HASH,
                        f"the chunk at offset {chunk.offset} does not have the SHA-256 sent with it",
                    )
                self._store(body, chunk.hash)
                if self._hashed == self.offset:
                    self._whole.update(body)
                    self._hashed += at
            self.offset += at
        self.catch_up(_CATCH_UP_CHUNKS)

    def catch_up(self, chunks: int) -> bool:
        """Take up to so many stored chunks into the hash of the whole; whether all of them are. Raises TransferError if
        one was altered since it was stored: the content ends there now.
        """
        with self._directory.borrowed() as buffer, self._explained():
            while self._hashed < self.offset and chunks:
                chunks -= 1
                with buffer[: min(FILE_CHUNK_BYTES, self.offset - self._hashed)] as body:
                    read_fully(self._data, body, self._hashed)
                    number = self._hashed // FILE_CHUNK_BYTES
                    if hashlib.sha256(body).digest() != os.pread(self._chunks, HASH_BYTES, number * HASH_BYTES):
                        self._cut(number)
                        raise TransferError(
                            ErrorCode.WRONG_HASH,
                            f"what the relay had of this upload was damaged from offset {self.offset} on; go on there",
                        )
                    self._whole.update(body)
                    self._hashed += len(body)
        return self._hashed == self.offset

    def digest(self) -> bytes:
        """The SHA-256 of the whole, once `catch_up` says so."""
        assert self._hashed == self.offset
        return self._whole.digest()

    def flush(self) -> None:
        """Have what was written so far on the disk. May run beside `write`."""
        with self._explained():
            os.fdatasync(self._data)

    def sync(self) -> None:
        """Make it durable."""
        with self._explained():
            os.fsync(self._data)
            os.fsync(self._chunks)

    def close(self) -> None:
        """Release the descriptors. Calling it twice is allowed."""
        if not self._closed:
            self._closed = True
            os.close(self._data)
            os.close(self._chunks)

    def _store(self, body: memoryview, hash: bytes) -> None:
        if hash == _ZEROS:
            os.ftruncate(self._data, self.offset + len(body))
        else:
            written = 0
            while written < len(body):
                written += os.pwrite(self._data, body[written:], self.offset + written)
            if hasattr(os, "posix_fadvise"):
                # Linux begins to write it to the disk now, instead of everything at the sync: that would keep the
                # commits of messages waiting.
                os.posix_fadvise(self._data, self.offset, len(body), os.POSIX_FADV_DONTNEED)
        os.pwrite(self._chunks, hash, self.offset // FILE_CHUNK_BYTES * HASH_BYTES)

    def _cut(self, count: int) -> None:
        """Keep so many chunks. Raises OSError."""
        os.ftruncate(self._data, count * FILE_CHUNK_BYTES)
        os.ftruncate(self._chunks, count * HASH_BYTES)
        self.offset = count * FILE_CHUNK_BYTES

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._directory.explain(error) from error


class Blob:
    """A content, for reading."""

    def __init__(self, directory: BlobDirectory, hash: bytes, size: int, data: int, chunks: int) -> None:
        self.hash = hash
        self.size = size
        self._directory = directory
        self._data = data
        self._chunks = chunks

    def read(self, offset: int, size: int) -> bytes:
        """So many bytes, all of which must be there."""
        try:
            found = os.pread(self._data, size, offset)
        except OSError as error:
            raise self._directory.explain(error) from error
        if len(found) != size:
            raise self._directory.damaged(self.hash)
        return found

    def chunk_hash(self, offset: int) -> bytes:
        """The SHA-256 of the chunk at this offset."""
        if self._chunks < 0:
            return self.hash
        try:
            found = os.pread(self._chunks, HASH_BYTES, offset // FILE_CHUNK_BYTES * HASH_BYTES)
        except OSError as error:
            raise self._directory.explain(error) from error
        if len(found) != HASH_BYTES:
            raise self._directory.damaged(self.hash)
        return found

    def close(self) -> None:
        """Release the descriptors. Calling it twice is allowed."""
        for descriptor in (self._data, self._chunks):
            if descriptor >= 0:
                os.close(descriptor)
        self._data = self._chunks = -1


def read_fully(descriptor: int, body: memoryview, offset: int) -> None:
    """Fill `body` with what is at the offset, or zeros behind the file's end. Raises OSError."""
    done = 0
    while done < len(body):
        count = os.preadv(descriptor, [body[done:]], offset + done)
        if not count:
            body[done:] = bytes(len(body) - done)
            return
        done += count


def _open_directory(path: Path) -> int:
    """A directory for this user alone. Raises OSError."""
    try:
        path.mkdir(0o700)
    except FileExistsError:
        pass
    else:
        _sync_directory(path.parent)
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _open(name: str, directory: int, flags: int = os.O_RDWR | os.O_CREAT) -> int:
    """A regular file in the directory, never what a symbolic link names. Raises OSError."""
    descriptor = os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, 0o600, dir_fd=directory)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.ENOTDIR, "not a regular file")
    return descriptor


def _size(name: str, directory: int) -> int | None:
    """How long a file is; None if there is none."""
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False).st_size
    except FileNotFoundError:
        return None


def _unlink(name: str, directory: int) -> None:
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=directory)
