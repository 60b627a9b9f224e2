"""The keeper's half of a transfer: takes the records of one stream in order, checks each, and adds to what is there.

What is added to is a Part in a folder, or a Pass to a file object. Checks raise WrongContent with the code that the
other end is told.
"""

import hashlib
from collections.abc import Callable
from typing import Any, Protocol

from relay.protocol.codes import ErrorCode
from relay.protocol.transfer import CHUNK_BYTES, Chunk, End
from relay_client.errors import FileFailed, WrongContent
from relay_client.files.effects import Run, Work
from relay_client.files.records import read_record
from relay_client.streams import ShellStream

Progress = Callable[[int, int | None], object]


class Sink(Protocol):
    """What takes a file: `offset` bytes of it are there, and `digest` covers what was hashed of them."""

    offset: int
    digest: Any

    def write(self, data: bytes) -> None: ...
    def hash_some(self) -> bool: ...


class Pass:
    """Hands chunks on to a binary file object as they are verified."""

    def __init__(self, file: Any) -> None:
        self.offset = 0
        self.digest = hashlib.sha256()
        self._file = file

    def write(self, data: bytes) -> None:
        """Raises FileFailed."""
        try:
            self._file.write(data)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise FileFailed(f"the file cannot be written to: {error.strerror or error}") from error
        self.digest.update(data)
        self.offset += len(data)

    def hash_some(self) -> bool:
        """Everything is hashed as it comes."""
        return True


class Keeping:
    """`size` and `sha256`: what was announced of the whole; None for what is not known before its end."""

    def __init__(self, sink: Sink, size: int | None, sha256: bytes | None, progress: Progress | None = None) -> None:
        self._sink = sink
        self._size = size
        self._sha256 = sha256
        self._progress = progress
        self._short = False

    def hash_rest(self) -> Work[None]:
        """Hash what was there before."""
        while not (yield Run(self._sink.hash_some)):
            pass

    def take_all(self, stream: ShellStream, stored: Callable[[int], Work[None]]) -> Work[End]:
        """Everything up to the END, which fits. `stored` is told of each chunk. Raises WrongContent."""
        self._short = False
        self._report()
        while True:
            record = yield from read_record(stream)
            if isinstance(record, Chunk):
                yield Run(lambda record=record: self._take(record))  # type: ignore[misc]
                self._report()
                yield from stored(self._sink.offset)
            elif isinstance(record, End):
                self.check_whole(record.size, record.sha256)
                return record
            else:
                raise WrongContent(f"a {type(record).__name__} came from {stream.peer}", ErrorCode.BAD_ARGUMENTS)

    def check_whole(self, size: int, sha256: bytes) -> None:
        """Raises WrongContent unless what is there is this, and what was announced."""
        sink = self._sink
        if size != sink.offset or self._size not in (None, size):
            announced = "" if self._size in (None, size) else f" and {self._size} were announced"
            sentence = f"the file ends at {size} bytes, {sink.offset} came{announced}"
            raise WrongContent(sentence, ErrorCode.BAD_CHUNK)
        if sink.digest.digest() != sha256 or self._sha256 not in (None, sha256):
            raise WrongContent("the SHA-256 of what came is not the one announced", ErrorCode.WRONG_HASH)

    def _take(self, chunk: Chunk) -> None:
        """Check a chunk and keep it."""
        offset, size = self._sink.offset, len(chunk.body)
        if chunk.offset != offset or self._short:
            what = "a gap" if chunk.offset > offset else "an overlap" if chunk.offset < offset else "a short chunk before"
            raise WrongContent(f"a chunk begins at {chunk.offset}, and {offset} bytes are there: {what}", ErrorCode.BAD_CHUNK)
        if self._size is not None and offset + size > self._size:
            raise WrongContent(f"more comes than the announced {self._size} bytes", ErrorCode.BAD_CHUNK)
        if hashlib.sha256(chunk.body).digest() != chunk.sha256:
            raise WrongContent(f"the chunk at {offset} is not what its SHA-256 says", ErrorCode.WRONG_HASH)
        self._short = size < CHUNK_BYTES
        self._sink.write(chunk.body)

    def _report(self) -> None:
        if self._progress is not None:
            self._progress(self._sink.offset, self._size)
