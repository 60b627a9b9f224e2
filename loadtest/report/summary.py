"""All figures of a run in one plain structure: what goes into the JSON file, and what table and page are made from."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from loadtest.books.histogram import Histogram, Timeline
from loadtest.books.tally import ACTIVITY, FAILURES, Tally
from loadtest.scenarios.scenario import Scenario

QUANTILES = {"p50_ms": 0.5, "p90_ms": 0.9, "p99_ms": 0.99, "p999_ms": 0.999}

# A process over this share of a core is not waiting for anything any more: its own queue is in its times.
SATURATED_CORES = 0.85


@dataclass
class Outcome:
    """What `run` knows at the end. Instants are seconds of the monotonic clock."""

    scenario: Scenario
    users: int
    seconds: float
    machine: dict[str, Any]
    instants: dict[str, float]
    tally: Tally
    timeline: Timeline
    # By process name: (instant, share of a core, resident bytes).
    samples: Mapping[str, Sequence[tuple[float, float, int]]]
    events: list[tuple[float, str]]
    examples: list[str]
    errors: list[str]


def summarize(outcome: Outcome) -> dict[str, Any]:
    """The structure; times of the run in seconds since the traffic began."""
    zero = outcome.instants.get("traffic", outcome.instants.get("begin", 0.0))
    scenario = asdict(outcome.scenario)
    scenario["allowed"] = sorted(outcome.scenario.allowed)
    scenario["disturbances"] = [
        f"{each.harm.name.lower()} at {each.at_share:.0%}" for each in outcome.scenario.disturbances
    ]
    return {
        "scenario": scenario,
        "users": outcome.users,
        "seconds": outcome.seconds,
        "machine": outcome.machine,
        "phases_s": {name: round(at - zero, 3) for name, at in outcome.instants.items()},
        "events": [[round(at - zero, 3), what] for at, what in outcome.events],
        "counts": {name: outcome.tally[name] for name in (*ACTIVITY, *FAILURES)},
        "times": {kind: _times(outcome.timeline.total(kind), outcome.seconds) for kind in outcome.timeline.kinds()},
        "distribution": {kind: _distribution(outcome.timeline.total(kind)) for kind in outcome.timeline.kinds()},
        "by_second": {kind: _by_second(outcome.timeline, kind, zero) for kind in outcome.timeline.kinds()},
        "processes": {name: _process(samples, outcome.instants) for name, samples in outcome.samples.items()},
        "processes_by_second": {
            name: [[round(at - zero, 2), round(cores, 3), rss] for at, cores, rss in samples]
            for name, samples in outcome.samples.items()
        },
        "examples": outcome.examples,
        "errors": outcome.errors,
    }


def saturated(summary: Mapping[str, Any]) -> list[str]:
    """The load test's own processes that were too busy while the traffic lasted, each as a sentence."""
    return [
        f"{name} used {use['traffic_cores']:.0%} of a core: what it measured is its own queue, too"
        for name, use in summary["processes"].items()
        if name != "the relay" and use["traffic_cores"] > SATURATED_CORES
    ]


def _times(histogram: Histogram, seconds: float) -> dict[str, Any]:
    times = {name: histogram.quantile_ms(share) for name, share in QUANTILES.items()}
    rate = histogram.count / seconds if seconds else 0.0
    return {"count": histogram.count, "per_s": round(rate, 1), **times, "max_ms": histogram.longest_us / 1000}


def _distribution(histogram: Histogram) -> list[list[float | None]]:
    """[share, time in ms] at the shares 0, 50, 75, ... with twice as many nines at each second step."""
    shares = [0.0]
    left = 0.5
    while left * histogram.count >= 0.5:
        shares.append(1 - left)
        left /= 2
    return [[share, histogram.quantile_ms(share)] for share in shares]


def _by_second(timeline: Timeline, kind: str, zero: float) -> list[list[float | None]]:
    """[second, count, p50, p99, max], ascending."""
    rows = []
    for second, histogram in sorted(timeline.seconds(kind).items()):
        p50, p99 = histogram.quantile_ms(0.5), histogram.quantile_ms(0.99)
        rows.append([second - int(zero), histogram.count, p50, p99, histogram.longest_us / 1000])
    return rows


def _process(samples: Sequence[tuple[float, float, int]], instants: Mapping[str, float]) -> dict[str, float]:
    from_at, until_at = instants.get("traffic", 0.0), instants.get("until", float("inf"))
    busy = [cores for at, cores, _ in samples if from_at < at <= until_at + 1]
    return {
        "traffic_cores": round(sum(busy) / len(busy), 3) if busy else 0.0,
        "peak_cores": round(max((cores for _, cores, _ in samples), default=0.0), 3),
        "peak_rss_mb": round(max((rss for _, _, rss in samples), default=0) / 1e6, 1),
    }
