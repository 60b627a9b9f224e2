"""The file service: which transfers run, and what happens to contents that nothing refers to.

A content is deleted only by `discard`, and only if no file refers to it at that moment. Between its arrival in the
directory and the row that refers to it an upload is `placing` it: nobody deletes it then, and nobody places a content
that is being deleted.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple, TypeVar

import gevent
from gevent.event import Event

from relay.files.disk import Disk
from relay.files.download import DownloadTransfer
from relay.files.end import StreamOverError, TransferEnd
from relay.files.upload import UploadTransfer
from relay.hub import wait_for
from relay.protocol.codes import ErrorCode
from relay.protocol.packets import Open
from relay.protocol.transfer import GET, PUT, TransferError
from relay.router.log import Log
from relay.router.streams import StreamTable
from relay.router.subscriber import Subscriber
from relay.store.base import Reader, Store, StoreError
from relay.store.blobs import BlobDirectory
from relay.store.files import Content, FileTerms, Swept

T = TypeVar("T")

log = logging.getLogger("relay.files")

# What one sweep forgets at once; it goes on while there is more.
_SWEPT_AT_ONCE = 100

# Contents compared with the database at once, at the start.
_PAGE = 1000


class TransferLimits(NamedTuple):
    """How many transfers there may be, in all and of one user, and how long one may stand still."""

    transfers_max: int = 200
    transfers_per_user_max: int = 32
    patience_s: float = 120.0


Transfer = UploadTransfer | DownloadTransfer

_KINDS: dict[str, Callable[["FileService", TransferEnd], Transfer]] = {PUT: UploadTransfer, GET: DownloadTransfer}


class FileService:
    """Uploads and downloads. Made with the table of streams and the store's asynchronous face; `stop` at the end."""

    def __init__(  # noqa: PLR0913 - what it works with, by keyword
        self,
        table: StreamTable,
        store: Log,
        directory: BlobDirectory,
        *,
        terms: FileTerms,
        limits: TransferLimits,
        clock_ms: Callable[[], int],
    ) -> None:
        self.directory = directory
        self.disk = Disk()
        self.terms = terms
        self.clock_ms = clock_ms
        self.patience_s = limits.patience_s
        self._table = table
        self._store = store
        self._limits = limits
        self._transfers: dict[Transfer, gevent.Greenlet] = {}
        self._by_user: Counter[str] = Counter()
        self._uploads: dict[tuple[str, str], UploadTransfer] = {}
        self._placing: Counter[bytes] = Counter()
        self._discarding: dict[bytes, Event] = {}
        self._stopping = False

    def __repr__(self) -> str:
        return f"<FileService: {len(self._transfers)} transfers>"

    def __len__(self) -> int:
        return len(self._transfers)

    def statistics(self) -> tuple[int, int, int]:
        """Transfers, uploads among them, and contents that are being placed or deleted."""
        return len(self._transfers), len(self._uploads), len(self._placing) + len(self._discarding)

    def end_for(self, opener: Subscriber, packet: Open) -> TransferEnd | tuple[ErrorCode, str]:
        """The relay's end for an OPEN, or why there is none. Does not yield."""
        make = _KINDS.get(packet.service)
        if make is None:
            return ErrorCode.NO_SUCH_SERVICE, f"the relay offers no service {packet.service!r}"
        if self._stopping:
            return ErrorCode.SHUTTING_DOWN, "the relay is about to end; go on with the next one"
        if len(self._transfers) >= self._limits.transfers_max:
            return ErrorCode.QUEUE_FULL, f"the relay has {len(self._transfers)} transfers under way; try again later"
        if self._by_user[opener.user] >= self._limits.transfers_per_user_max:
            count = self._limits.transfers_per_user_max
            return ErrorCode.RATE_LIMITED, f"you have {count} transfers under way; wait for those first"

        def start(end: TransferEnd) -> None:
            transfer = make(self, end)
            self._by_user[opener.user] += 1
            self._transfers[transfer] = gevent.spawn(self._run, transfer)

        return TransferEnd(self._table, opener, packet, start)

    def read(self, operation: Callable[[Reader], T]) -> T:
        """Ask the store. Yields; raises StoreError."""

        def start(done: Callable[[T | StoreError], None]) -> None:
            self._store.read(operation, done)

        return _value(wait_for(start))

    def write(self, operation: Callable[[Store], T]) -> T:
        """Change the store. Yields; raises StoreError."""

        def start(done: Callable[[T | StoreError], None]) -> None:
            self._store.write(operation, done)

        return _value(wait_for(start))

    @contextmanager
    def alone(self, transfer: UploadTransfer, key: tuple[str, str]) -> Iterator[None]:
        """Be the only one who works on this upload: an earlier stream is ended first, because its client may have gone
        without a word. Yields.
        """
        while (earlier := self._uploads.get(key)) is not None:
            earlier.end.reset(ErrorCode.UPLOAD_CONTINUED, "another stream goes on with this upload")
            gevent.joinall([self._transfers[earlier]])
        transfer.end.check()
        self._uploads[key] = transfer
        try:
            yield
        finally:
            del self._uploads[key]

    @contextmanager
    def placing(self, hash: bytes) -> Iterator[None]:
        """Around the time in which a content is there and no file refers to it. Yields while it is being deleted."""
        while hash in self._discarding:
            self._discarding[hash].wait()
        self._placing[hash] += 1
        try:
            yield
        finally:
            self._placing[hash] -= 1
            if not self._placing[hash]:
                del self._placing[hash]

    def discard(self, hash: bytes) -> None:
        """Delete a content, unless a file refers to it or is about to. Yields; raises StoreError."""
        if hash in self._placing or hash in self._discarding:
            return
        over = self._discarding[hash] = Event()
        try:
            # Behind everything that was to be written before.
            if not self.write(lambda store: store.has_content(hash)):
                self.disk.run(self.directory.remove_blob, hash)
        finally:
            del self._discarding[hash]
            over.set()

    def sweep(self) -> None:
        """Forget what has expired, and delete what nothing refers to then. Yields; raises StoreError."""
        more = True
        while more:
            swept = self.write(self._sweep_some)
            for name in swept.partials:
                self.disk.run(self.directory.remove_partial, name)
            for hash in swept.hashes:
                self.discard(hash)
            more = swept.more

    def clear(self) -> None:
        """Delete what an earlier process left behind: contents and partial files that the store does not know. Yields;
        raises StoreError.
        """
        partials = self.disk.run(self.directory.partial_names)
        partials -= set(self.write(lambda store: store.partials()))
        partials -= set(self._busy())
        for name in partials:
            self.disk.run(self.directory.remove_partial, name)
        orphans = self.disk.run(self.directory.hashes)
        after = b""
        while contents := self.write(partial(_read_contents, after)):
            orphans -= {content.hash for content in contents}
            after = contents[-1].hash
        for hash in orphans:
            self.discard(hash)
        if partials or orphans:
            log.info("%d unfinished and %d whole files were left behind; they are deleted", len(partials), len(orphans))

    def stop(self) -> None:
        """End all transfers; what they have goes on later. Yields until the disk is at rest."""
        self._stopping = True
        for transfer in list(self._transfers):
            transfer.end.reset(ErrorCode.SHUTTING_DOWN, "the relay is about to end; go on with the next one")
        gevent.joinall(list(self._transfers.values()))
        self.disk.close()

    def _sweep_some(self, store: Store) -> Swept:
        return store.sweep_files(self.terms, self._busy(), self.clock_ms(), _SWEPT_AT_ONCE)

    def _busy(self) -> list[str]:
        """Names of the partial files that somebody works on."""
        return [transfer.partial for transfer in list(self._transfers) if transfer.partial is not None]

    def _run(self, transfer: Transfer) -> None:
        end = transfer.end
        try:
            transfer.run()
        except StreamOverError:
            pass
        except TransferError as error:
            end.reset(error.code, error.sentence)
        except StoreError as error:
            log.warning("a transfer of %s failed: %s", end.opener.user, error)
            end.reset(ErrorCode.STORE_FAILED, str(error))
        except Exception:
            log.exception("a transfer of %s failed, which is a defect of the relay", end.opener.user)
            end.reset(ErrorCode.METHOD_FAILED, "the relay failed at this, which is a defect of the relay")
        finally:
            del self._transfers[transfer]
            self._by_user[end.opener.user] -= 1
            if not self._by_user[end.opener.user]:
                del self._by_user[end.opener.user]


def _read_contents(after: bytes, reader: Reader) -> list[Content]:
    return reader.contents(after, _PAGE)


def _value(answer: T | StoreError) -> T:
    if isinstance(answer, StoreError):
        raise answer
    return answer
