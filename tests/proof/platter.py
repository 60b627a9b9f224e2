"""What a power cut leaves: every image of the files that a disk may show after it, built from a record.

The model is harsher than most disks. What a sync covered is there. Of everything else any part may be there and any
part may not: whole writes in any order, or single sectors of 512 bytes, or sectors with garbage in them. Two things
are taken from the hardware: bytes beside a write stay as they are (SQLite's power-safe overwrite), and a sync that has
returned holds. Names in a directory appear and disappear in order, and for good once the directory was synced.
"""

import itertools
from collections.abc import Iterable, Iterator
from enum import StrEnum
from random import Random

from tests.proof.recording import Created, Deleted, DirectorySynced, Event, Synced, SyncFailed, Truncated, Written

SECTOR_BYTES = 512

Files = dict[str, bytes]


class Cut(StrEnum):
    """What happens to the writes that were not synced."""

    KEPT = "kept"
    DROPPED = "dropped"
    PREFIX = "prefix"
    REORDERED = "reordered"
    TORN = "torn"
    GARBLED = "garbled"


class Inode:
    """A file's content: what is on the disk, and what may be."""

    def __init__(self, content: bytes = b"") -> None:
        self.durable = bytearray(content)
        self.pending: list[Written | Truncated] = []

    def sync(self) -> None:
        for change in self.pending:
            apply(self.durable, change)
        self.pending.clear()

    def lose(self) -> None:
        """A sync failed: Linux counts these writes as done, and they never reach the disk."""
        self.pending.clear()


class Platter:
    """The disk under a record: `play` moves it on, `image` shows it after a power cut now."""

    def __init__(self, files: Files) -> None:
        self._now = {name: Inode(content) for name, content in files.items()}
        self._durable = dict(self._now)
        self._unsynced: list[tuple[str, Inode | None]] = []

    def play(self, event: Event) -> None:
        match event:
            case Created(file):
                self._enter(file, self._now.get(file) or Inode())
            case Deleted(file):
                self._enter(file, None)
            case DirectorySynced():
                self._durable = dict(self._now)
                self._unsynced.clear()
            case Synced(file):
                self._now[file].sync()
            case SyncFailed(file):
                self._now[file].lose()
            case Written() | Truncated():
                self._now[event.file].pending.append(event)

    @property
    def pending(self) -> dict[str, int]:
        """How many writes of each file are not synced."""
        return {name: len(inode.pending) for name, inode in self._now.items() if inode.pending}

    def image(self, cut: Cut, random: Random) -> Files:
        """The files after a power cut now."""
        names = dict(self._durable)
        kept = random.randint(0, len(self._unsynced))
        if cut in (Cut.KEPT, Cut.DROPPED):
            kept = len(self._unsynced) if cut is Cut.KEPT else 0
        for name, inode in self._unsynced[:kept]:
            _put(names, name, inode)
        return {name: _survive(inode, cut, random) for name, inode in names.items()}

    def _enter(self, name: str, inode: Inode | None) -> None:
        _put(self._now, name, inode)
        self._unsynced.append((name, inode))


def _put(names: dict[str, Inode], name: str, inode: Inode | None) -> None:
    if inode is None:
        names.pop(name, None)
    else:
        names[name] = inode


def apply(content: bytearray, change: Written | Truncated) -> None:
    """Make one change to a file's content. A hole is filled with zeros."""
    end = change.size if isinstance(change, Truncated) else change.offset + len(change.data)
    if len(content) < end:
        content.extend(bytes(end - len(content)))
    if isinstance(change, Truncated):
        del content[end:]
    else:
        content[change.offset : end] = change.data


def _survive(inode: Inode, cut: Cut, random: Random) -> bytes:
    content = bytearray(inode.durable)
    for change in _chosen(inode.pending, cut, random):
        apply(content, change)
    return bytes(content)


def _chosen(pending: list[Written | Truncated], cut: Cut, random: Random) -> Iterable[Written | Truncated]:
    match cut:
        case Cut.KEPT:
            return pending
        case Cut.DROPPED:
            return []
        case Cut.PREFIX:
            at = random.randint(0, len(pending))
            torn = [sector for change in pending[at : at + 1] for sector in sectors(change)]
            return [*pending[:at], *torn[: random.randint(0, len(torn))]]
        case Cut.REORDERED:
            share = random.random()
            return [change for change in pending if random.random() < share]
    share = random.random()
    torn = [sector for change in pending for sector in sectors(change) if random.random() < share]
    if cut is Cut.GARBLED:
        return [_garbled(sector, random) if random.random() < 0.2 else sector for sector in torn]
    return torn


def sectors(change: Written | Truncated) -> Iterator[Written | Truncated]:
    """A write as the disk does it: one sector at a time."""
    if isinstance(change, Truncated):
        yield change
        return
    end = change.offset + len(change.data)
    first = change.offset // SECTOR_BYTES * SECTOR_BYTES
    bounds = [change.offset, *range(first + SECTOR_BYTES, end, SECTOR_BYTES), end]
    for start, stop in itertools.pairwise(bounds):
        yield Written(change.file, start, change.data[start - change.offset : stop - change.offset])


def _garbled(sector: Written | Truncated, random: Random) -> Written | Truncated:
    if isinstance(sector, Truncated):
        return sector
    return sector._replace(data=random.randbytes(len(sector.data)))
