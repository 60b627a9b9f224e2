"""The keeper's half of a transfer: takes the records of one stream in order, checks each, and adds to what is there.

What is added to is a Part in a folder, or a Pass to a file object. What is wrong raises WrongContent, with the code
that the other end is told.
"""

import hashlib
from collections.abc import Callable
from typing import Any, Protocol

from relay.protocol.codes import ErrorCode
from relay.protocol.transfer import Chunk, End, Intake, TransferError
from relay_client.errors import FileFailed, WrongContent
from relay_client.files.effects import Run, Work
from relay_client.files.pace import Progress
from relay_client.files.records import Records
from relay_client.streams import ShellStream


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
        """Raises FileFailed, and BrokenPipeError as it is."""
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

    def hash_rest(self) -> Work[None]:
        """Hash what was there before."""
        while not (yield Run(self._sink.hash_some)):
            pass

    def take_all(self, stream: ShellStream, stored: Callable[[int], Work[None]]) -> Work[None]:
        """Everything up to the END, which must fit. `stored` is told of each chunk. Raises WrongContent."""
        records, intake = Records(stream), Intake(self._sink.offset, self._size)
        self._report()
        try:
            while not intake.ended:
                record = yield from records.next()
                if isinstance(record, Chunk):
                    yield Run(lambda: self._take(intake, record))  # noqa: B023 - it runs at once
                    self._report()
                    yield from stored(self._sink.offset)
                elif isinstance(record, End):
                    intake.finish(record)
                    self._check_hash(record)
                else:
                    raise WrongContent(f"a {type(record).__name__} came from {stream.peer}", ErrorCode.BAD_CHUNK)
        except TransferError as error:
            raise WrongContent(f"what came from {stream.peer}: {error.sentence}", error.code, error.sentence) from error

    def _take(self, intake: Intake, chunk: Chunk) -> None:
        intake.take(chunk)
        chunk.verify()
        self._sink.write(chunk.body())

    def _check_hash(self, end: End) -> None:
        if self._sink.digest.digest() != end.hash or self._sha256 not in (None, end.hash):
            raise TransferError(ErrorCode.WRONG_HASH, "the file's SHA-256 is not the one that was announced")

    def _report(self) -> None:
        if self._progress is not None:
            self._progress(self._sink.offset, self._size)
