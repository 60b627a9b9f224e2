"""Measures what streams cost, prints it beside its goals, and writes JSON on demand."""

import argparse
import json
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from loadtest.bench.links import allow_descriptors
from loadtest.streams.rounds import (
    TRANSFERS,
    Conditions,
    Flow,
    Notice,
    divide_cores,
    measure_memory,
    measure_notice,
    measure_relay,
    measure_socat,
    p99_ms,
    typical_ms,
)

MIB = 2**20
# Ten times as much fills a line of 1 Gbit/s.
LINE_RATE_BYTES = 12.5e6


class Row(NamedTuple):
    """One figure of all rounds, and the bound that it shall keep; `low` if it shall not be below it."""

    name: str
    values: list[float]
    unit: str = ""
    goal: float | None = None
    low: bool = False

    @property
    def value(self) -> float:
        """The median of the rounds."""
        return median(self.values)

    @property
    def kept(self) -> bool | None:
        """Whether the goal is reached; None without one."""
        if self.goal is None:
            return None
        return self.value >= self.goal if self.low else self.value <= self.goal

    def __str__(self) -> str:
        spread = f"({min(self.values):.3g} to {max(self.values):.3g})"
        verdict = {None: "", True: "reached", False: "MISSED"}[self.kept]
        goal = f"{'>=' if self.low else '<='} {self.goal:g} {verdict}" if self.goal is not None else ""
        return f"{self.name:66} {self.value:>8.3g} {self.unit:9} {spread:20} {goal}"


def cost_rows(conditions: Conditions, rounds: int) -> list[Row]:
    """One stream, against socat in the same round."""
    if shutil.which("socat") is None:
        print("socat is not installed; the relay is measured alone (apt install socat)")
        flows = [measure_relay(conditions) for _ in range(rounds)]
        return [Row("one stream", [flow.rate / 1e6 for flow in flows], "MB/s"), _cpu("one stream, CPU", flows)]
    pairs = [(measure_socat(conditions), measure_relay(conditions)) for _ in range(rounds)]
    ours, theirs = [flow for _, flow in pairs], [flow for flow, _ in pairs]
    return [
        Row("one stream", [flow.rate / 1e6 for flow in ours], "MB/s"),
        Row("socat", [flow.rate / 1e6 for flow in theirs], "MB/s"),
        Row("one stream, rate by that of socat", [flow.rate / other.rate for other, flow in pairs], "", 0.5, True),
        _cpu("one stream, CPU", ours),
        _cpu("socat, CPU", theirs),
        Row("one stream, CPU by that of socat", [f.cpu_s_per_gib / o.cpu_s_per_gib for o, f in pairs], "", 2.0),
    ]


def fair_rows(conditions: Conditions, rounds: int) -> list[Row]:
    """Ten streams, on connections of their own and on one."""
    rows = []
    for name, pairs, each in (("between ten pairs", TRANSFERS, 1), ("on one connection", 1, TRANSFERS)):
        flows = [measure_relay(conditions, pairs, each) for _ in range(rounds)]
        rows.append(Row(f"ten streams {name}", [flow.rate / 1e6 for flow in flows], "MB/s"))
        rows.append(_cpu(f"ten streams {name}, CPU", flows))
        largest = [max(flow.rates) / max(1.0, min(flow.rates)) for flow in flows]
        rows.append(Row(f"ten streams {name}, largest by smallest", largest, "", 1.3))
    return rows


def notice_rows(conditions: Conditions, rounds: int) -> list[Row]:
    """What calls and messages notice of ten transfers."""
    rows = []
    for name, rate in (("at 1 Gbit/s together", LINE_RATE_BYTES), ("as fast as they go", 0.0)):
        notices = [measure_notice(conditions, rate) for _ in range(rounds)]
        rows.append(Row(f"ten transfers {name}", [notice.rate / 1e6 for notice in notices], "MB/s"))
        for kind in ("calls", "messages"):
            rows += latency_rows(f"{kind} beside ten transfers {name}", kind, notices)
    return rows


def latency_rows(name: str, kind: str, notices: Sequence[Notice]) -> list[Row]:
    """Latencies of a kind beside the transfers, and by those alone in the same round."""
    alone = [getattr(notice.alone, f"{kind}_s") for notice in notices]
    beside = [getattr(notice.beside, f"{kind}_s") for notice in notices]
    rows = []
    for figure, of, goal in (("p50", typical_ms, None), ("p99", p99_ms, 1.5)):
        quiet, busy = [of(values) for values in alone], [of(values) for values in beside]
        rows.append(Row(f"{name}, {figure}", busy, "ms"))
        ratios = [one / other for one, other in zip(busy, quiet, strict=True)]
        rows.append(Row(f"{name}, {figure} by that alone", ratios, "", goal))
    return rows


def memory_rows(conditions: Conditions, rounds: int) -> list[Row]:
    """What the relay grows by for each transfer."""
    return [
        Row(
            f"memory of a transfer {name}",
            [measure_memory(conditions, 2 * TRANSFERS, stalled) / MIB for _ in range(rounds)],
            "MiB",
            2.0,
        )
        for name, stalled in (("under way", False), ("that nobody reads", True))
    ]


def _cpu(name: str, flows: Sequence[Flow]) -> Row:
    return Row(name, [flow.cpu_s_per_gib for flow in flows], "s/GiB")


PARTS: dict[str, Callable[[Conditions, int], list[Row]]] = {
    "cost": cost_rows,
    "fair": fair_rows,
    "notice": notice_rows,
    "memory": memory_rows,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 1 if a goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.streams", description=__doc__)
    parser.add_argument("part", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; default: all")
    parser.add_argument("--rounds", type=int, default=5, help="medians of so many (%(default)s)")
    parser.add_argument("--seconds", type=float, default=2.0, help="counted time of a run (%(default)s)")
    parser.add_argument("--window", type=int, default=16, help="chunks of 64 KiB granted ahead (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows as JSON, one a line")
    options = parser.parse_args(arguments)
    if unknown := set(options.part) - set(PARTS):
        parser.error(f"there is no part {sorted(unknown)[0]!r}; they are {', '.join(PARTS)}")
    allow_descriptors()
    cores = divide_cores()
    if cores.chat:
        os.sched_setaffinity(0, cores.chat)
    print(f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}; medians of {options.rounds} rounds, (all)")
    rows: list[Row] = []
    for part in options.part or PARTS:
        found = PARTS[part](Conditions(options.seconds, options.window, cores), options.rounds)
        print("\n".join(map(str, found)), flush=True)
        rows += found
    if options.json is not None:
        lines = (json.dumps(row._asdict() | {"value": row.value, "kept": row.kept}) for row in rows)
        options.json.write_text("".join(f"{line}\n" for line in lines))
    return int(any(row.kept is False for row in rows))


if __name__ == "__main__":
    sys.exit(main())
