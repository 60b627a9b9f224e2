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

# Everything else on the machine may use so much of its cores.
CROWDED_SHARE = 0.2

# A process that waits for a core more than this share of the time has latencies of the machine, not of its own.
CROWDED_QUEUED = 0.2

RELAY = "the relay"


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
    # By process name: (instant, share of a core, share of the time kept waiting for one, resident bytes).
    samples: Mapping[str, Sequence[tuple[float, float, float, int]]]
    # How many of the cores everything else on the machine used: (instant, cores).
    foreign: Sequence[tuple[float, float]]
    # When the last user was in, before the traffic.
    all_in_at: float
    events: list[tuple[float, str]]
    examples: list[str]
    errors: list[str]


def summarize(outcome: Outcome) -> dict[str, Any]:
    """The structure; times of the run in seconds since the traffic began."""
    zero = outcome.instants.get("traffic", outcome.instants.get("begin", 0.0))
    scenario = asdict(outcome.scenario)
    scenario["allowed"] = sorted(outcome.scenario.allowed)
    scenario["relay_flags"] = list(outcome.scenario.relay_flags)
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
        "arrival": _arrival(outcome),
        "counts": {name: outcome.tally[name] for name in (*ACTIVITY, *FAILURES)},
        "times": {kind: _times(outcome.timeline.total(kind), outcome.seconds) for kind in outcome.timeline.kinds()},
        "distribution": {kind: _distribution(outcome.timeline.total(kind)) for kind in outcome.timeline.kinds()},
        "by_second": {kind: _by_second(outcome.timeline, kind, zero) for kind in outcome.timeline.kinds()},
        "processes": {name: _process(samples, outcome.instants) for name, samples in outcome.samples.items()},
        "foreign_cores": _during_traffic(outcome.foreign, outcome.instants),
        "processes_by_second": {
            name: [[round(at - zero, 2), round(cores, 3), round(queued, 3), rss] for at, cores, queued, rss in samples]
            for name, samples in outcome.samples.items()
        },
        "examples": outcome.examples,
        "errors": outcome.errors,
    }


def is_crowded(summary: Mapping[str, Any]) -> bool:
    """Whether so much else ran on the machine while the traffic lasted that times say nothing of the relay."""
    return bool(summary["foreign_cores"] > CROWDED_SHARE * summary["machine"]["cores"])


def doubts(summary: Mapping[str, Any]) -> list[str]:
    """Why the times may say more of the load test, or of the machine, than of the relay; a sentence each."""
    found = []
    if is_crowded(summary):
        cores, foreign = summary["machine"]["cores"], summary["foreign_cores"]
        found.append(
            f"something else used {foreign:.1f} of the {cores} cores: limits of times were not held against it"
        )
    for name, use in summary["processes"].items():
        if name != RELAY and use["traffic_cores"] > SATURATED_CORES:
            found.append(f"{name} is saturated ({use['traffic_cores']:.0%} of a core): times include its own queue")
        if use["traffic_queued"] > CROWDED_QUEUED:
            found.append(
                f"{name} was ready to run and had no core for {use['traffic_queued']:.0%} of the time: "
                "the machine is too busy, or too small"
            )
    return found


def _arrival(outcome: Outcome) -> dict[str, float]:
    """How soon everybody was in, at the beginning."""
    took_s = max(0.0, outcome.all_in_at - outcome.instants.get("begin", outcome.all_in_at))
    return {
        "users": outcome.users,
        "seconds": round(took_s, 3),
        "per_s": round(outcome.users / took_s, 1) if took_s else 0.0,
    }


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


def _during_traffic(series: Sequence[tuple[float, float]], instants: Mapping[str, float]) -> float:
    from_at, until_at = instants.get("traffic", 0.0), instants.get("until", float("inf"))
    values = [value for at, value in series if from_at < at <= until_at + 1]
    return round(sum(values) / len(values), 3) if values else 0.0


def _process(samples: Sequence[tuple[float, float, float, int]], instants: Mapping[str, float]) -> dict[str, float]:
    from_at, until_at = instants.get("traffic", 0.0), instants.get("until", float("inf"))
    traffic = [sample for sample in samples if from_at < sample[0] <= until_at + 1]
    count = max(1, len(traffic))
    return {
        "traffic_cores": round(sum(cores for _, cores, _, _ in traffic) / count, 3),
        "traffic_queued": round(sum(queued for _, _, queued, _ in traffic) / count, 3),
        "peak_cores": round(max((cores for _, cores, _, _ in samples), default=0.0), 3),
        "peak_rss_mb": round(max((rss for _, _, _, rss in samples), default=0) / 1e6, 1),
    }
