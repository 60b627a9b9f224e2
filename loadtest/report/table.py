"""A run as a short table for the terminal."""

from collections.abc import Mapping
from typing import Any

from loadtest.report.summary import doubts
from loadtest.report.verdict import missed_limits

# Kinds of time in the order in which they are shown, and what they measure.
KINDS = {
    "login": "login, from when the user wanted in",
    "stored": "message to acknowledgement",
    "delivered": "message to its receiver",
    "signal": "signal to its receiver",
    "call": "call to answer",
    "generator": "lateness of the load test itself",
}


def ms(value: float | None) -> str:
    """A time for people."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def show(summary: Mapping[str, Any], wrong: list[str]) -> str:
    """The whole table, the verdict last."""
    lines = [headline(summary), "", *_times(summary), "", *_counts(summary), "", *_processes(summary)]
    lines += [f"! {sentence}" for sentence in doubts(summary)]
    missed = [f"  {sentence}" for sentence in missed_limits(summary) if sentence not in wrong]
    if wrong:
        lines += [
            "",
            "FAILED",
            *(f"  {sentence}" for sentence in wrong),
            *(f"    {each}" for each in summary["examples"]),
        ]
    else:
        lines += ["", "PASSED, times aside" if missed else "PASSED", *missed]
    return "\n".join(lines)


def headline(summary: Mapping[str, Any]) -> str:
    """What was run, in one line."""
    machine = summary["machine"]
    return (
        f"{summary['scenario']['name']}: {summary['users']:,} users, {summary['seconds']:g} s of traffic, "
        f"{machine['cores']} cores, {machine['workers']} locust workers"
    )


def _times(summary: Mapping[str, Any]) -> list[str]:
    limits = summary["scenario"]["limits_ms"]
    lines = [
        f"{'milliseconds':<36}{'count':>10}{'per s':>9}{'p50':>9}{'p90':>9}{'p99':>9}{'p99.9':>9}{'max':>9}"
        f"{'p99 limit':>11}"
    ]
    for kind, title in KINDS.items():
        times = summary["times"].get(kind)
        if times is not None:
            cells = "".join(f"{ms(times[name]):>9}" for name in ("p50_ms", "p90_ms", "p99_ms", "p999_ms", "max_ms"))
            limit = f"{limits[kind]:,.0f}" if kind in limits else "-"
            lines.append(f"{title:<36}{times['count']:>10,}{times['per_s']:>9,.0f}{cells}{limit:>11}")
    return lines


def _counts(summary: Mapping[str, Any]) -> list[str]:
    counts = summary["counts"]
    lines = [
        "messages: {messages_sent:,} sent, {messages_stored:,} acknowledged, "
        "{messages_received:,} of {messages_expected:,} received; "
        "{messages_lost:,} lost, {messages_duplicated:,} duplicated, {messages_reordered:,} reordered",
        "signals:  {signals_sent:,} sent, {signals_received:,} of {signals_expected:,} received; "
        "{signals_lost:,} lost, {signals_duplicated:,} duplicated, {signals_reordered:,} reordered",
        "calls:    {calls_made:,} made, {calls_answered:,} answered; "
        "{calls_failed:,} failed, {calls_cut:,} cut off, {calls_unanswered:,} unanswered",
        "sessions: {logins:,} logins, {tickets_shown:,} tries by ticket, {logins_repeated:,} attempts repeated, "
        "{connections_lost:,} connections lost; "
        "at the beginning all were in after {seconds:.1f} s, {per_s:,.0f} a second",
    ]
    if counts["messages_redelivered"]:
        lines[0] += "; {messages_redelivered:,} offered again after a reconnect"
    if counts["signals_dropped"]:
        lines[1] += "; {signals_dropped:,} dropped for slow readers, who were told"
    return [line.format(**counts, **summary["arrival"]) for line in lines]


def _processes(summary: Mapping[str, Any]) -> list[str]:
    return [
        f"{name:<18} {use['traffic_cores']:.2f} cores in the traffic ({use['peak_cores']:.2f} at its peak), "
        f"no core for {use['traffic_queued']:.0%} of the time, {use['peak_rss_mb']:,.0f} MB"
        for name, use in summary["processes"].items()
    ]
