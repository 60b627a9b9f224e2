"""The audit: every acknowledgement follows a completed sync that covers it.

    python -m tests.proof.audit --messages 20000 --seed 1

The store works behind its worker, on its native threads, on a disk that keeps a record. What the worker posts to the
event loop is put into the same record. For each acknowledgement the audit looks up the write that carried the message's
bytes to the write-ahead log, the frame that commits its transaction, and the sync behind both: all three have to stand
before the acknowledgement.
"""

import argparse
import json
import re
import sys
import threading
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from relay.protocol.runs import payload_at
from relay.store.base import Answer, Append, Appended, Refusal, Several, StoreBrokenError, StoreError
from relay.store.sqlite import SqliteStore
from relay.store.worker import StoreWorker
from tests.proof.constants import eager_upkeep, memory_directory
from tests.proof.recording import Event, Noted, Record, Synced, Written, recording
from tests.proof.workload import NAMES, Script
from tests.store.loop import Loop

_LOG = "relay.db-wal"

# https://sqlite.org/fileformat2.html#the_wal_file_format
_FRAME_HEADER_BYTES = 24

_MARK = re.compile(rb"<[#@a-z]+ [a-z]+/[~a-z]+ \d+>")


class Posted(NamedTuple):
    """The worker's threads posted something: the messages that it acknowledges, and whether the writer posted it."""

    stored: list[bytes]
    repeated: int
    by_writer: bool


@dataclass
class Findings:
    """Counts; `failures` says which acknowledgement came too early."""

    seed: int
    messages: int = 0
    repeated: int = 0
    groups: int = 0
    other_writes: int = 0
    syncs: int = 0
    failures: list[str] = field(default_factory=list)

    def report(self) -> str:
        return json.dumps(vars(self))


class AuditedWorker:
    """A worker on the recorded disk. What it posts is noted in the record, in the thread that posts it."""

    def __init__(self, directory: Path, record: Record) -> None:
        self.acknowledged: list[tuple[Append, Appended]] = []
        self.refused: list[tuple[Append, Refusal]] = []
        self.broken: list[StoreBrokenError] = []
        self.loop = Loop()
        self._record = record
        self._writer: int | None = None
        self._clock_ms = 0
        store = SqliteStore(directory, index_every=200)
        self.worker = StoreWorker(
            store, self._post, self._on_appended, self.broken.append, clock_ms=self._tick, queue_max=100_000
        )
        self.prepare(store)

    def prepare(self, store: SqliteStore) -> None:
        Script(Random(0)).first().run(store)
        self.worker.start()

    def write(self, operation: Callable[[Any], Any]) -> None:
        """Have it done, and wait for nothing."""
        self.worker.write(operation, lambda outcome: None)

    def settle(self) -> None:
        """Run the event loop until all that was queued before is answered."""
        self.loop.ask(lambda done: self.worker.write(lambda store: None, done))

    def stop(self) -> StoreError | None:
        error: StoreError | None = self.loop.ask(self.worker.stop)
        return error

    def _tick(self) -> int:
        self._writer = threading.get_ident()
        self._clock_ms += 1
        return self._clock_ms

    def _post(self, task: Callable[[], None]) -> None:
        stored: list[bytes] = []
        repeated = 0
        arguments = getattr(task, "args", ())
        if len(arguments) == 2 and arguments[0] and isinstance(arguments[0][0], Append):
            for item, answer in zip(*arguments, strict=True):
                answered = [(item, answer)] if isinstance(answer, Appended) else _apart(item, answer)
                for part, one in answered:
                    if isinstance(one, Appended) and one.repeated:
                        repeated += part.total
                    elif isinstance(one, Appended):
                        # A run is one row, and is written where its first message is.
                        stored += [payload_at(part.packet, part.total, 0)] * part.total
        self._record.note(Posted(stored, repeated, threading.get_ident() == self._writer))
        self.loop.post(task)

    def _on_appended(self, items: list[Append], answers: list[Answer]) -> None:
        for item, answer in zip(items, answers, strict=True):
            for part, one in _apart(item, answer):
                if isinstance(one, Appended):
                    self.acknowledged.append((part, one))
                else:
                    self.refused.append((part, one))


def _apart(item: Append, answer: Answer) -> Iterator[tuple[Append, Appended | Refusal]]:
    """Each message of an item with its answer."""
    for place, part in enumerate(item.apart()):
        if isinstance(answer, Several):
            yield part, answer.answers[place]
        elif isinstance(answer, Appended):
            yield part, answer._replace(offset=answer.offset + place)
        else:
            yield part, answer


def work(worker: AuditedWorker, script: Script, messages: int, random: Random) -> None:
    """Bursts of messages, and cursors, devices and reads between them, until so many messages were acknowledged."""
    steps = script.steps()
    while len(worker.acknowledged) < messages and not worker.broken:
        for _ in range(random.choice([1, 1, 2, 3, 30, 100])):
            worker.worker.append(script.message())
        step = next(steps)
        if step.name != "append" and step.changes and step.name != "group":
            worker.write(step.run)
        worker.worker.read(lambda reader: reader.backlog(NAMES[0], "pc"), lambda outcome: None)
        if random.random() < 0.3:
            worker.settle()
    worker.settle()


class Log:
    """The write-ahead log as far as it was written: places in the record."""

    def __init__(self) -> None:
        self.messages: dict[bytes, int] = {}
        self.commits: list[int] = []
        self.syncs: list[int] = []
        self._commits = False

    @property
    def unsynced(self) -> bool:
        """Whether a transaction was committed that no sync has covered. What was rolled back needs none."""
        return bool(self.commits) and (not self.syncs or self.syncs[-1] < self.commits[-1])

    def write(self, event: Written, place: int) -> None:
        """A frame is written as its header and its page. Only the last one of a transaction has the size of the
        database after it.
        """
        if len(event.data) == _FRAME_HEADER_BYTES:
            self._commits = any(event.data[4:8])
            return
        for mark in _MARK.findall(event.data):
            self.messages.setdefault(mark, place)
        if self._commits:
            self.commits.append(place)
        self._commits = False

    def sync(self, place: int) -> None:
        self.syncs.append(place)

    def cover(self, packet: bytes) -> tuple[int | None, int | None, int | None]:
        """Where the message was written, its transaction committed, and synced; None for what has not happened."""
        mark = _MARK.match(packet)
        assert mark
        written = self.messages.get(mark[0])
        commit = _first(self.commits, written)
        return written, commit, _first(self.syncs, commit)


def _first(places: list[int], start: int | None) -> int | None:
    """The first of `places` from `start` on."""
    if start is None:
        return None
    index = bisect_left(places, start)
    return places[index] if index < len(places) else None


def audit(events: list[Event], findings: Findings) -> None:
    """Check every acknowledgement in the record."""
    log = Log()
    for place, event in enumerate(events):
        if isinstance(event, Written) and event.file == _LOG:
            log.write(event, place)
        elif isinstance(event, Synced) and event.file == _LOG:
            log.sync(place)
        elif isinstance(event, Noted):
            _check(event.what, place, log, findings)
    findings.syncs += len(log.syncs)


def _check(posted: Posted, place: int, log: Log, findings: Findings) -> None:
    findings.repeated += posted.repeated
    if posted.by_writer:
        findings.groups += bool(posted.stored)
        findings.other_writes += not posted.stored
        if log.unsynced:
            findings.failures.append(f"event {place}: posted while a committed transaction was not synced")
    for packet in posted.stored:
        findings.messages += 1
        written, commit, sync = log.cover(packet)
        if sync is None:
            where = f"written at {written}, committed at {commit}, not synced"
            findings.failures.append(f"event {place}: {packet[:40]!r} is acknowledged, but {where}")


def run(messages: int, seed: int, directory: Path) -> Findings:
    findings = Findings(seed)
    random = Random(seed)
    with recording() as record:
        worker = AuditedWorker(directory, record)
        try:
            work(worker, Script(random), messages, random)
        finally:
            error = worker.stop()
    assert error is None, error
    audit(record.events, findings)
    assert findings.messages + findings.repeated == len(worker.acknowledged)
    return findings


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.proof.audit")
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    with memory_directory() as root, eager_upkeep():
        findings = run(options.messages, options.seed, root)
    print(findings.report())
    return 1 if findings.failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
