"""The load generator's processes: each opens its share of the connections and runs the loop when told.

The parent only waits meanwhile and reads the server's CPU where the counted span begins and ends; so its own reading of
/proc never disturbs a loop.
"""

import contextlib
import gc
import multiprocessing
import multiprocessing.connection
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from loadtest.bench.dialects.base import Dialect, DialectError, Seat
from loadtest.bench.links import ConnectError, Link, Task, allow_descriptors, connect_all
from loadtest.bench.loops import LostConnectionError, Span, Tally
from loadtest.bench.plays import Play, shares_of
from loadtest.bench.works import Work, seats, stored_to

# Descriptors of a process that are no connections.
_RESERVED = 64

_CONNECT_LIMIT_S = 120.0


class GeneratorError(Exception):
    """The load could not be produced; the text says why."""


class Orders(NamedTuple):
    """What a process has to know before it starts."""

    dialect: Dialect
    work: Work
    address: tuple[str, int]
    share: int
    shares: int
    cores: tuple[int, ...]


class Generator:
    """All processes of one measurement. Use as a context manager: they are gone afterwards."""

    def __init__(self, dialect: Dialect, work: Work, address: tuple[str, int], cores: Sequence[int]) -> None:
        """One process for each of `cores`, as far as the work can be divided."""
        self._shares = shares_of(work, max(1, len(cores)))
        context = multiprocessing.get_context("fork")
        self._pipes: list[multiprocessing.connection.Connection] = []
        self._processes: list[Any] = []
        for share in range(self._shares):
            core = (cores[share],) if cores else ()
            ours, theirs = context.Pipe()
            orders = Orders(dialect, work, address, share, self._shares, core)
            process = context.Process(target=_serve, args=(orders, theirs, [*self._pipes, ours]), daemon=True)
            self._pipes.append(ours)
            process.start()
            theirs.close()
            self._processes.append(process)

    def __enter__(self) -> "Generator":
        return self

    def __exit__(self, *_: object) -> None:
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.join(2.0)
            if process.is_alive():
                process.kill()
                process.join()

    def connect(self, progress: Callable[[int], None]) -> None:
        """Open and log in all connections. Raises GeneratorError."""
        self._tell(("connect",))
        done = [0] * self._shares
        for share, number in self._answers("progress"):
            done[share] = number
            progress(sum(done))

    def run(self, kind: str, span: Span, rate: float, at: Callable[[int], None]) -> Tally:
        """Run the loop. `at(0)` is called where the span begins, `at(1)` where it ends. Raises GeneratorError."""
        self._tell(("run", kind, span, rate / self._shares))
        for point, instant in enumerate(span):
            time.sleep(max(0.0, instant - time.monotonic()))
            at(point)
        return _merge(tally for _, tally in self._answers("tally"))

    def _tell(self, order: tuple[Any, ...]) -> None:
        for pipe in self._pipes:
            pipe.send(order)

    def _answers(self, kind: str) -> "Iterable[tuple[int, Any]]":
        """The answers of that kind until every process has said that it is done."""
        waiting = dict(enumerate(self._pipes))
        while waiting:
            ready = multiprocessing.connection.wait(list(waiting.values()))
            for share, pipe in [pair for pair in waiting.items() if pair[1] in ready]:
                try:
                    what, value = pipe.recv()
                except EOFError:
                    raise GeneratorError("a process of the generator died") from None
                if what == "error":
                    raise GeneratorError(value)
                if what == kind:
                    yield share, value
                if what == "done":
                    del waiting[share]


def _merge(tallies: Iterable[Tally]) -> Tally:
    whole = Tally()
    for tally in tallies:
        whole.messages += tally.messages
        whole.seconds = max(whole.seconds, tally.seconds)
        whole.cpu_s += tally.cpu_s
        whole.sent += tally.sent
        whole.received += tally.received
        whole.latencies_ms.extend(tally.latencies_ms)
        whole.lags_ms.extend(tally.lags_ms)
    return whole


def _serve(
    orders: Orders,
    pipe: multiprocessing.connection.Connection,
    others: Iterable[multiprocessing.connection.Connection],
) -> None:
    """The life of one process: until the pipe to the parent ends. Ctrl-C is the parent's business."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for other in others:
        other.close()
    # The loops make no cycles, and a collection among thousands of connections would be taken for the server's latency.
    gc.disable()
    if orders.cores:
        os.sched_setaffinity(0, orders.cores)
    worker = _Worker(orders, pipe)
    with contextlib.suppress(EOFError, BrokenPipeError):
        try:
            while True:
                worker.obey(*pipe.recv())
        except (ConnectError, LostConnectionError, DialectError) as error:
            pipe.send(("error", str(error)))
        except (EOFError, BrokenPipeError):
            raise
        except Exception:
            pipe.send(("error", traceback.format_exc()))


class _Worker:
    """One process's share."""

    def __init__(self, orders: Orders, pipe: multiprocessing.connection.Connection) -> None:
        self._orders = orders
        self._pipe = pipe
        self._play = Play(orders.dialect, orders.work, orders.share, orders.shares)
        self._links: list[Link] = []
        self._room = allow_descriptors() - _RESERVED

    def obey(self, order: str, *arguments: Any) -> None:
        if order == "connect":
            self._connect()
        else:
            kind, span, rate = arguments
            self._pipe.send(("tally", self._run(kind, span, rate)))
        self._pipe.send(("done", None))

    def _connect(self) -> None:
        orders = self._orders
        if orders.work.kind == "stored" and orders.share == 0:
            self._prepare()
        tasks = self._play.tasks()
        if len(tasks) > self._room:
            raise ConnectError(
                f"{len(tasks)} connections need as many descriptors, and the limit is {self._room + _RESERVED}; "
                "raise it (ulimit -Hn) or use more generator processes (--generators)"
            )
        self._links = connect_all(orders.address, tasks, self._report, _CONNECT_LIMIT_S)
        if orders.dialect.settle_s and self._links:
            time.sleep(orders.dialect.settle_s)
            for link in self._links:
                _answer_pings(link, orders.dialect.pong)

    def _prepare(self) -> None:
        receivers = [stored_to(seat) for seat in seats(self._orders.work)]
        logins = self._orders.dialect.prepare(receivers)
        tasks = [Task(n, Seat("prepare"), login) for n, login in enumerate(logins)]
        for link in connect_all(self._orders.address, tasks, lambda _: None, _CONNECT_LIMIT_S):
            link.close()

    def _report(self, number: int) -> None:
        self._pipe.send(("progress", number))

    def _run(self, kind: str, span: Span, rate: float) -> Tally:
        if kind in ("storm", "resume"):
            tally, self._links = self._play.run_storm(self._orders.address, span)
            return tally
        return self._play.run(kind, self._links, span, rate)


def _answer_pings(link: Link, pong: bytes) -> None:
    with contextlib.suppress(BlockingIOError):
        if link.sock.recv(4096):
            link.sock.send(pong)
