"""The records that come on a stream, and checked names."""

from relay.protocol.codes import ErrorCode
from relay.protocol.transfer import Record, RecordReader, TransferError, check_file_name
from relay_client.errors import FileFailed, StreamReset, WrongContent
from relay_client.files.effects import Read, Work
from relay_client.streams import ShellStream


class Records:
    """Reads a stream record by record."""

    def __init__(self, stream: ShellStream) -> None:
        self._stream = stream
        self._reader = RecordReader()

    @property
    def is_ready(self) -> bool:
        """Whether something came that `next` would take in."""
        return bool(self._reader.size) or self._stream.is_readable

    def next(self) -> Work[Record]:
        """The next record. Raises StreamReset if the stream ends before, and WrongContent for what is none."""
        while True:
            try:
                record = self._reader.next_record()
            except TransferError as error:
                raise WrongContent(f"{self._stream.peer}: {error.sentence}", error.code, error.sentence) from error
            if record is not None:
                return record
            data = yield Read(self._stream)
            if not data:
                sentence = "the other end stopped in the middle"
                raise StreamReset(ErrorCode.SESSION_GONE, sentence, self._stream.service, self._stream.peer)
            self._reader.feed(data)


def checked_name(name: str) -> str:
    """The name, if a file may have it: only ever the last component of a path. Raises FileFailed."""
    try:
        return check_file_name(name)
    except TransferError as error:
        raise FileFailed(error.sentence, error.code) from None
