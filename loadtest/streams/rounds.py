"""The measurements, one function each. A round is everything that is compared, one after the other."""

import contextlib
import os
import time
from array import array
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from loadtest.bench.dialects.relay import RelayDialect
from loadtest.bench.runner import percentiles
from loadtest.bench.server import Server, read_rss_bytes, read_usage
from loadtest.streams.carriers import Route, route, socat, transfer_seats
from loadtest.streams.chat import CHAT_SEATS, Chat, Latencies
from loadtest.streams.pumps import Counters, Pump, drain, pour

WARM_UP_S = 0.5

# Alone and beside the transfers alternate so often; this long it takes until all that is under way has arrived.
SLICES = 8
SETTLE_S = 0.05
TRANSFERS = 10
GIB = 2**30


class Cores(NamedTuple):
    """Where everything runs; all empty where there are too few to divide."""

    carrier: tuple[int, ...]
    sender: tuple[int, ...]
    receiver: tuple[int, ...]
    chat: tuple[int, ...]


class Conditions(NamedTuple):
    """How everything is measured. `window_chunks`: of 64 KiB, granted ahead on each stream."""

    seconds: float
    window_chunks: int
    cores: Cores


class Flow(NamedTuple):
    """What went through a carrier: bytes a second of each stream, and the carrier's CPU seconds for each GiB."""

    rates: list[float]
    cpu_s_per_gib: float

    @property
    def rate(self) -> float:
        """All streams together."""
        return sum(self.rates)


class Notice(NamedTuple):
    """What others noticed: latencies alone and beside the transfers, and what these carried."""

    alone: Latencies
    beside: Latencies
    rate: float


def divide_cores() -> Cores:
    """One for each process; the relay's other threads may use that of the chat, which does little."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 4:
        return Cores((), (), (), ())
    return Cores((cores[0], cores[3]), (cores[1],), (cores[2],), (cores[3],))


def measure_socat(conditions: Conditions, pairs: int = 1) -> Flow:
    """Plain bytes through socat."""
    with socat(pairs, conditions.cores.carrier[:1]) as through:
        return _flow(through, conditions)


def measure_relay(conditions: Conditions, pairs: int = 1, streams_each: int = 1) -> Flow:
    """Streams through a fresh relay, each pair of users with connections of its own."""
    with _relay(conditions, pairs) as (server, dialect):
        return _flow(route(server, dialect, pairs, streams_each), conditions)


def measure_notice(conditions: Conditions, rate_bytes: float) -> Notice:
    """Chat alone and beside ten transfers, as fast as they go or at a rate each, in turns: what else happens on the
    machine meanwhile meets both.
    """
    alone, beside = Latencies([], []), Latencies([], [])
    moved = taken_s = 0.0
    with _relay(conditions, TRANSFERS) as (server, dialect):
        chat = Chat(server, dialect)
        through = route(server, dialect, TRANSFERS, 1)
        counters = Counters(through.streams)
        with _pumping(through, counters, conditions, rate_bytes) as sender:
            chat.talk(WARM_UP_S)
            for _ in range(SLICES):
                with sender.held():
                    chat.talk(SETTLE_S)
                    _add(alone, chat.talk(conditions.seconds / SLICES))
                chat.talk(SETTLE_S)
                before, began_at = sum(counters.read_bytes()), time.monotonic()
                _add(beside, chat.talk(conditions.seconds / SLICES))
                moved += sum(counters.read_bytes()) - before
                taken_s += time.monotonic() - began_at
    return Notice(alone, beside, moved / taken_s)


def _add(pool: Latencies, found: Latencies) -> None:
    pool.calls_s.extend(found.calls_s)
    pool.messages_s.extend(found.messages_s)


def measure_memory(conditions: Conditions, transfers: int, stalled: bool) -> float:
    """By how many bytes the relay grows for each transfer under way; `stalled`: the receivers do not read."""
    with _relay(conditions, transfers) as (server, dialect):
        through = route(server, dialect, transfers, 1)
        time.sleep(WARM_UP_S)
        before = read_rss_bytes(server.pid)
        counters = Counters(through.streams)
        with _pumping(through, counters, conditions, 0.0, stalled):
            time.sleep(WARM_UP_S)
            grown = max(_growth(server.pid, before) for _ in range(max(1, int(conditions.seconds * 10))))
    return grown / transfers


def _growth(pid: int, before: int) -> int:
    time.sleep(0.1)
    return read_rss_bytes(pid) - before


@contextlib.contextmanager
def _relay(conditions: Conditions, pairs: int) -> Iterator[tuple[Server, RelayDialect]]:
    dialect = RelayDialect()
    with Server(dialect, "call", [*transfer_seats(pairs), *CHAT_SEATS], conditions.cores.carrier) as server:
        yield server, dialect


@contextlib.contextmanager
def _pumping(
    through: Route, counters: Counters, conditions: Conditions, rate_bytes: float, stalled: bool = False
) -> Iterator[Pump]:
    cores = conditions.cores
    if stalled:
        for joint in through.receiving:
            for strand in joint.strands:
                joint.sock.send(strand.credit * conditions.window_chunks)
    receiver = contextlib.nullcontext() if stalled else Pump(
        drain, cores.receiver, through.receiving, conditions.window_chunks, counters
    )  # fmt: skip
    with receiver, Pump(pour, cores.sender, through.sending, rate_bytes) as sender:
        yield sender


def _flow(through: Route, conditions: Conditions) -> Flow:
    counters = Counters(through.streams)
    with _pumping(through, counters, conditions, 0.0):
        time.sleep(WARM_UP_S)
        bytes_before, usage, began_at = counters.read_bytes(), read_usage(through.pid), time.monotonic()
        time.sleep(conditions.seconds)
        bytes_after, used = counters.read_bytes(), read_usage(through.pid).since(usage)
        taken_s = time.monotonic() - began_at
    moved = [after - before for before, after in zip(bytes_before, bytes_after, strict=True)]
    return Flow([size / taken_s for size in moved], used.cpu_s / max(1, sum(moved)) * GIB)


def p99_ms(latencies_s: Sequence[float]) -> float:
    """In milliseconds; 0 if there are none."""
    return _percentile_ms(latencies_s, 0.99)


def typical_ms(latencies_s: Sequence[float]) -> float:
    """The median in milliseconds; 0 if there are none."""
    return _percentile_ms(latencies_s, 0.5)


def _percentile_ms(latencies_s: Sequence[float], fraction: float) -> float:
    return percentiles(array("d", [value * 1000 for value in latencies_s]), (fraction,))[0] or 0.0
