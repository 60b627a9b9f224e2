"""Damaged files: one bit flipped, or the end cut off, in the files of a store that was closed or killed.

    python -m tests.proof.bit_flips --images 1000 --seed 1

Each image must be refused when it is opened, refused when what is damaged is read, found by `verify`, or show exactly
what was stored. Whatever else happens, no message that is read may differ from the one that was stored.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from random import Random

from relay.store.base import StoreError
from relay.store.sqlite import SqliteStore
from relay.store.sqlite.verify import verify
from tests.proof.constants import eager_upkeep, memory_directory
from tests.proof.platter import Files
from tests.proof.power_cuts import write_files
from tests.proof.workload import CONVERSATIONS, Contents, Script, attempt, contents, read_all

STEPS = 80

# Images of each life: then another one begins, with other random steps.
IMAGES_EACH = 100


@dataclass
class Findings:
    """Counts of images by what became of them; `failures` says what was wrong, and where the damage was."""

    seed: int
    images: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    unnoticed: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def report(self) -> str:
        return json.dumps(vars(self))


class BitFlips:
    """Makes images and judges them."""

    def __init__(self, seed: int, root: Path) -> None:
        self.findings = Findings(seed)
        self._random = Random(seed)
        self._root = root

    def run(self, images: int, on_image: Callable[[Findings], None] = lambda findings: None) -> Findings:
        """Make and judge so many images."""
        while (left := images - self.findings.images.total()) > 0:
            lives = self._live()
            for _ in range(min(left, IMAGES_EACH)):
                self._try(*self._random.choice(lives))
                on_image(self.findings)
        return self.findings

    def _live(self) -> list[tuple[str, Files, Contents]]:
        """A life of a store: its files when it was killed and when it was closed, and what was in it."""
        directory = self._root / "life"
        script = Script(self._random)
        store = SqliteStore(directory, index_every=25)
        for step in [script.first(), *islice(script.steps(), STEPS)]:
            attempt(step.run, store)
        expected = contents(store)
        killed = _files(directory)
        store.close()
        closed = _files(directory)
        for path in directory.iterdir():
            path.unlink()
        directory.rmdir()
        return [("killed", killed, expected), ("closed", closed, expected)]

    def _try(self, state: str, files: Files, expected: Contents) -> None:
        """Damage a file of this state and see what is noticed."""
        name = self._random.choice([name for name in sorted(files) if not name.endswith("-shm")])
        data = bytearray(files[name])
        if self._random.random() < 0.2:
            at = self._random.randrange(len(data))
            what = f"cut at {at} of {len(data)}"
            del data[at:]
        else:
            at, bit = self._random.randrange(len(data)), self._random.randrange(8)
            what = f"bit {bit} of byte {at} of {len(data)}"
            data[at] ^= 1 << bit
        kind = f"{state}, {name}, {what.split()[0]}"
        self.findings.images[kind] += 1
        try:
            outcome = self._judge({**files, name: bytes(data)}, expected)
        except Exception as error:
            outcome = "failed"
            self.findings.failures.append(f"{state}, {name}, {what}: {type(error).__name__}: {error}")
        self.findings.outcomes[outcome] += 1
        if outcome.startswith("unnoticed"):
            self.findings.unnoticed[f"{kind}: {outcome}"] += 1

    def _judge(self, files: Files, expected: Contents) -> str:
        directory = self._root / "image"
        write_files(directory, files)
        try:
            return self._look(directory, expected)
        finally:
            for path in directory.iterdir():
                path.unlink()
            directory.rmdir()

    def _look(self, directory: Path, expected: Contents) -> str:
        found_by_verify = bool(_verify(directory))
        try:
            store = SqliteStore(directory, index_every=25)
        except StoreError:
            # Whatever starts the relay will try again.
            with suppress(StoreError):
                SqliteStore(directory, index_every=25).close()
                raise AssertionError("refused at the start, but not at the next one") from None
            return "refused at the start"
        try:
            _assert_unaltered(store, expected)
            found = contents(store)
        except StoreError:
            return "refused when it was read"
        finally:
            with suppress(StoreError):
                store.close()
        different = {name for name in expected if found.get(name) != expected[name]}
        if not different:
            return "harmless"
        if found_by_verify:
            return "found by verify"
        return (
            f"unnoticed: {'messages are gone' if any(name.startswith('log') for name in different) else 'other data'}"
        )


def _files(directory: Path) -> Files:
    return {
        path.name: path.read_bytes()
        for path in directory.iterdir()
        if path.name in ("relay.db", "relay.db-wal", "relay.db-shm") and path.stat().st_size
    }


def _verify(directory: Path) -> list[object]:
    """What `relay verify` says."""
    try:
        return list(verify(directory / "relay.db").findings)
    except StoreError as error:
        return [error]


def _assert_unaltered(store: SqliteStore, expected: Contents) -> None:
    """Every message that can be read is one that was stored, at its place."""
    for name in CONVERSATIONS:
        stored = {entry.offset: entry for entry in expected[f"log {name}"]}
        for offset in range(max(stored, default=0) + 1):
            with suppress(StoreError):
                for entry in store.read(name, offset, 1, 1):
                    assert entry == stored.get(entry.offset), f"message {entry.offset} of {name} was read altered"
        with suppress(StoreError):
            for entry in read_all(store, name):
                assert entry == stored.get(entry.offset), f"message {entry.offset} of {name} was read altered"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.proof.bit_flips")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)

    def show(findings: Findings) -> None:
        print(f"{findings.images.total()} images, {dict(findings.outcomes)}", end="\r", file=sys.stderr, flush=True)

    with memory_directory() as root, eager_upkeep():
        findings = BitFlips(options.seed, root).run(options.images, show)
    print(file=sys.stderr)
    print(findings.report())
    return 1 if findings.failures or findings.unnoticed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
