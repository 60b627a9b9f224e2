"""The sender's half of a transfer, to the relay or directly to a session."""

from functools import partial
from typing import Any, NamedTuple

from relay.protocol.codes import ErrorCode
from relay.protocol.payloads import Value
from relay.protocol.transfer import Chunk, Done, End, Have, chunk_head, encode_record
from relay_client.errors import BadValue, FileFailed, StreamReset, WrongContent
from relay_client.files.effects import OpenStream, Run, Work, Write
from relay_client.files.memo import Memo
from relay_client.files.pace import STALL_S, Pace
from relay_client.files.records import Records
from relay_client.files.source import Source
from relay_client.streams import ShellStream


class Offer(NamedTuple):
    """Where a file goes: a service of the relay's, or of a session of somebody's."""

    to: str
    service: str
    opening: Value


class Sending:
    """One file on its way. `memo` remembers which session took it."""

    def __init__(self, source: Source, offer: Offer, memo: Memo, pace: Pace) -> None:
        self._source = source
        self._offer = offer
        self._memo = memo
        self._pace = pace
        # A receiver that took a part of it before may be away for a moment.
        pace.begun = pace.begun or "peer" in memo.facts

    def run(self) -> Work[Done]:
        """Send what the other end does not have, over as many connections as it takes."""
        return (yield from self._pace.persist(self._attempt))

    def _attempt(self) -> Work[Done]:
        stream: ShellStream = yield from self._open()
        stream.timeout = STALL_S
        try:
            done = yield from self._follow(stream)
            stream.close()
            return done
        except FileFailed as error:
            stream.reset(error.code, "the sender gave up: the file cannot be read, or changed, or the answer was wrong")
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
                stream: ShellStream = yield OpenStream(known, service, opening)
                return stream
            except StreamReset as error:
                if error.code not in (ErrorCode.NO_SUCH_SESSION, ErrorCode.NO_SUCH_SERVICE):
                    raise
        stream = yield OpenStream(to, service, opening)
        if stream.peer not in (to, known):
            yield Run(lambda: self._memo.note(peer=stream.peer))
        return stream

    def _follow(self, stream: ShellStream) -> Work[Done]:
        offset, done = _read_answer(stream)
        if done is not None:
            return self._checked(done, stream)
        self._pace.moved(offset)
        records = Records(stream)
        yield from self._send_from(offset, stream, records)
        while True:
            record = yield from records.next()
            if isinstance(record, Done):
                return self._checked(record, stream)

    def _checked(self, done: Done, stream: ShellStream) -> Done:
        """What the other end says that it has, if that is the file. Raises WrongContent."""
        size, sha256 = self._source.size, self._source.whole_sha256
        if size not in (None, done.size) or sha256 not in (None, done.hash):
            sentence = f"{stream.peer} says that it has {self._source.name}, and means another content"
            raise WrongContent(sentence, ErrorCode.WRONG_HASH)
        return done

    def _send_from(self, offset: int, stream: ShellStream, records: Records) -> Work[None]:
        source = self._source
        source.had(offset)
        while not (yield Run(lambda: source.hash_some(offset))):
            pass
        while True:
            self._pace.report(offset, source.size)
            chunk: Chunk = yield Run(partial(source.read, offset), may_be_left=not source.identity)
            self._pace.moved(offset)  # whoever writes into a pipe may take his time
            if not chunk.size:
                break
            yield Write(stream, chunk_head(offset, chunk.hash, chunk.size))
            yield Write(stream, chunk.body())
            offset += chunk.size
            self._pace.moved(offset)
            yield from self._hear(records)
        yield Write(stream, encode_record(End(offset, source.digest.digest())))

    def _hear(self, records: Records) -> Work[None]:
        """Take in what the other end has said that it has; wait for it if nothing more can be kept for a repetition."""
        while records.is_ready or self._source.must_wait():
            record = yield from records.next()
            if isinstance(record, Have):
                self._source.had(record.offset)


def _read_answer(stream: ShellStream) -> tuple[int, Done | None]:
    """Where to go on, and the end if the other end has everything. Raises BadValue."""
    answer: Any = stream.answer
    try:
        offset, done = answer["offset"], answer.get("done")
        found = None if done is None else Done(*done)
        right = type(offset) is int and offset >= 0
        if found is not None:
            right = right and [type(part) for part in found] == [str, int, bytes]
    except (KeyError, TypeError, AttributeError):
        right, offset, found = False, 0, None
    if not right:
        raise BadValue(f"{stream.peer} accepted the file in a form that this version does not know")
    return offset, found
