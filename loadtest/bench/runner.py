"""One measurement: a fresh server, the generator's processes, the span, and the figures that come out."""

import os
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import NamedTuple

from loadtest.bench.dialects.base import Dialect
from loadtest.bench.generator import Generator
from loadtest.bench.loops import Span, Tally
from loadtest.bench.server import Server, Usage
from loadtest.bench.works import PACED_FRACTIONS, Work, everybody, seats

# Between the order to start and the first message counted: the loops start, queues fill, caches warm.
_START_S = 0.1

Progress = Callable[[str], None]


class Conditions(NamedTuple):
    """How everything is measured. Cores: none of either means that nothing is pinned."""

    seconds: float
    warm_up_s: float
    server_cores: tuple[int, ...]
    generator_cores: tuple[int, ...]


@dataclass
class Figure:
    """The figures of one measurement. None where a work has no such figure."""

    work: str
    server: str
    connections: int
    payload_bytes: int
    messages_per_s: float | None = None
    cpu_us_per_message: float | None = None
    user_us_per_message: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    p999_ms: float | None = None
    rss_mb: float | None = None
    # Only where logged-in connections are weighed: what each adds to the server's resident memory.
    kb_per_connection: float | None = None
    server_cpu_percent: float | None = None
    generator_cpu_percent: float | None = None
    # How late the generator itself was with 99 % of the scheduled messages (paced works).
    lag_p99_ms: float | None = None
    # What the server took when nobody waited for a clock: paced works are fractions of it.
    capacity_per_s: float | None = None
    sent: int = 0
    lost: int = 0
    round: int = 0
    version: str = ""
    notes: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, object]:
        """For JSON: floats with four significant digits."""
        return {
            name: float(f"{value:.4g}") if isinstance(value, float) else value for name, value in asdict(self).items()
        }


def share_cores(server: int | None, generators: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(the server's cores, the generator's): the generator takes the last ones. Both empty on a single core."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        return (), ()
    generators = min(generators, len(cores) - 1)
    rest = cores[: len(cores) - generators]
    return tuple(rest[: server or len(rest)]), tuple(cores[len(cores) - generators :])


def measure(dialect: Dialect, work: Work, conditions: Conditions, progress: Progress) -> Iterator[Figure]:
    """The figures of one work on one fresh server: one, or one for each load of a paced work.

    Raises ServerError or GeneratorError; the server is gone in any case.
    """
    progress("starting")
    with Server(dialect, work.kind, everybody(work), conditions.server_cores) as server:
        before_bytes = server.rss_bytes()
        with Generator(dialect, work, server.address, conditions.generator_cores) as generator:
            generator.connect(lambda number: progress(f"{number} connected"))
            run = _Run(dialect, work, conditions, server, generator)
            if work.kind == "idle":
                yield run.weigh(before_bytes)
            elif work.kind == "paced":
                progress("finding out what it can take")
                capacity = run.play("pingpong", work.name).messages_per_s or 1.0
                for fraction in PACED_FRACTIONS:
                    progress(f"running at {fraction:.0%}")
                    figure = run.play("paced", f"{work.name}@{fraction:.0%}", capacity * fraction)
                    figure.capacity_per_s = capacity
                    yield figure
            else:
                progress("running")
                yield run.play(work.kind, work.name)


class _Run:
    """A server with its connections, ready to play."""

    def __init__(
        self, dialect: Dialect, work: Work, conditions: Conditions, server: Server, generator: Generator
    ) -> None:
        self._dialect = dialect
        self._work = work
        self._conditions = conditions
        self._server = server
        self._generator = generator

    def weigh(self, before_bytes: int) -> Figure:
        """The memory of connections that do nothing."""
        # What the logins left behind is freed by then, as far as it will be.
        time.sleep(1.0)
        figure = self._figure(self._work.name)
        rss_bytes = self._server.rss_bytes()
        figure.kb_per_connection = (rss_bytes - before_bytes) / 1024 / figure.connections
        return figure

    def play(self, kind: str, name: str, rate: float = 0.0) -> Figure:
        """One run of a loop."""
        conditions, usages, instants = self._conditions, [], []

        def read(_: int) -> None:
            usages.append(self._server.usage())
            instants.append(time.monotonic())

        begin_at = time.monotonic() + _START_S + conditions.warm_up_s
        tally = self._generator.run(kind, Span(begin_at, begin_at + conditions.seconds), rate, read)
        return self._fill(self._figure(name), tally, usages[1].since(usages[0]), instants[1] - instants[0])

    def _figure(self, name: str) -> Figure:
        work = self._work
        return Figure(
            name,
            self._dialect.name,
            len(seats(work)),
            work.payload_bytes,
            rss_mb=self._server.rss_bytes() / 2**20,
        )

    def _fill(self, figure: Figure, tally: Tally, usage: Usage, window_s: float) -> Figure:
        figure.sent, figure.lost = tally.sent, tally.sent - tally.received
        if not tally.messages:
            figure.notes.append("nothing arrived")
            return figure
        if figure.lost:
            figure.notes.append(f"{figure.lost} of {tally.sent} did not arrive as sent")
        rate = tally.messages / tally.seconds
        figure.messages_per_s = rate
        figure.cpu_us_per_message = usage.cpu_s / window_s / rate * 1e6
        figure.user_us_per_message = usage.user_s / window_s / rate * 1e6
        figure.server_cpu_percent = usage.cpu_s / window_s * 100
        figure.generator_cpu_percent = tally.cpu_s / tally.seconds * 100
        figure.p50_ms, figure.p99_ms, figure.p999_ms = percentiles(tally.latencies_ms, (0.5, 0.99, 0.999))
        figure.lag_p99_ms = percentiles(tally.lags_ms, (0.99,))[0]
        if self._work.kind in ("storm", "resume"):
            figure.connections = tally.received
        return figure


def percentiles(values: "array[float]", fractions: Sequence[float]) -> list[float | None]:
    """The values below which these fractions lie (nearest rank); None for each if there are no values."""
    ordered = sorted(values)
    if not ordered:
        return [None] * len(fractions)
    return [ordered[min(len(ordered) - 1, int(len(ordered) * fraction))] for fraction in fractions]
