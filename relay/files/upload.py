"""One upload: from the OPEN of a `files.put` to its DONE, in a greenlet of its own.

What it keeps of a chunk was verified before. Whatever ends it (a cut, a refusal, a kill of the process), what was kept
stays, and the next OPEN of the same upload goes on behind it. Only a whole that has another hash than was said, a full
disk, and the end of the permission to send there throw it away.
"""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from relay.files.disk import Pending
from relay.files.end import TransferEnd
from relay.protocol.addresses import is_address
from relay.protocol.codes import ErrorCode
from relay.protocol.limits import FILE_CHUNK_BYTES
from relay.protocol.payloads import PayloadError, Value, decode_body
from relay.protocol.transfer import (
    Chunk,
    Done,
    End,
    Have,
    Intake,
    TransferError,
    Upload,
    encode_record,
    read_upload,
)
from relay.store.base import Refusal, Store, StoreError, StoreFullError
from relay.store.blobs import BlobDirectory, Partial
from relay.store.files import Begun, Content, NewUpload, StoredFile

if TYPE_CHECKING:
    from relay.files.service import FileService

# A chunk that is hashed and written, and three quarters of the next one: with half of it a sender on the same machine
# came a fifth slower, with all of it a transfer would cost more than 2 MiB.
WINDOW_BYTES = FILE_CHUNK_BYTES * 7 // 4

# A file of unknown size reserves room in its user's quota in such steps.
RESERVE_BYTES = 64 * FILE_CHUNK_BYTES

# A HAVE after each so many bytes, if the sender takes it.
_HAVE_EVERY_BYTES = 4 * FILE_CHUNK_BYTES

# So much may wait for the disk. More would keep the commits of messages waiting when it is synced at the end.
_FLUSH_EVERY_BYTES = 16 * FILE_CHUNK_BYTES

# Chunks that are read again in one go where the hash of the whole is behind.
_CATCH_UP_CHUNKS = 64


class UploadTransfer:
    """The keeper's side of one upload. `run` yields, and is called once."""

    def __init__(self, service: "FileService", end: TransferEnd) -> None:
        self._service = service
        self._end = end
        self._user = end.opener.user
        self._upload: Upload | None = None
        self._begun: Begun | None = None
        self._partial: Partial | None = None
        self._flushing: Pending[None] | None = None

    @property
    def end(self) -> TransferEnd:
        """The relay's end of its stream."""
        return self._end

    @property
    def partial(self) -> str | None:
        """The name of the partial file that it works on."""
        return self._begun and self._begun.partial

    def run(self) -> None:
        """Receive the file. Raises TransferError, StreamOverError, StoreError: the service tells the sender."""
        upload = self._upload = _read_opening(self._end)
        with self._service.alone(self, (self._user, upload.upload)):
            found = self._begin(upload)
            if isinstance(found, StoredFile):
                self._tell_done(found)
                return
            self._begun = found
            try:
                self._work(upload, found)
            except StoreFullError:
                self._throw_away()
                raise
            finally:
                self._stop()

    def _begin(self, upload: Upload) -> StoredFile | Begun:
        service = self._service
        new = NewUpload(self._user, upload.upload, upload.to, upload.name, upload.type, upload.size, upload.hash)
        return _accepted(service.write(lambda store: store.begin_upload(new, service.terms, service.clock_ms())))

    def _work(self, upload: Upload, begun: Begun) -> None:
        disk, directory = self._service.disk, self._service.directory
        complete = disk.run(directory.recover, begun.partial)
        if complete is not None:
            self._tell_done(self._keep(begun, complete, partial(_recover_again, directory, begun.partial)))
            return
        unfinished = self._partial = disk.run(directory.open_partial, begun.partial)
        free_bytes = disk.run(directory.free_bytes)
        if (upload.size or 0) - unfinished.offset > free_bytes:
            raise StoreFullError(f"this file has {upload.size} bytes; the relay's disk has room for {free_bytes}")
        self._end.accept({"offset": unfinished.offset, "chunk": FILE_CHUNK_BYTES})
        content = self._receive(Intake(unfinished.offset, upload.size), unfinished, begun)
        self._verify(content, unfinished, upload)
        disk.run(unfinished.sync)
        disk.run(directory.seal, begun.partial, content.hash, content.size)
        self._close()
        file = self._keep(begun, content, partial(directory.place, begun.partial, content.hash, content.size))
        self._end.send([encode_record(Done(file.id, file.size, file.hash))], self._service.patience_s)
        self._end.flush(self._service.patience_s)
        self._end.finish()
        self._end.wait_finished()

    def _receive(self, intake: Intake, unfinished: Partial, begun: Begun) -> Content:
        """Take chunks until the END. Returns what that says."""
        end, told, reserved = self._end, unfinished.offset, begun.reserved_bytes
        while True:
            end.grant(WINDOW_BYTES)
            record = end.reader.next_record()
            if isinstance(record, Chunk):
                intake.take(record)
                reserved = self._reserve(intake.offset, reserved)
                self._service.disk.run(unfinished.write, record)
                del record
                if not intake.offset % _FLUSH_EVERY_BYTES:
                    self._flush(unfinished)
                if intake.offset - told >= _HAVE_EVERY_BYTES:
                    told = self._tell_have(intake.offset, told)
            elif isinstance(record, End):
                intake.finish(record)
                return Content(*record)
            elif record is not None:
                raise TransferError(ErrorCode.BAD_CHUNK, "a keeper takes CHUNKs and one END")
            elif end.finished:
                raise TransferError(ErrorCode.BAD_CHUNK, "the stream was finished before the file's END")
            else:
                end.wait(self._service.patience_s)

    def _flush(self, unfinished: Partial) -> None:
        """Begin to bring what came to the disk, once what came before is there."""
        if self._flushing is not None:
            self._flushing.get()
        self._flushing = self._service.disk.start(unfinished.flush)

    def _close(self) -> None:
        if self._flushing is not None:
            self._flushing.wait()
        if self._partial is not None:
            self._partial.close()

    def _reserve(self, offset: int, reserved: int) -> int:
        if offset <= reserved:
            return reserved
        problem = self._try_to_reserve(offset + RESERVE_BYTES)
        if problem is None:
            return offset + RESERVE_BYTES
        problem = self._try_to_reserve(offset)
        if problem is None:
            return offset
        # It can never become whole, and would only take room from her other files.
        self._throw_away()
        raise TransferError(problem.code, problem.sentence)

    def _try_to_reserve(self, size_bytes: int) -> Refusal | None:
        service, upload = self._service, self._upload
        assert upload is not None

        def operation(store: Store) -> Refusal | None:
            return store.reserve_upload(self._user, upload.upload, size_bytes, service.terms, service.clock_ms())

        return service.write(operation)

    def _tell_have(self, offset: int, told: int) -> int:
        record = encode_record(Have(offset))
        if self._end.credit < len(record):
            return told
        self._end.send([record], self._service.patience_s)
        self._end.flush(self._service.patience_s)
        return offset

    def _verify(self, content: Content, unfinished: Partial, upload: Upload) -> None:
        while not self._service.disk.run(unfinished.catch_up, _CATCH_UP_CHUNKS):
            self._end.check()
        if unfinished.digest() != content.hash:
            self._throw_away()
            raise TransferError(
                ErrorCode.WRONG_HASH, "the file does not have the SHA-256 that END says; all of it must be sent again"
            )
        if upload.hash is not None and upload.hash != content.hash:
            self._throw_away()
            raise TransferError(
                ErrorCode.WRONG_HASH, "the file does not have the SHA-256 that it was announced with; send it again"
            )

    def _keep(self, begun: Begun, content: Content, place: Callable[[], object]) -> StoredFile:
        """Put the content in its place, and make the upload a file."""
        service, user, upload = self._service, self._user, self._upload
        assert upload is not None
        with service.placing(content.hash):
            service.disk.run(place)
            found = service.write(
                lambda store: store.finish_upload(user, upload.upload, content, service.terms, service.clock_ms())
            )
        if isinstance(found, Refusal):
            self._throw_away()
            service.discard(content.hash)
            raise TransferError(found.code, found.sentence)
        service.disk.run(service.directory.remove_partial, begun.partial)
        return found

    def _tell_done(self, file: StoredFile) -> None:
        value: Value = {"offset": file.size, "chunk": FILE_CHUNK_BYTES, "done": [file.id, file.size, file.hash]}
        self._end.accept(value)
        self._end.finish()
        self._end.wait_finished()

    def _throw_away(self) -> None:
        service, user, upload, begun = self._service, self._user, self._upload, self._begun
        assert upload is not None
        self._close()
        if begun is not None:
            # On a full disk this is what makes room for the other.
            service.disk.run(service.directory.remove_partial, begun.partial)
            service.write(lambda store: store.drop_upload(user, upload.upload))
        self._begun = None

    def _stop(self) -> None:
        """Leave what is worth to go on with."""
        self._close()
        if self._partial is not None and not self._partial.offset:
            # Opened and dropped, however often, leaves nothing.
            self._throw_away()
        if self._begun is not None:
            name, service = self._begun.partial, self._service
            service.write(lambda store: store.touch_upload(name, service.clock_ms()))


def _read_opening(end: TransferEnd) -> Upload:
    upload = read_upload(opening_value(end))
    if not is_address(upload.to) or "/" in upload.to:
        raise TransferError(ErrorCode.BAD_ADDRESS, "`to` is a user or a room in canonical form, such as bob or #ops")
    return upload


def opening_value(end: TransferEnd) -> Value:
    """What came with the OPEN. Raises TransferError."""
    try:
        return decode_body(end.packet.content_type, end.packet.body)
    except PayloadError as error:
        raise TransferError(ErrorCode.BAD_ARGUMENTS, str(error)) from None


def _recover_again(directory: BlobDirectory, name: str) -> None:
    """What was placed may have been deleted, as long as it was nobody's. Raises StoreError then."""
    if directory.recover(name) is None:
        raise StoreError("what the relay had of this upload was deleted meanwhile; send it again")


def _accepted(found: StoredFile | Begun | Refusal) -> StoredFile | Begun:
    if isinstance(found, Refusal):
        raise TransferError(found.code, found.sentence)
    return found
