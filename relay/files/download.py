"""One download: from the OPEN of a `files.get` to the END, in a greenlet of its own.

The hashes of the chunks were kept when the file came, so nothing is hashed here: the receiver does, and notices a disk
that has forgotten something. While one piece waits for the receiver's credit the next one is read.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from relay.files.end import TransferEnd
from relay.files.upload import opening_value
from relay.protocol.codes import ErrorCode
from relay.protocol.limits import FILE_CHUNK_BYTES
from relay.protocol.transfer import End, TransferError, chunk_head, encode_record
from relay.store.blobs import Blob
from relay.store.files import StoredFile

if TYPE_CHECKING:
    from relay.files.service import FileService

# What is read at once: a quarter of a chunk, two of which are in memory beside what waits in the receiver's queue.
READ_BYTES = FILE_CHUNK_BYTES // 4


class DownloadTransfer:
    """The sender's side of one download. `run` yields, and is called once."""

    # It works on no partial file.
    partial: str | None = None

    def __init__(self, service: "FileService", end: TransferEnd) -> None:
        self._service = service
        self._end = end

    @property
    def end(self) -> TransferEnd:
        """The relay's end of its stream."""
        return self._end

    def run(self) -> None:
        """Send the file. Raises TransferError, StreamOverError, StoreError: the service tells the receiver."""
        service, end = self._service, self._end
        id, offset = _read_opening(end)
        file = service.read(lambda reader: reader.file(end.opener.user, id, service.clock_ms()))
        if file is None:
            raise TransferError(
                ErrorCode.NO_SUCH_FILE, f"there is no file {id}, or it is not for you, or its time is over"
            )
        if offset > file.size or (offset % FILE_CHUNK_BYTES and offset != file.size):
            raise TransferError(
                ErrorCode.BAD_ARGUMENTS,
                f"`offset` is a multiple of {FILE_CHUNK_BYTES} within the file, or its size, {file.size}",
            )
        blob = service.disk.run(service.directory.open_blob, file.hash, file.size)
        try:
            end.accept(
                {
                    "name": file.name,
                    "size": file.size,
                    "type": file.type,
                    "hash": file.hash,
                    "time_ms": file.time_ms,
                    "from": file.owner,
                }
            )
            self._send(blob, file, offset)
        finally:
            blob.close()

    def _send(self, blob: Blob, file: StoredFile, offset: int) -> None:
        disk, end, patience_s = self._service.disk, self._end, self._service.patience_s
        pieces = _pieces(offset, file.size)
        following = next(pieces, None)
        reading = following and disk.start(_read, blob, *following)
        try:
            while reading:
                found = reading.get()
                following = next(pieces, None)
                reading = following and disk.start(_read, blob, *following)
                end.send(found, patience_s)
        finally:
            if reading:
                reading.wait()
        end.send([encode_record(End(file.size, file.hash))], patience_s)
        end.flush(patience_s)
        end.finish()
        end.wait_finished()


def _pieces(offset: int, size: int) -> Iterator[tuple[int, int]]:
    """(offset, size) of what is read at once: never beyond the end of a chunk."""
    while offset < size:
        count = min(READ_BYTES, size - offset)
        yield offset, count
        offset += count


def _read(blob: Blob, offset: int, size: int) -> list[bytes]:
    """A piece of the file, with the head of its chunk in front if it begins one."""
    body = blob.read(offset, size)
    if offset % FILE_CHUNK_BYTES:
        return [body]
    chunk_bytes = min(FILE_CHUNK_BYTES, blob.size - offset)
    return [chunk_head(offset, blob.chunk_hash(offset), chunk_bytes), body]


def _read_opening(end: TransferEnd) -> tuple[str, int]:
    value = opening_value(end)
    if not isinstance(value, dict) or type(value.get("file")) is not str:
        raise TransferError(ErrorCode.BAD_ARGUMENTS, "the opening value is a map with `file`, an id, and `offset`")
    offset = value.get("offset", 0)
    if type(offset) is not int or offset < 0:
        raise TransferError(ErrorCode.BAD_ARGUMENTS, "`offset` is a whole number from 0")
    return value["file"][:40], offset
