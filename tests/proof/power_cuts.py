"""Power cuts: whatever a disk shows after one, the store opens it and finds what was acknowledged, and nothing else.

    python -m tests.proof.power_cuts --images 2000 --seed 1

A store lives through random steps on a disk that keeps a record. Before and after every sync, and at random moments
between, images are made of what a disk may show if the power fails there. Each is opened anew. It must hold exactly the
state after the last step that had returned, or after the one that was under way: a step is there wholly or not at all.
One of the images is what the next life begins with, so recoveries are cut as well.
"""

import argparse
import copy
import itertools
import json
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import NamedTuple

from relay.store.memory import MemoryStore
from relay.store.sqlite import SqliteStore
from tests.proof.constants import eager_upkeep, memory_directory
from tests.proof.platter import Cut, Files, Platter
from tests.proof.recording import Event, Noted, Record, Synced, recording
from tests.proof.workload import Contents, Script, Step, attempt, contents, difference

STEPS_IN_A_LIFE = 80


class Begun(NamedTuple):
    """A step that changes something was begun."""


class Acknowledged(NamedTuple):
    """It has returned. `messages`: how many messages it appended."""

    messages: int


@dataclass
class Life:
    """What a store did between its opening and its end: the record, and the state after each acknowledged step."""

    files: Files
    base: MemoryStore
    steps: list[Step]
    events: list[Event]

    def model(self, steps: int) -> MemoryStore:
        """The store in memory after so many steps."""
        model = copy.deepcopy(self.base)
        for step in self.steps[:steps]:
            attempt(step.run, model)
        return model


@dataclass
class Findings:
    """Counts; `failures` says what was wrong, with what is needed to see it again."""

    seed: int
    images: int = 0
    lives: int = 0
    sync_boundaries: int = 0
    steps: int = 0
    messages: int = 0
    unsynced_writes: int = 0
    in_flight_found: int = 0
    in_flight_lost: int = 0
    cuts: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def report(self) -> str:
        return json.dumps(vars(self))


def live(files: Files, base: MemoryStore, script: Script, random: Random, directory: Path) -> Life:
    """Let a store live on these files, on a disk that keeps a record."""
    write_files(directory, files)
    life = Life(files, base, [], [])
    model = copy.deepcopy(base)
    coming = script.steps()
    with recording() as record:
        record.names.update(files)
        store = open_store(directory, random)
        if not model.accounts():
            _take(life, store, model, script.first(), record)
        for _ in range(STEPS_IN_A_LIFE):
            if random.random() < 0.02:
                store.close()
                store = open_store(directory, random)
            _take(life, store, model, next(coming), record)
        store.close()
        life.events = record.events
    return life


def _take(life: Life, store: SqliteStore, model: MemoryStore, step: Step, record: Record) -> None:
    if not step.changes:
        step.run(store)
        return
    record.note(Begun())
    answer = attempt(step.run, store)
    record.note(Acknowledged(len(answer) if step.name == "append" else 0))
    life.steps.append(step)
    expected = attempt(step.run, model)
    assert answer == expected, f"{step.name} was answered {answer}, not {expected}"


def open_store(directory: Path, random: Random) -> SqliteStore:
    return SqliteStore(directory, index_every=random.choice([1, 7, 40, 40, 200, 65_536]))


class Moment(NamedTuple):
    """A place in the record: how many steps had returned, and whether the next one was under way."""

    place: int
    steps: int
    under_way: bool


def moments(life: Life, findings: Findings) -> Iterator[tuple[Moment, Platter, bool]]:
    """Every place between two events, with the disk there; and whether a sync lies on either side."""
    platter = Platter(life.files)
    steps, under_way, synced = 0, False, False
    for place, event in enumerate(life.events):
        syncs = isinstance(event, Synced)
        yield Moment(place, steps, under_way), platter, synced or syncs
        synced = syncs
        findings.sync_boundaries += syncs
        if isinstance(event, Noted):
            under_way = isinstance(event.what, Begun)
            if isinstance(event.what, Acknowledged):
                steps += 1
                findings.messages += event.what.messages
        else:
            platter.play(event)
    yield Moment(len(life.events), steps, under_way), platter, True


class PowerCuts:
    """Lives and their images, until there are enough."""

    def __init__(self, seed: int, root: Path, on_life: Callable[[Findings], None] = lambda findings: None) -> None:
        self.findings = Findings(seed)
        self._root = root
        self._on_life = on_life
        self._numbers = itertools.count()

    def run(self, images: int, *, between: float = 0.05) -> Findings:
        """Make at least so many images. `between`: the share of moments away from syncs that are cut, too."""
        random = Random(self.findings.seed)
        script = Script(random)
        files: Files = {}
        base = MemoryStore()
        while self.findings.images < images and not self.findings.failures:
            directory = self._directory()
            life = live(files, base, script, random, directory)
            shutil.rmtree(directory)
            self.findings.lives += 1
            self.findings.steps += len(life.steps)
            survivors = []
            for moment, platter, at_sync in moments(life, self.findings):
                if at_sync or random.random() < between:
                    survivors.append(self._cut(life, moment, platter, random))
            self._on_life(self.findings)
            if random.random() < 0.1:
                files, base, script = {}, MemoryStore(), Script(random)
            else:
                # Not too early in the life, so that the store grows.
                files, steps = random.choice(survivors[len(survivors) // 2 :])
                base = life.model(steps)
        return self.findings

    def _cut(self, life: Life, moment: Moment, platter: Platter, random: Random) -> tuple[Files, int]:
        """Make an image of this moment and check it. Returns it, and how many steps were found in it."""
        cut = random.choice(list(Cut))
        files = platter.image(cut, random)
        self.findings.images += 1
        self.findings.cuts[cut] += 1
        self.findings.unsynced_writes += sum(platter.pending.values())
        directory = self._directory()
        try:
            return files, self._check(life, moment, directory, files, random)
        except Exception as error:
            kept = Path(tempfile.mkdtemp(prefix="power-cut-"))
            write_files(kept, files)
            self.findings.failures.append(
                f"life {self.findings.lives}, {moment}, {cut}, files kept in {kept}: {type(error).__name__}: {error}"
            )
            return files, moment.steps
        finally:
            shutil.rmtree(directory)

    def _check(self, life: Life, moment: Moment, directory: Path, files: Files, random: Random) -> int:
        write_files(directory, files)
        store = open_store(directory, random)
        try:
            found = contents(store)
            steps = _steps_found(life, moment, found)
            if moment.under_way:
                self.findings.in_flight_found += steps > moment.steps
                self.findings.in_flight_lost += steps == moment.steps
            assert_sound(store)
            if random.random() < 0.2:
                _go_on(life, moment, store, steps)
        finally:
            store.close()
        return steps

    def _directory(self) -> Path:
        return self._root / str(next(self._numbers))


def _steps_found(life: Life, moment: Moment, found: Contents) -> int:
    wrong = difference(found, contents(life.model(moment.steps)))
    if not wrong:
        return moment.steps
    if moment.under_way and not difference(found, contents(life.model(moment.steps + 1))):
        return moment.steps + 1
    raise AssertionError(wrong)


def _go_on(life: Life, moment: Moment, store: SqliteStore, steps: int) -> None:
    """Whoever got no answer asks again; the store must answer as one that was never cut, and be as full in the end."""
    model = life.model(steps)
    for step in life.steps[max(0, moment.steps - 3) : moment.steps + 2]:
        if step.name == "append":
            answer, expected = step.run(store), step.run(model)
            assert answer == expected, f"asked again, the store answered {answer}, not {expected}"
    wrong = difference(contents(store), contents(model))
    assert not wrong, wrong
    assert_sound(store)


def assert_sound(store: SqliteStore) -> None:
    """The database is sound by itself."""
    assert store._database.rows("PRAGMA integrity_check") == [("ok",)]


def write_files(directory: Path, files: Files) -> None:
    directory.mkdir(exist_ok=True)
    for name, content in files.items():
        (directory / name).write_bytes(content)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.proof.power_cuts")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--between", type=float, default=0.05, help="share of the moments without a sync that are cut")
    options = parser.parse_args(arguments)

    def show(findings: Findings) -> None:
        print(f"{findings.images} images, {len(findings.failures)} failures", end="\r", file=sys.stderr, flush=True)

    with memory_directory() as root, eager_upkeep():
        findings = PowerCuts(options.seed, root, show).run(options.images, between=options.between)
    print(file=sys.stderr)
    print(findings.report())
    return 1 if findings.failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
