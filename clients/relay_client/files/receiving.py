"""Receiving files directly, from session to session: the service `files.receive`.

The same transfer may come again after a cut, from a sender or to a receiver that was started anew: it goes on where it
stood, and one that is complete is answered with its end. A new stream for a transfer takes the place of the old one.
"""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from relay.protocol.addresses import user_of
from relay.protocol.codes import ErrorCode
from relay.protocol.limits import FILE_CHUNK_BYTES
from relay.protocol.payloads import Value
from relay.protocol.transfer import Done, Have, TransferError, encode_record, read_upload
from relay_client.errors import BadValue, FileBusy, FileFailed, WrongContent
from relay_client.files.effects import Pause, Read, Run, Tell, Work, Write
from relay_client.files.fetching import ReceivedFile
from relay_client.files.folder import Folder, IfThere, Part
from relay_client.files.keeping import Keeping
from relay_client.files.memo import Memo
from relay_client.files.pace import STALL_S
from relay_client.streams import ShellStream

log = logging.getLogger("relay_client")

T = TypeVar("T")

# How long a new stream waits until the one whose place it takes has let go.
TAKE_OVER_S = 10.0
TAKE_OVER_STEP_S = 0.05

# Every so many chunks the sender is told how far we are.
HAVE_EVERY_BYTES = 4 * FILE_CHUNK_BYTES


class OfferedFile(NamedTuple):
    """A file that somebody wants to send directly. `sender`: the session. `upload`: its name for this transfer. `size`,
    `hash`: None if they are not known yet."""

    sender: str
    upload: str
    name: str
    type: str
    size: int | None
    hash: bytes | None


class Receiving:
    """What is done with files that come: `accept(offered)` says whether to take one, `on_file(received)` is called for
    each once it is here, before its sender is told."""

    def __init__(
        self,
        path: Path,
        if_there: IfThere,
        accept: Callable[[OfferedFile], Any] | None,
        on_file: Callable[[ReceivedFile], Any] | None,
        progress: Callable[[OfferedFile, int], object] | None,
    ) -> None:
        self._path = path
        self._if_there = if_there
        self._accept = accept
        self._on_file = on_file
        self._progress = progress
        self._streams: dict[tuple[str, str], ShellStream] = {}

    @property
    def under_way(self) -> int:
        """How many transfers have not come to their end, on both sides, or to their cut."""
        return len(self._streams)

    def handle(self, stream: ShellStream) -> Work[None]:
        """One transfer, or the rest of one."""
        stream.timeout = STALL_S
        try:
            offered = read_offer(stream)
            if self._accept is not None and not (yield Tell(self._accept, offered)):
                raise FileFailed("the receiver does not want it", ErrorCode.NOT_ALLOWED)
            yield from self._instead_of_earlier(stream, offered)
        except FileFailed as error:
            log.warning("a file from %s was not received: %s", stream.peer, error)
            stream.reset(error.code, error.told)

    def _instead_of_earlier(self, stream: ShellStream, offered: OfferedFile) -> Work[None]:
        key = user_of(offered.sender), offered.upload
        if (old := self._streams.get(key)) is not None:
            old.reset(ErrorCode.UPLOAD_CONTINUED, "the sender has come back on another stream")
        self._streams[key] = stream
        try:
            folder: Folder = yield Run(lambda: Folder(self._path))
            with folder:
                place = str(folder.path.resolve())
                memo: Memo = yield from _once_free(lambda: Memo("received", place, *key))
                with memo:
                    received = yield from self._receive(stream, offered, folder, memo)
                    yield from self._finish(stream, received, memo)
        finally:
            if self._streams.get(key) is stream:
                del self._streams[key]

    def _receive(self, stream: ShellStream, offered: OfferedFile, folder: Folder, memo: Memo) -> Work[ReceivedFile]:
        """What is missing of it, until it has its name."""
        if "done" not in memo.facts:
            key = f"{user_of(offered.sender)}/{offered.upload}"
            part: Part = yield from _once_free(lambda: Part(folder, offered.name, key, FILE_CHUNK_BYTES))
            try:
                yield from self._take(stream, offered, folder, part)
                done = [part.landed, part.offset, part.digest.hexdigest()]
                yield Run(lambda: memo.note(done=done))
                yield Run(part.settle)
            except WrongContent:
                part.discard()
                raise
            finally:
                part.close()
        name, size, sha256 = memo.facts["done"]
        return ReceivedFile(folder.path / name, name, size, bytes.fromhex(sha256), offered.type, offered.sender)

    def _take(self, stream: ShellStream, offered: OfferedFile, folder: Folder, part: Part) -> Work[None]:
        if part.landed is None and self._if_there is IfThere.REFUSE and folder.holds(offered.name):
            raise folder.refusal(offered.name)
        if part.landed is None and offered.size is not None and part.offset > offered.size:
            part.restart()
        progress = self._progress
        report = None if progress is None else lambda offset, size: progress(offered, offset)
        keeping = Keeping(part, offered.size, offered.hash, report)
        if part.landed is None:
            stream.accept({"offset": part.offset, "chunk": FILE_CHUNK_BYTES})
        yield from keeping.hash_rest()
        if part.landed is None:
            yield from keeping.take_all(stream, lambda offset: _tell_sender(stream, offset))
            yield Run(lambda: part.land(self._if_there))

    def _finish(self, stream: ShellStream, received: ReceivedFile, memo: Memo) -> Work[None]:
        """Tell the program, and then the sender, and wait for the sender to know."""
        if self._on_file is not None and not memo.facts.get("told"):
            try:
                yield Tell(self._on_file, received)
            except Exception:
                log.exception("what is done with received files failed on %s", received.path)
            yield Run(lambda: memo.note(told=True))
        if stream.is_offered:
            done: list[Value] = ["", received.size, received.hash]
            stream.accept({"offset": received.size, "chunk": FILE_CHUNK_BYTES, "done": done})
        else:
            yield Write(stream, encode_record(Done("", received.size, received.hash)))
        yield Read(stream)
        yield Run(memo.forget)


def read_offer(stream: ShellStream) -> OfferedFile:
    """What the opening says. Raises FileFailed if it is not what it should be."""
    try:
        return OfferedFile(stream.peer, *read_upload(stream.opening)[:-1])
    except TransferError as error:
        raise FileFailed(error.sentence, error.code) from None
    except BadValue as error:
        raise FileFailed(str(error), ErrorCode.BAD_ARGUMENTS) from None


def _tell_sender(stream: ShellStream, offset: int) -> Work[None]:
    if offset % HAVE_EVERY_BYTES == 0:
        yield Write(stream, encode_record(Have(offset)))


def _once_free(function: Callable[[], T]) -> Work[T]:
    """What the function gives, once an earlier stream has let go of it."""
    until = time.monotonic() + TAKE_OVER_S
    while True:
        try:
            return (yield Run(function))  # type: ignore[no-any-return]
        except FileBusy:
            if time.monotonic() > until:
                raise
        yield Pause(TAKE_OVER_STEP_S)
