"""Fetching a file that the relay keeps: into a directory, or through a file object."""

from pathlib import Path
from typing import Any, NamedTuple

from relay.protocol.addresses import RELAY
from relay.protocol.codes import ErrorCode
from relay.protocol.limits import FILE_CHUNK_BYTES
from relay.protocol.payloads import Value
from relay.protocol.transfer import GET
from relay_client.errors import FileFailed, WrongContent
from relay_client.files.effects import OpenStream, Run, Work
from relay_client.files.folder import Folder, IfThere, Part
from relay_client.files.keeping import Keeping, Pass, Sink
from relay_client.files.pace import STALL_S, Pace
from relay_client.files.rows import RelayFile
from relay_client.streams import ShellStream


class ReceivedFile(NamedTuple):
    """A file that is here now, whole and verified. `path`: None if it went to a file object. `sender`: a user, or for a
    file that came directly a session."""

    path: Path | None
    name: str
    size: int
    hash: bytes
    type: str
    sender: str


class Fetching:
    """Takes one file of the relay's into a sink, over as many connections as it takes."""

    def __init__(self, file: RelayFile, sink: Sink, pace: Pace) -> None:
        self._file = file
        self._sink = sink
        self._pace = pace
        self._keeping = Keeping(sink, file.size, file.hash, pace.report)

    def run(self) -> Work[None]:
        """Everything that is missing. Raises WrongContent."""
        yield from self._keeping.hash_rest()
        yield from self._pace.persist(self._attempt)

    def _attempt(self) -> Work[None]:
        opening: dict[str, Value] = {"file": self._file.id, "offset": self._sink.offset}
        stream: ShellStream = yield OpenStream(RELAY, GET, opening)
        stream.timeout = STALL_S
        try:
            yield from self._keeping.take_all(stream, self._moved)
            stream.close()
        except BaseException:
            stream.reset(ErrorCode.CANCELLED, "the receiver stopped in the middle")
            raise

    def _moved(self, offset: int) -> Work[None]:
        self._pace.moved(offset)
        yield from ()


def fetch_into(folder: Folder, file: RelayFile, name: str, if_there: IfThere, pace: Pace) -> Work[Path]:
    """Take the file into a folder under this name; its path."""
    part: Part = yield Run(lambda: Part(folder, name, file.id, FILE_CHUNK_BYTES))
    try:
        if part.landed is None:
            if if_there is IfThere.REFUSE and folder.holds(name):
                raise folder.refusal(name)
            yield from Fetching(file, part, pace).run()
            yield Run(lambda: part.land(if_there))
        yield Run(part.settle)
    except WrongContent:
        part.discard()
        raise
    finally:
        part.close()
    assert part.landed is not None
    return folder.path / part.landed


def fetch_through(file: RelayFile, target: Any, pace: Pace) -> Work[None]:
    """Hand the file on to a binary file object, chunk by verified chunk. If it fails in the end, what was written is
    not the file."""
    if not hasattr(target, "write"):
        raise FileFailed(f"{target!r} is neither a directory nor a file object to write to")
    yield from Fetching(file, Pass(target), pace).run()
