"""`me.files`: what a program may do with files, declared once for both clients, as relay_client.questions does.

With asyncio each method is awaited. All of them raise RelayErrors: FileFailed and its kinds for what is wrong with a
file or a directory, CallFailed and StreamReset for what the relay or the other end refused, and those of questions.
"""

import mimetypes
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from relay.protocol.addresses import RELAY, user_of
from relay.protocol.codes import ErrorCode
from relay.protocol.limits import FILE_CHUNK_BYTES
from relay.protocol.payloads import Value
from relay.protocol.transfer import PUT, RECEIVE, Upload
from relay_client.core.arguments import checked_address, message_address
from relay_client.errors import BadAddress, CallFailed, FileBusy, StreamReset
from relay_client.files.announcing import announce
from relay_client.files.effects import Run, Serve, Work
from relay_client.files.fetching import ReceivedFile, fetch_into, fetch_through
from relay_client.files.folder import Folder, IfThere
from relay_client.files.memo import Memo
from relay_client.files.pace import Pace, Progress
from relay_client.files.receiving import OfferedFile, Receiving
from relay_client.files.records import checked_name
from relay_client.files.rows import FileUsage, RelayFile
from relay_client.files.sending import Offer, Sending
from relay_client.files.source import Readable, Source, open_source
from relay_client.questions import Asked, Group, Question, S
from relay_client.received import Announced, Stored

# A file up to this size is hashed before it is sent, in a fraction of a second: what the relay has already from us is
# not sent again.
HASHED_FIRST_BYTES = 64 * 1024 * 1024

PAGE = 100

UNKNOWN_TYPE = "application/octet-stream"

# What such a refusal says holds for whatever else would be sent under the same number.
_BEGIN_ANEW = (ErrorCode.WRONG_HASH, ErrorCode.BAD_CHUNK)


class SentFile(NamedTuple):
    """A file that is where it was sent. `id`: empty if it went directly. `stored`: the message that announces it."""

    id: str
    name: str
    size: int
    hash: bytes
    type: str
    stored: Stored


class FileAsker(Protocol):
    """What a client gives to its files. `place`: which relay it is."""

    user: str
    place: str

    def run_steps(self, steps: Any) -> Any: ...


class Files(Group[S]):
    """Files, sent and fetched. A cut, also a restart of the relay or of the other end, is survived: after at most
    `patience_s` seconds without progress (None: for ever) it is given up, and the same call goes on from there, also in
    a later program. `progress(done, size)` is called with bytes as they go."""

    _asker: FileAsker

    @Asked
    def send(  # noqa: PLR0913 - all but two have defaults and are named
        self,
        source: str | os.PathLike[str] | Readable,
        to: str,
        *,
        name: str | None = None,
        content_type: str | None = None,
        direct: bool = False,
        progress: Progress | None = None,
        patience_s: float | None = 60,
    ) -> Work[SentFile]:
        """Send a file to a user or a room, and announce it there by a message, once.

        `source`: a path, or a binary file object, which is read in order and only once. The relay keeps the file for
        those who are not there; with `direct` it goes to a session of the user's that receives files now, and nowhere
        else. Returns when it is on the disk there.
        """
        address = _direct_address(to) if direct else message_address(to)
        opened: Source = yield Run(lambda: open_source(source, name, FILE_CHUNK_BYTES), may_be_left=True)
        try:
            checked_name(opened.name)
            memo: Memo = yield Run(lambda: self._memo(opened, address, direct))
            with memo:
                media_type = content_type or mimetypes.guess_type(opened.name)[0] or UNKNOWN_TYPE
                way = Way(address, direct, media_type)
                yield from self._transfer(opened, way, memo, Pace(patience_s, progress))
                id, size, sha256 = memo.facts["done"]
                file = Announced(id, opened.name, size, bytes.fromhex(sha256), media_type)
                stored = yield from announce(user_of(address), file, self._asker.user, memo, patience_s)
                yield Run(memo.forget)
        finally:
            opened.close()
        return SentFile(*file, stored)

    @Asked
    def get(  # noqa: PLR0913 - all but one have defaults
        self,
        file: str,
        into: str | os.PathLike[str] | Any = ".",
        *,
        name: str | None = None,
        overwrite: bool = False,
        numbered: bool = False,
        progress: Progress | None = None,
        patience_s: float | None = 60,
    ) -> Work[ReceivedFile]:
        """Fetch a file by its id into a directory, or through a binary file object to write to.

        In a directory it appears under its name, or under `name`, once it is whole and verified. A file that is there
        already is left alone (FileThere), unless it shall be replaced (`overwrite`) or the new one gets a number
        (`numbered`). A file object gets verified pieces, and an error at the end if the whole is not what it should be.
        """
        found = yield from _described(file, into)
        called = checked_name(found.name if name is None else name)
        path: Path | None = None
        if isinstance(into, str | os.PathLike):
            folder: Folder = yield Run(lambda: Folder(into))
            with folder:
                yield Run(folder.sweep)
                if_there = _if_there(overwrite, numbered)
                path = yield from fetch_into(folder, found, called, if_there, Pace(patience_s, progress))
        else:
            yield from fetch_through(found, into, Pace(patience_s, progress))
        return ReceivedFile(path, path.name if path else called, found.size, found.hash, found.type, found.sender)

    @Asked
    def serve(  # noqa: PLR0913 - all but one have defaults and are named
        self,
        directory: str | os.PathLike[str],
        *,
        accept: Callable[[OfferedFile], Any] | None = None,
        on_file: Callable[[ReceivedFile], Any] | None = None,
        overwrite: bool = False,
        numbered: bool = False,
        progress: Callable[[OfferedFile, int], object] | None = None,
    ) -> Work[Receiving]:
        """Receive files that are sent directly to our user or session, from now on, into a directory.

        `accept(offered)` says whether to take one (None: all); a MethodError of its own tells the sender why not.
        `on_file(received)` is called for each when it is here, before its sender learns so. With asyncio both may be
        coroutine functions. `overwrite`, `numbered`: as in `get`. What it returns tells how many are under way.
        """
        path = Path(directory)
        with (yield Run(lambda: Folder(path))) as folder:
            yield Run(folder.sweep)
        work = Receiving(path, _if_there(overwrite, numbered), accept, on_file, progress)
        yield Serve(RECEIVE, work.handle)
        return work

    @Asked
    def list(self, conversation: str | None = None, *, limit: int | None = None) -> Work[tuple[RelayFile, ...]]:
        """The files that one may fetch, the newest first: of a conversation (a user, or a room with its mark), or all.
        At most `limit`."""
        given: dict[str, Value] = {} if conversation is None else {"conversation": conversation}
        found: list[RelayFile] = []
        while limit is None or len(found) < limit:
            wanted = PAGE if limit is None else min(PAGE, limit - len(found))
            after: dict[str, Value] = {"after": found[-1].id} if found else {}
            page = yield Question("files.list", {**given, **after, "limit": wanted})
            found += map(RelayFile.from_row, page["files"])
            if not page["more"] or not page["files"]:
                break
        return tuple(found)

    @Asked
    def info(self, file: str) -> Work[RelayFile]:
        """What the relay knows of a file."""
        return RelayFile.from_row((yield Question("files.info", {"file": file})))

    @Asked
    def remove(self, file: str) -> Work[None]:
        """Have the relay keep a file no longer. Who sent it may."""
        yield Question("files.remove", {"file": file})

    @Asked
    def usage(self) -> Work[FileUsage]:
        """How much the user's files take on the relay."""
        answer = yield Question("files.usage", {})
        return FileUsage(answer["used_bytes"], answer["quota_bytes"])

    def _memo(self, source: Source, address: str, direct: bool) -> Memo:
        if not source.identity:
            memo = Memo("uploads")
        else:
            way = "direct" if direct else "relay"
            key = (self._asker.user, self._asker.place, way, address, source.name, *source.identity)
            try:
                memo = Memo("uploads", *key)
            except FileBusy as error:
                sentence = f"{source.name} is being sent to {address} by another program now: wait for it, or stop it"
                raise FileBusy(sentence) from error
        if "upload" not in memo.facts:
            memo.note(upload=secrets.token_hex(16))
        return memo

    def _transfer(self, source: Source, way: "Way", memo: Memo, pace: Pace) -> Work[None]:
        """Until the other end has it, which is noted."""
        if "done" in memo.facts:
            return
        sha256 = yield from _early_hash(source)
        to = "" if way.direct else way.address
        upload = Upload(memo.facts["upload"], source.name, way.media_type, source.size, sha256, to)
        offer = Offer(way.address, RECEIVE, upload.value()) if way.direct else Offer(RELAY, PUT, upload.value())
        try:
            done = yield from Sending(source, offer, memo, pace).run()
        except StreamReset as error:
            if error.code in _BEGIN_ANEW:
                memo.forget()
            raise
        yield Run(lambda: memo.note(done=[done.id, done.size, done.hash.hex()]))


class Way(NamedTuple):
    """Where a file goes, whether past the relay's store, and what kind of file it is said to be."""

    address: str
    direct: bool
    media_type: str


def _described(file: str, into: Any) -> Work[RelayFile]:
    """What the relay knows of a file; if it has none any more, nothing is kept of it here either."""
    try:
        return RelayFile.from_row((yield Question("files.info", {"file": file})))
    except CallFailed as error:
        if error.code == ErrorCode.NO_SUCH_FILE and isinstance(into, str | os.PathLike):
            with (yield Run(lambda: Folder(into))) as folder:
                yield Run(lambda: folder.forget(file))
        raise


def _early_hash(source: Source) -> Work[bytes | None]:
    size = source.size
    if not source.identity or size is None or size > HASHED_FIRST_BYTES:
        return None
    while not (yield Run(lambda: source.hash_some(size))):
        pass
    return source.digest.digest()


def _if_there(overwrite: bool, numbered: bool) -> IfThere:
    return IfThere.REPLACE if overwrite else IfThere.NUMBER if numbered else IfThere.REFUSE


def _direct_address(text: str) -> str:
    address = checked_address(text)
    if address.user is None or str(address) == RELAY:
        raise BadAddress(f"a file goes directly to a user or a session, not to {text!r}: leave out `direct`")
    return str(address)
