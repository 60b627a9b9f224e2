"""Disks that fail: at every single write, sync, cut and read of a life, in each of the ways a disk has.

    python -m tests.proof.io_errors --seed 1 [--every 1]

The same steps are taken again and again, and each time another operation of the disk fails. What failed must not have
been acknowledged; what had been must be there when the store is opened again, from the files as they are and from what
a disk shows that has lost every write that a failed sync was to cover. A full disk must refuse, change nothing, and go
on as soon as there is room.
"""

import argparse
import json
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from pathlib import Path
from random import Random

import apsw

from relay.store.base import StoreBrokenError, StoreError, StoreFullError
from relay.store.memory import MemoryStore
from relay.store.sqlite import SqliteStore
from tests.proof.constants import eager_upkeep, memory_directory
from tests.proof.platter import Cut, Files, Platter
from tests.proof.power_cuts import assert_sound, write_files
from tests.proof.recording import Fault, Noted, Record, RecordingFile, recording
from tests.proof.workload import Script, Step, attempt, contents, difference

STEPS = 60


class Kind(StrEnum):
    """What fails, and how."""

    WRITE = "EIO at a write"
    PART_WRITTEN = "EIO after a part of a write"
    FULL = "ENOSPC for some writes"
    PART_FULL = "ENOSPC after a part of a write"
    SYNC = "EIO at a sync"
    TRUNCATE = "EIO at a truncation"
    READ = "EIO at a read"


OPERATION = {
    Kind.WRITE: "write", Kind.PART_WRITTEN: "write", Kind.FULL: "write", Kind.PART_FULL: "write",
    Kind.SYNC: "sync", Kind.TRUNCATE: "truncate", Kind.READ: "read",
}  # fmt: skip

_CODES = {
    "write": apsw.SQLITE_IOERR_WRITE,
    "sync": apsw.SQLITE_IOERR_FSYNC,
    "truncate": apsw.SQLITE_IOERR_TRUNCATE,
    "read": apsw.SQLITE_IOERR_READ,
}


class Nth(Fault):
    """The n-th operation of a kind fails, and `more` after it. Counts the operations."""

    def __init__(self, kind: Kind | None, n: int, more: int) -> None:
        self._kind = kind
        self._n = n
        self._more = more
        self.counts: Counter[str] = Counter()
        self.fired = 0

    def before_write(self, file: RecordingFile, data: bytes, offset: int) -> None:
        if not self._is_due("write"):
            return
        if self._kind in (Kind.PART_WRITTEN, Kind.PART_FULL):
            file.write_part(data[: self._n * 37 % len(data)], offset)
        if self._kind in (Kind.FULL, Kind.PART_FULL):
            raise apsw.FullError("told to fail")
        raise _io_error("write")

    def before_sync(self, file: RecordingFile) -> None:
        if self._is_due("sync"):
            raise _io_error("sync")

    def before_truncate(self, file: RecordingFile, size: int) -> None:
        if self._is_due("truncate"):
            raise _io_error("truncate")

    def before_read(self, file: RecordingFile, amount: int, offset: int) -> None:
        if self._is_due("read"):
            raise _io_error("read")

    def heal(self) -> None:
        """From now on nothing fails."""
        self._kind = None

    def _is_due(self, operation: str) -> bool:
        self.counts[operation] += 1
        due = (
            self._kind is not None
            and OPERATION[self._kind] == operation
            and self._n <= self.counts[operation] <= self._n + self._more
        )
        self.fired += due
        return due


def _io_error(operation: str) -> apsw.IOError:
    error = apsw.IOError("told to fail")
    error.extendedresult = _CODES[operation]
    return error


@dataclass
class Findings:
    """Counts by kind; `failures` says what was wrong, with what is needed to see it again."""

    seed: int
    runs: Counter[str] = field(default_factory=Counter)
    fired: Counter[str] = field(default_factory=Counter)
    ended: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    reopened: int = 0
    failures: list[str] = field(default_factory=list)

    def report(self) -> str:
        return json.dumps(vars(self))


class Broken(Exception):  # noqa: N818 - not an error of ours: the life is over
    """The store said that it is broken. `under_way`: the step that it said it in."""

    def __init__(self, under_way: Step | None) -> None:
        super().__init__()
        self.under_way = under_way


class IoErrors:
    """One life for each fault."""

    def __init__(self, seed: int, root: Path) -> None:
        self.findings = Findings(seed)
        self._root = root
        script = Script(Random(seed))
        self._steps = [script.first(), *islice(script.steps(), STEPS)]

    def run(self, every: int, on_run: Callable[[Findings], None] = lambda findings: None) -> Findings:
        """Let each `every`-th operation fail, in each way. The first is chosen so that runs differ."""
        totals = self._count()
        random = Random(self.findings.seed)
        for kind in Kind:
            for n in range(random.randint(1, every), totals[OPERATION[kind]] + 1, every):
                more = random.choice([0, 0, 1, 5, 30]) if kind in (Kind.FULL, Kind.PART_FULL) else 0
                self._try(kind, n, more)
                on_run(self.findings)
        return self.findings

    def _count(self) -> Counter[str]:
        """How many operations there are without a fault."""
        fault = Nth(None, 0, 0)
        with self._disk(fault) as (directory, _):
            self._live(directory, fault, MemoryStore())
        return fault.counts

    def _disk(self, fault: Nth) -> "_Disk":
        return _Disk(self._root / "data", fault)

    def _try(self, kind: Kind, n: int, more: int) -> None:
        fault = Nth(kind, n, more)
        model = MemoryStore()
        under_way: Step | None = None
        self.findings.runs[kind] += 1
        try:
            with self._disk(fault) as (directory, record):
                try:
                    self._live(directory, fault, model)
                    self.findings.ended[f"{kind}: went on"] += 1
                except Broken as broken:
                    under_way = broken.under_way
                    self.findings.ended[f"{kind}: stopped"] += 1
                self.findings.fired[kind] += bool(fault.fired)
                fault.heal()
                files = {path.name: path.read_bytes() for path in directory.iterdir() if not path.name.endswith("-shm")}
                platter = Platter({})
                for event in record.events:
                    if not isinstance(event, Noted):
                        platter.play(event)
            self._check(files, model, under_way)
            self._check(platter.image(Cut.DROPPED, Random(n)), model, under_way)
        except Exception as error:
            self.findings.failures.append(f"{kind}, number {n}, {more} more: {type(error).__name__}: {error}")

    def _live(self, directory: Path, fault: Nth, model: MemoryStore) -> None:
        """Open the store and take the steps; `model` takes those that were acknowledged. Raises Broken."""
        store = self._open(directory, fault)
        under_way: Step | None = None
        try:
            for step in self._steps:
                under_way = step if step.changes else None
                self._take(store, model, step)
            under_way = None
            wrong = difference(contents(store), contents(model))
            assert not wrong, wrong
            store.close()
        except StoreBrokenError as error:
            assert fault.fired, f"broken without a fault: {error}"
            raise Broken(under_way) from None
        except StoreFullError:
            # Only in closing: a step that is refused is taken again.
            assert fault.fired and under_way is None
        finally:
            self._end(store)

    def _open(self, directory: Path, fault: Nth) -> SqliteStore:
        try:
            return SqliteStore(directory, index_every=25)
        except StoreError as error:
            assert fault.fired, f"refused without a fault: {error}"
            fault.heal()
            return SqliteStore(directory, index_every=25)

    def _end(self, store: SqliteStore) -> None:
        """As the relay's worker does: whatever happened, close what is open."""
        with suppress(StoreError):
            store.close()

    def _take(self, store: SqliteStore, model: MemoryStore, step: Step) -> None:
        """Take a step. One that finds the disk full has changed nothing, and is taken again when there is room."""
        for _ in range(50):
            try:
                answer = attempt(step.run, store)
            except StoreFullError as error:
                assert "free some" in str(error)
                self.findings.refused += 1
                if step.changes:
                    self._compare_when_full(store, model)
                continue
            if step.changes:
                expected = attempt(step.run, model)
                assert answer == expected, f"{step.name} was answered {answer}, not {expected}"
            return
        raise AssertionError(f"{step.name} was refused although there is room")

    def _compare_when_full(self, store: SqliteStore, model: MemoryStore) -> None:
        """A read may need the write-ahead log made anew, and be refused, too."""
        try:
            found = contents(store)
        except StoreFullError:
            return
        wrong = difference(found, contents(model))
        assert not wrong, f"refused, and yet changed: {wrong}"

    def _check(self, files: Files, model: MemoryStore, under_way: Step | None) -> None:
        """Everything acknowledged is there; of the step under way all or nothing."""
        directory = self._root / "again"
        write_files(directory, files)
        store = SqliteStore(directory)
        self.findings.reopened += 1
        try:
            found = contents(store)
            wrong = difference(found, contents(model))
            if wrong and under_way:
                attempt(under_way.run, model)
                wrong = wrong and difference(found, contents(model))
            assert not wrong, f"after opening again: {wrong}"
            assert_sound(store)
        finally:
            store.close()
            shutil.rmtree(directory)


class _Disk:
    """A recording disk with a fault, and a directory on it."""

    def __init__(self, directory: Path, fault: Nth) -> None:
        self._directory = directory
        self._fault = fault
        self._recording = recording()

    def __enter__(self) -> tuple[Path, Record]:
        record = self._recording.__enter__()
        record.fault = self._fault
        self._directory.mkdir()
        return self._directory, record

    def __exit__(self, *error: object) -> None:
        self._recording.__exit__(None, None, None)
        shutil.rmtree(self._directory)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.proof.io_errors")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--every", type=int, default=1, help="let only each n-th operation fail")
    options = parser.parse_args(arguments)

    def show(findings: Findings) -> None:
        print(f"{findings.runs.total()} runs, {len(findings.failures)} failures", end="\r", file=sys.stderr, flush=True)

    with memory_directory() as root, eager_upkeep():
        findings = IoErrors(options.seed, root).run(options.every, show)
    print(file=sys.stderr)
    print(findings.report())
    return 1 if findings.failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
