"""Fetching a file that the relay keeps: into a directory, or through a file object."""

from pathlib import Path
from typing import Any, NamedTuple

from relay.protocol.addresses import RELAY
from relay.protocol.codes import ErrorCode
from relay.protocol.transfer import CHUNK_BYTES
from relay_client.errors import FileFailed, WrongContent
from relay_client.files.effects import OpenStream, Run, Work
from relay_client.files.folder import Folder, IfThere, Part
from relay_client.files.keeping import Keeping, Pass, Progress, Sink
from relay_client.files.patience import STALL_S, Patience
from relay_client.files.rows import RelayFile
from relay_client.streams import ShellStream

SERVICE = "files.get"


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

    def __init__(self, file: RelayFile, sink: Sink, patience: Patience, progress: Progress | None) -> None:
        self._file = file
        self._sink = sink
        self._patience = patience
        self._keeping = Keeping(sink, file.size, file.hash, progress)

    def run(self) -> Work[None]:
        """Everything that is missing. Raises WrongContent."""
        yield from self._keeping.hash_rest()
        yield from self._patience.persist(self._attempt)

    def _attempt(self) -> Work[None]:
        opening = {"file": self._file.id, "offset": self._sink.offset}
        stream: ShellStream = yield OpenStream(RELAY, SERVICE, opening)
        stream.timeout = STALL_S
        try:
            yield from self._keeping.take_all(stream, self._moved)
            stream.close()
        except BaseException:
            stream.reset(ErrorCode.CANCELLED, "the receiver stopped in the middle")
            raise

    def _moved(self, offset: int) -> Work[None]:
        self._patience.moved()
        yield from ()


def fetch_into(
    folder: Folder, file: RelayFile, name: str, if_there: IfThere, patience: Patience, progress: Progress | None
) -> Work[Path]:
    """Take the file into a folder under this name; its path."""
    part: Part = yield Run(lambda: Part(folder, name, file.id, CHUNK_BYTES))
    try:
        if part.landed is None:
            if if_there is IfThere.REFUSE and folder.holds(name):
                raise folder.refusal(name)
            yield from Fetching(file, part, patience, progress).run()
            yield Run(lambda: part.land(if_there))
        yield Run(part.settle)
    except WrongContent:
        part.discard()
        raise
    finally:
        part.close()
    assert part.landed is not None
    return folder.path / part.landed


def fetch_through(file: RelayFile, target: Any, patience: Patience, progress: Progress | None) -> Work[None]:
    """Hand the file on to a binary file object, chunk by verified chunk. If it fails in the end, what was written is
    not the file."""
    if not hasattr(target, "write"):
        raise FileFailed(f"{target!r} is neither a directory nor a file object to write to")
    yield from Fetching(file, Pass(target), patience, progress).run()
