"""What the store costs by itself, without a relay around it: `python -m loadtest.store_bench [WORK...]`.

Works: `append` (rows a second and CPU a row, by size of a group and number of conversations), `read` (a device catches
up), `start` (the time until a large database answers after a crash, and its memory). Each row was fsynced before
its append returned. Figures and what was concluded from them: docs/decisions/store-append.md.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path

from loadtest.bench.server import read_rss_bytes
from relay.protocol.frames import encode_frame
from relay.protocol.scram import Credentials
from relay.store.base import Append
from relay.store.sqlite import SqliteStore

# A message of 128 bytes with its header.
PACKET = os.urandom(170)
NOBODYS = Credentials(b"salt", 4096, b"stored key", b"server key")
_LAST_OF_EACH = 3
TIME_MS = 1_700_000_000_000


@contextmanager
def filled(directory: Path, pairs: int) -> Iterator[SqliteStore]:
    """A store with so many pairs of users, each with a message."""
    store = SqliteStore(directory)
    with store.group():
        for number in range(pairs):
            store.add_account(f"a{number}", NOBODYS, False, TIME_MS)
            store.add_account(f"b{number}", NOBODYS, False, TIME_MS)
    try:
        yield store
    finally:
        store.close()


def messages(pairs: int, total: int = 1, message_id: int = 1) -> Iterator[Append]:
    """One message of each pair after the other, or a run of `total` of them, without end; ids begin at `message_id`."""
    packet = PACKET if total == 1 else encode_frame(PACKET) * total
    while True:
        for number in range(pairs):
            yield Append(f"a{number}@b{number}", f"a{number}", "pc", message_id, packet, None, total)
        message_id += total


def conversations(pairs: int, each: int) -> Iterator[Append]:
    """So many messages of each pair, one pair after the other."""
    for number in range(pairs):
        for message_id in range(1, each + 1):
            yield Append(f"a{number}@b{number}", f"a{number}", "pc", message_id, PACKET)


def append(directory: Path, pairs: int, group: int, total: int, run_length: int = 1) -> str:
    """Append `total` messages in groups; maintenance is a part of the cost."""
    with filled(directory, pairs) as store:
        source = messages(pairs, run_length)
        store.append(list(islice(source, pairs)), TIME_MS)
        waits_s, pauses_s = [], []
        cpu_s = 0.0
        for _ in range(max(total // group, 1)):
            items = list(islice(source, max(group // run_length, 1)))
            started, cpu_started = time.perf_counter(), time.thread_time()
            store.append(items, TIME_MS)
            waits_s.append(time.perf_counter() - started)
            store.maintain(idle=False)
            pauses_s.append(time.perf_counter() - started - waits_s[-1])
            cpu_s += time.thread_time() - cpu_started
    rows, taken_s = len(waits_s) * group, sum(waits_s) + sum(pauses_s)
    waits_s.sort()
    return (
        f"append {pairs:6} conversations, groups of {group:4}, runs of {run_length:2}: {rows / taken_s:9,.0f} rows/s, "
        f"CPU {cpu_s / rows * 1e6:5.2f} us/row, group p50 {waits_s[len(waits_s) // 2] * 1e3:5.2f} ms "
        f"p99 {waits_s[len(waits_s) * 99 // 100] * 1e3:6.2f} ms, longest maintenance {max(pauses_s) * 1e3:5.1f} ms"
    )


def read(directory: Path, pairs: int, total: int) -> str:
    """Read one conversation from the beginning, in pages as a session does, among messages of others."""
    with filled(directory, pairs) as store:
        source = messages(pairs)
        for _ in range(max(total // 1000, 1)):
            store.append(list(islice(source, 1000)), TIME_MS)
            store.maintain(idle=False)
        reader = store.reader()
        started, cpu_started = time.perf_counter(), time.thread_time()
        count = 0
        while page := reader.read("a0@b0", count, 500, 256 * 1024):
            count += len(page)
        taken_s, cpu_s = time.perf_counter() - started, time.thread_time() - cpu_started
        reader.close()
    return (
        f"read   {count:6} messages of one of {pairs} conversations: {count / taken_s:9,.0f} messages/s, "
        f"CPU {cpu_s / count * 1e6:5.2f} us/message"
    )


def start(directory: Path, users: int, total: int) -> str:
    """Fill a database in a process that ends without closing it, then let fresh processes open it: one that only
    opens the store, and a whole relay until it listens.
    """
    place = directory / "crashed"
    _run_self("--fill", str(place), str(users), str(total))
    size_bytes = sum(file.stat().st_size for file in place.iterdir())
    report = json.loads(_run_self("--open", str(place)))
    listening_s, rss_mb = _start_relay(place)
    return (
        f"start  {users} users, {total:,} messages, {size_bytes / 1e9:.1f} GB: "
        f"store ready in {report['ready_s']:.2f} s, "
        f"{report['rss_mb']:.0f} MB resident; relay listening after {listening_s:.2f} s, {rss_mb:.0f} MB resident"
    )


def _run_self(*arguments: str) -> str:
    command = [sys.executable, "-m", __spec__.name if __spec__ else __name__, *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def fill(directory: Path, users: int, total: int) -> None:
    """In a process of its own: make the database and end without closing, as a relay that is killed."""
    with filled(directory, users // 2) as store:
        pairs = users // 2
        # Most of it pair by pair, which the index takes quickly; at the end everybody, so that what a start has to read
        # is of as many conversations and devices as there can be.
        each = max(total // pairs - _LAST_OF_EACH, 1)
        source = chain(conversations(pairs, each), islice(messages(pairs, 1, each + 1), pairs * _LAST_OF_EACH))
        while items := list(islice(source, 5_000)):
            store.append(items, TIME_MS)
            store.maintain(idle=False)
        os._exit(0)


def _start_relay(directory: Path) -> tuple[float, float]:
    """(seconds until a relay on this directory listens, its resident MB)."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "relay", "serve", "--data", str(directory), "--listen", "127.0.0.1:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            if not process.stdout.readline().startswith("listening"):
                raise RuntimeError("the relay did not start; it has said why")
            return time.perf_counter() - started, read_rss_bytes(process.pid) / 2**20
        finally:
            process.kill()


def open_store(directory: Path) -> None:
    """In a fresh process: open, read the tail, answer one question of each kind; print what it took."""
    started = time.perf_counter()
    store = SqliteStore(directory)
    reader = store.reader()
    store.last_message_id("a0", "pc")
    reader.read("a0@b0", 0, 500, 256 * 1024)
    reader.account("a0")
    ready_s = time.perf_counter() - started
    rss_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"ready_s": ready_s, "rss_mb": rss_mb}), flush=True)
    os._exit(0)  # without indexing, as a process that is killed


def works(scale: float) -> dict[str, list[Callable[[Path], str]]]:
    """What can be measured; `scale` 1 is the size that the documents speak of."""

    def sized(number: int) -> int:
        return max(int(number * scale), 1)

    groups = (
        (100, 20, 1),
        (100, 100, 1),
        (100, 500, 1),
        (100, 2000, 1),
        (10_000, 500, 1),
        (100, 500, 20),
        (100, 2000, 20),
    )
    return {
        "append": [
            lambda place, pairs=pairs, group=group, run_length=run_length: append(
                place, sized(pairs), group, sized(1000 * group), run_length
            )
            for pairs, group, run_length in groups
        ],
        "read": [lambda place: read(place, 10, sized(1_000_000))],
        "start": [lambda place: start(place, sized(100_000), sized(10_000_000))],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", nargs="*", help="append, read, start; all but start if none is named")
    parser.add_argument("--scale", type=float, default=1.0, help="a fraction of the full size")
    parser.add_argument("--directory", type=Path, help="where the databases are made; default: the system's")
    parser.add_argument("--open", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--fill", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.open:
        open_store(options.open)
    if options.fill:
        fill(Path(options.fill[0]), int(options.fill[1]), int(options.fill[2]))
    choices = works(options.scale)
    unknown = set(options.work) - set(choices)
    if unknown:
        parser.error(f"no such work: {', '.join(sorted(unknown))}; there are {', '.join(choices)}")
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for name in options.work or ("append", "read"):
        for measure in choices[name]:
            with tempfile.TemporaryDirectory(dir=options.directory) as place:
                print(measure(Path(place)), flush=True)


if __name__ == "__main__":
    main()
