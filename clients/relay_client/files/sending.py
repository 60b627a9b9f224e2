"""The sender's half of a transfer, to the relay or directly to a session."""

from typing import Any, NamedTuple

from relay.protocol.codes import ErrorCode
from relay.protocol.payloads import Value
from relay.protocol.transfer import CHUNK_BYTES, Chunk, Done, End, Have, encode_record
from relay_client.errors import BadValue, FileFailed, StreamReset
from relay_client.files.effects import OpenStream, Run, Work, Write
from relay_client.files.keeping import Progress
from relay_client.files.memo import Memo
from relay_client.files.patience import STALL_S, Patience
from relay_client.files.records import read_record
from relay_client.files.source import Source
from relay_client.streams import ShellStream


class Offer(NamedTuple):
    """Where a file goes: a service of the relay's, or of a session of somebody's."""

    to: str
    service: str
    opening: dict[str, Value]


class Sending:
    """One file on its way. `memo` remembers which session took it."""

    def __init__(self, source: Source, offer: Offer, memo: Memo, patience: Patience, progress: Progress | None) -> None:
        self._source = source
        self._offer = offer
        self._memo = memo
        self._patience = patience
        self._progress = progress

    def run(self) -> Work[Done]:
        """Send what the other end does not have, over as many connections as it takes."""
        return (yield from self._patience.persist(self._attempt))

    def _attempt(self) -> Work[Done]:
        stream: ShellStream = yield from self._open()
        stream.timeout = STALL_S
        try:
            done = yield from self._follow(stream)
            stream.close()
            return done
        except FileFailed as error:
            stream.reset(error.code, error.sentence)
            raise
        except BaseException:
            stream.reset(ErrorCode.CANCELLED, "the sender stopped in the middle")
            raise

    def _open(self) -> Work[ShellStream]:
        """To the session that has a part of it already, if it is there."""
        to, service, opening = self._offer
        known = self._memo.facts.get("peer", "")
        if known:
            try:
                return (yield OpenStream(known, service, opening))
            except StreamReset as error:
                if error.code not in (ErrorCode.NO_SUCH_SESSION, ErrorCode.NO_SUCH_SERVICE):
                    raise
        stream: ShellStream = yield OpenStream(to, service, opening)
        if stream.peer not in (to, known):
            yield Run(lambda: self._memo.note(peer=stream.peer))
        return stream

    def _follow(self, stream: ShellStream) -> Work[Done]:
        answer: Any = stream.answer
        try:
            offset, done = answer["offset"], answer.get("done")
            if done is not None:
                return Done(*done)
        except (KeyError, TypeError, AttributeError) as error:
            raise BadValue(f"{stream.peer} accepted the file in a form that this version does not know") from error
        self._patience.moved()
        yield from self._send_from(offset, stream)
        while True:
            record = yield from read_record(stream)
            if isinstance(record, Done):
                return record

    def _send_from(self, offset: int, stream: ShellStream) -> Work[None]:
        source = self._source
        source.had(offset)
        while not (yield Run(lambda: source.hash_some(offset))):
            pass
        while True:
            self._report(offset)
            chunk: Chunk = yield Run(lambda offset=offset: source.read(offset), may_be_left=not source.identity)
            if not chunk.body:
                break
            yield Write(stream, encode_record(chunk))
            offset += len(chunk.body)
            self._patience.moved()
            yield from self._hear(stream)
        yield Write(stream, encode_record(End(offset, source.digest.digest())))

    def _hear(self, stream: ShellStream) -> Work[None]:
        """Take in what the other end has said that it has; wait for it if nothing more can be kept for a repetition."""
        while stream.is_readable or self._source.must_wait():
            record = yield from read_record(stream)
            if isinstance(record, Have):
                self._source.had(record.offset)

    def _report(self, offset: int) -> None:
        if self._progress is not None:
            self._progress(offset, self._source.size)
