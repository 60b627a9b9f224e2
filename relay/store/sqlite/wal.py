"""Whether a write-ahead log still has what was committed to it.

SQLite takes everything behind the first frame that is not right for a transaction that never ended: a flipped bit, or a
file that was cut, would silently take acknowledged messages away. But after each commit, and its sync, it notes the
number of frames in the shared memory file beside the log, which outlives the process. That is compared with what it
finds when it opens the log again. After a power cut that file may be older than the log, but never promises too much.

Formats: https://sqlite.org/walformat.html, sections 2 and 4.
"""

import struct
from pathlib import Path
from typing import NamedTuple

# Version, unused, changes, initialised, checksums' byte order, page size, frames, pages, the last frame's checksum,
# the log's salt, checksum; twice. Then how many frames are in the database.
_INDEX = struct.Struct("=IIIBBHII8s8sII")
_CHECKED_BYTES = 40
_WORDS = struct.Struct("=10I")
_BACKFILLED = struct.Struct("=I")

_HEADER_BYTES = 32
_SALT = slice(16, 24)


class Promise(NamedTuple):
    """What the write-ahead log must have: so many frames, of which `backfilled` are in the database too. `header` is
    how the log begins, `shared` how the shared memory file does.
    """

    frames: int
    backfilled: int
    salt: bytes
    header: bytes
    shared: bytes

    def is_broken_by(self, found: "Promise | None") -> bool:
        """Whether frames are missing in what was found when the log was opened, with nobody writing meanwhile."""
        if found is None or found.header != self.header or found.frames >= self.frames:
            return False
        if found.frames == 0 and self.backfilled >= self.frames:
            return False  # the database has them all
        return self.salt == self.header[_SALT] or not _is_whole(self.header)


def put_back(promised: Promise, database: Path) -> None:
    """Let the next one who opens the log find the promise, which SQLite has replaced by what it found. Raises OSError.

    Only while nobody has the database open, which is so when a promise is broken.
    """
    with Path(f"{database}-shm").open("r+b") as file:
        file.write(promised.shared)


def promise(database: Path) -> Promise | None:
    """What was promised for the log of this database; None if that is not known. Reads two short files."""
    try:
        with Path(f"{database}-shm").open("rb") as file:
            index = file.read(2 * _INDEX.size + _BACKFILLED.size)
    except OSError:
        return None
    try:
        with Path(f"{database}-wal").open("rb") as file:
            header = file.read(_HEADER_BYTES)
    except OSError:
        header = b""
    first, second = index[: _INDEX.size], index[_INDEX.size : 2 * _INDEX.size]
    if first != second or len(index) < 2 * _INDEX.size + _BACKFILLED.size:
        return None
    *_, frames, _, _, salt, sum1, sum2 = _INDEX.unpack(first)
    if _checksum(_WORDS.unpack(first[:_CHECKED_BYTES])) != (sum1, sum2):
        return None
    return Promise(frames, _BACKFILLED.unpack(index[2 * _INDEX.size :])[0], salt, header, index)


def _checksum(words: tuple[int, ...]) -> tuple[int, int]:
    one = two = 0
    for first, second in zip(words[::2], words[1::2], strict=True):
        one = (one + first + two) & 0xFFFFFFFF
        two = (two + second + one) & 0xFFFFFFFF
    return one, two


def _is_whole(header: bytes) -> bool:
    """Whether the log's header is what was written."""
    if len(header) < _HEADER_BYTES:
        return False
    # The lowest bit of the magic number tells the byte order of the checksums' words.
    order = ">" if header[3] & 1 else "<"
    found = struct.unpack(">2I", header[24:])
    return _checksum(struct.unpack(f"{order}6I", header[:24])) == found
