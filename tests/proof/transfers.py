"""Transfers that are interrupted at every corner, and arrive all the same.

    python -m tests.proof.transfers --transfers 500 --max-size 64M --seed 1

Files of 1 byte to --max-size, their sizes spread evenly over the orders of magnitude, go from Alice to Bob, half of
them through the relay's store and half directly. Each is hit by five blows at random bytes of its way: a cut
connection, or a SIGKILL of the sender, the receiver or the relay. Then the content must be the same, no keeper may have
taken more chunks twice than there were blows, nothing may be left over, and one message must have announced the file.
"""

import argparse
import json
import math
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from tests.proof.crossing import Crossing, Deed, Outcome, file_sha256

BLOWS = 5
UNITS = {"": 1, "k": 2**10, "M": 2**20, "G": 2**30}


def parse_size(text: str) -> int:
    """`64M` and the like, in powers of 1,024."""
    number, unit = (text, "") if text[-1].isdigit() else (text[:-1], text[-1])
    if unit not in UNITS or not number.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is no size; one looks like 64M")
    return int(number) * UNITS[unit]


class Sizes(NamedTuple):
    """Of the files, in bytes. `sparse`: random bytes in a few places, and zeros in between."""

    least: int
    most: int
    sparse: bool = False


def random_size(random: Random, sizes: Sizes) -> int:
    """Each order of magnitude is as likely as the next."""
    exponent = random.uniform(math.log(sizes.least), math.log(sizes.most))
    return max(sizes.least, min(sizes.most, round(math.exp(exponent))))


def make_file(path: Path, size: int, random: Random) -> None:
    """Random bytes; no two chunks are alike."""
    block = random.randbytes(2**20 - 16)
    with path.open("wb") as file:
        while (left := size - file.tell()) > 0:
            file.write((random.randbytes(16) + block)[:left])


def make_sparse_file(path: Path, size: int, random: Random) -> None:
    """Ten islands of random bytes in zeros, which take no room."""
    with path.open("wb") as file:
        file.truncate(size)
        for _ in range(10):
            file.seek(random.randint(0, max(0, size - 2**20)))
            file.write(random.randbytes(min(size, 2**20)))


def lane(home: Path, transfers: Iterator[int], sizes: Sizes, seed: int) -> list[Outcome]:
    """One transfer after the other, until there are none left."""
    outcomes = []
    crossing = Crossing(home, Random(f"{seed} {home.name}"))
    try:
        for number in transfers:
            random = Random(f"{seed} {number}")
            source = home / f"{number}.bin"
            (make_sparse_file if sizes.sparse else make_file)(source, random_size(random, sizes), random)
            deeds = random.choices(list(Deed), weights=[3, 2, 1], k=BLOWS)
            direct = sizes.sparse or number % 2 == 0
            outcomes.append(crossing.transfer(source, file_sha256(source), direct, deeds))
            source.unlink()
            for problem in outcomes[-1].problems:
                print(f"transfer {number} ({outcomes[-1]}): {problem}", file=sys.stderr, flush=True)
    finally:
        crossing.close()
    return outcomes


def prove(  # noqa: PLR0917 - what the command line says
    directory: Path, transfers: int, sizes: Sizes, seed: int, lanes: int, minutes: float = math.inf
) -> dict[str, Any]:
    """The verdict: what was done, and what was wrong. No transfer is begun after so many minutes."""
    numbers, lock, until = iter(range(transfers)), threading.Lock(), time.monotonic() + 60 * minutes

    def shared() -> Iterator[int]:
        while True:
            with lock:
                number = next(numbers, None)
            if number is None or time.monotonic() > until:
                return
            yield number

    homes = [directory / f"lane{number}" for number in range(lanes)]
    for home in homes:
        home.mkdir()
    with ThreadPoolExecutor(lanes) as pool:
        found = [pool.submit(lane, home, shared(), sizes, seed) for home in homes]
        outcomes = [outcome for future in found for outcome in future.result()]
    deeds = sum((outcome.deeds for outcome in outcomes), Counter())
    return {
        "transfers": len(outcomes),
        "direct": sum(outcome.direct for outcome in outcomes),
        "bytes": sum(outcome.size for outcome in outcomes),
        "largest": max((outcome.size for outcome in outcomes), default=0),
        "blows": sum(deeds.values()),
        **dict(sorted(deeds.items())),
        "ends unsure": sum(outcome.unsure for outcome in outcomes),
        "chunks taken twice": sum(outcome.twice for outcome in outcomes),
        "allocated": sum(outcome.allocated for outcome in outcomes),
        "memory": {
            name: max(outcome.memory.get(name, 0) for outcome in outcomes) for name in ("alice", "bob", "relay")
        },
        "longest_s": round(max((outcome.took_s for outcome in outcomes), default=0.0), 1),
        "problems": sum(len(outcome.problems) for outcome in outcomes),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--transfers", type=int, default=500)
    parser.add_argument("--min-size", type=parse_size, default=1)
    parser.add_argument("--max-size", type=parse_size, default=parse_size("1G"))
    parser.add_argument("--sparse", action="store_true", help="Files of zeros with a few islands, all directly.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--lanes", type=int, default=2, help="How many at once, each with a relay of its own.")
    parser.add_argument("--minutes", type=float, default=math.inf, help="Begin no transfer after so long.")
    parser.add_argument("--directory", type=Path, help="Where to work; it is emptied in the end.")
    given = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="transfers-", dir=given.directory)).resolve()
    try:
        sizes = Sizes(given.min_size, given.max_size, given.sparse)
        verdict = prove(work, given.transfers, sizes, given.seed, given.lanes, given.minutes)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(json.dumps(verdict))
    return 1 if verdict["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
