"""Whether a run went well. Everything that did not is a sentence; without sentences it passed."""

from collections.abc import Mapping
from typing import Any

from loadtest.books.tally import Tally, failures
from loadtest.report.summary import is_crowded


def judge(summary: Mapping[str, Any], any_latency: bool = False) -> list[str]:
    """What is wrong with a run. `any_latency`: times are shown and do not decide.

    Nor do they decide on a machine that is busy with something else: that is not the relay's fault. A machine that is
    too small for the run, or a load test that is saturated itself, is no excuse.
    """
    wrong = list(summary["errors"])
    wrong += failures(Tally(summary["counts"]), frozenset(summary["scenario"]["allowed"]))
    if not (any_latency or summary["errors"] or is_crowded(summary)):
        wrong += missed_limits(summary)
    if not wrong and not summary["counts"]["logins"]:
        wrong.append("nobody logged in")
    return wrong


def missed_limits(summary: Mapping[str, Any]) -> list[str]:
    """The limits of times that were missed, whether they decide or not."""
    missed = []
    for kind, limit_ms in summary["scenario"]["limits_ms"].items():
        p99_ms = summary["times"].get(kind, {}).get("p99_ms")
        if p99_ms is None:
            missed.append(f"there is no time of kind {kind!r} to hold against its limit")
        elif p99_ms > limit_ms:
            missed.append(f"{kind}: 1 in 100 took longer than {p99_ms:,.0f} ms; the limit is {limit_ms:,.0f} ms")
    return missed
