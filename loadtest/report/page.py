"""A run as one HTML page: verdict, tables, charts, and how to read them. It asks nothing of any network."""

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from loadtest.books.tally import ACTIVITY, FAILURES
from loadtest.report.plot import Chart, Line, draw
from loadtest.report.summary import RELAY, doubts
from loadtest.report.table import KINDS, headline, ms
from loadtest.report.verdict import missed_limits

_STYLE = """
:root { color-scheme: light dark; --ink: #1d2433; --paper: #fff; --soft: #667; --line: #dde1e8;
  --bad: #b3261e; --good: #1b7f4b; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e8ee; --paper: #14171d; --soft: #9aa3b2; --line: #2c323d; --bad: #ff8a80; --good: #6fdc9f; }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 2rem auto;
  max-width: 1320px; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: 0; }
h2 { font-size: 1.1rem; margin-top: 2rem; }
p.sub { color: var(--soft); margin-top: .2rem; }
.good { color: var(--good); }
.bad { color: var(--bad); }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 520px), 1fr)); gap: 1rem;
  margin-top: 1.5rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .2rem .8rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
th { color: var(--soft); font-weight: 500; }
svg { width: 100%; height: auto; }
svg text { fill: var(--ink); font: 11px system-ui, sans-serif; }
svg .title { font-size: 13px; font-weight: 600; }
svg .tick, svg .axis { fill: var(--soft); }
svg line { stroke-width: 1.5; }
svg .grid { stroke: var(--line); stroke-width: 1; }
svg .mark { stroke: var(--bad); stroke-dasharray: 2 3; }
svg polyline { fill: none; stroke-width: 1.8; stroke-linejoin: round; }
svg .dashed { stroke-dasharray: 5 3; }
.c0 { stroke: #3b6fd4; } .c1 { stroke: #d9772b; } .c2 { stroke: #2a9d6a; } .c3 { stroke: #b0459c; }
.c4 { stroke: #8a8f2a; } .c5 { stroke: #2aa3b8; } .c6 { stroke: #cc4455; } .c7 { stroke: #7a6ad8; }
"""

_NOTES = """
<p>Every time is measured from the instant at which the user was meant to act, on a schedule that does not wait for the
relay. A stall therefore counts for everybody who would have acted meanwhile, and so does lateness of the load test
itself, which is shown as a line of its own. Times of slow readers, and of users who were away by their own choice, are
left out. Losses, duplicates and reorderings come from ledgers: every body names its sender, its number and its
instant; at the end all that was acknowledged is compared with all that was received.</p>
"""

# Curves of users: everything but the load test's own lateness.
_USERS = tuple(kind for kind in KINDS if kind != "generator")


def make_page(report: Mapping[str, Any]) -> str:
    """The page for a summary with `passed` and `wrong`."""
    scenario = report["scenario"]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Load test: {escape(headline(report))}</title><style>{_STYLE}</style></head><body>"
        f"<h1>{escape(headline(report))}</h1><p class=sub>{escape(scenario['summary'])}; {escape(_machine(report))}</p>"
        f"{_verdict(report)}<h2>Times, in milliseconds</h2>{_times(report)}"
        f'<div class="charts">{"".join(draw(chart) for chart in _charts(report))}</div>{_NOTES}'
        f"<h2>Counts</h2>{_counts(report)}<h2>Processes</h2>{_processes(report)}</body></html>\n"
    )


def _machine(report: Mapping[str, Any]) -> str:
    machine = report["machine"]
    return f"Python {machine['python']}, {machine['system']}, load average before the start {machine['load_before']}"


def _verdict(report: Mapping[str, Any]) -> str:
    if report["passed"]:
        text = '<p class="good"><strong>Passed.</strong> Nothing was lost, duplicated, reordered or failed.</p>'
        missed = missed_limits(report)
        text += f"<p>Times were not held against their limits:</p>{_list(missed)}" if missed else ""
    else:
        text = '<p class="bad"><strong>Failed.</strong></p>' + _list([*report["wrong"], *report["examples"]])
    found = doubts(report)
    return text + (f"<p><strong>Doubts about the times:</strong></p>{_list(found)}" if found else "")


def _list(sentences: Iterable[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences) + "</ul>"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    cells = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><tr>{cells}</tr>{body}</table></div>'


def _times(report: Mapping[str, Any]) -> str:
    limits = report["scenario"]["limits_ms"]
    rows = []
    for kind, title in KINDS.items():
        times = report["times"].get(kind)
        if times is not None:
            quantiles = [ms(times[name]) for name in ("p50_ms", "p90_ms", "p99_ms", "p999_ms", "max_ms")]
            limit = f"{limits[kind]:,.0f}" if kind in limits else ""
            rows.append([title, f"{times['count']:,}", f"{times['per_s']:,.0f}", *quantiles, limit])
    return _table(["", "count", "per s", "p50", "p90", "p99", "p99.9", "max", "p99 limit"], rows)


def _counts(report: Mapping[str, Any]) -> str:
    counts, allowed = report["counts"], report["scenario"]["allowed"]
    names = {name: (text, "") for name, text in ACTIVITY.items()}
    names |= {name: (text, "allowed here" if name in allowed else "none allowed") for name, text in FAILURES.items()}
    rows = [[text, f"{counts[name]:,}", note] for name, (text, note) in names.items()]
    return _table(["", "count", ""], rows)


def _processes(report: Mapping[str, Any]) -> str:
    rows = [
        [
            name,
            f"{use['traffic_cores']:.2f}",
            f"{use['peak_cores']:.2f}",
            f"{use['traffic_queued']:.0%}",
            f"{use['peak_rss_mb']:,.0f}",
        ]
        for name, use in report["processes"].items()
    ]
    return _table(["", "cores in the traffic", "peak", "ready, but no core", "peak MB"], rows)


def _charts(report: Mapping[str, Any]) -> list[Chart]:
    marks = [(at, what) for at, what in report["events"]]
    during, second = "seconds since the traffic began", "seconds since the traffic began (by intended instant)"
    shown = [kind for kind in KINDS if kind in report["by_second"]]
    users = [kind for kind in _USERS if kind in report["by_second"]]
    return [
        Chart("99 of 100 took at most", second, "ms", [_by_second(report, kind, 3) for kind in shown], True, marks),
        Chart("Half took at most", second, "ms", [_by_second(report, kind, 2) for kind in shown], True, marks),
        Chart(
            "Distribution over the whole run",
            "percentile",
            "ms",
            [_distribution(report, kind) for kind in shown],
            log_y=True,
            x_labels=[(0, "0"), (1, "90"), (2, "99"), (3, "99.9"), (4, "99.99"), (5, "99.999")],
        ),
        Chart(
            "Finished, by the second it was due",
            second,
            "per s",
            [_by_second(report, kind, 1) for kind in users],
            False,
            marks,
        ),
        Chart("CPU", during, "cores", _cores(report), False, marks),
        Chart("Memory", during, "MB", _memory(report), False, marks),
    ]


def _by_second(report: Mapping[str, Any], kind: str, column: int) -> Line:
    points: list[tuple[float, float | None]] = []
    for row in report["by_second"][kind]:
        if points and row[0] > points[-1][0] + 2:
            points.append((points[-1][0] + 1, None))
        points.append((row[0], row[column]))
    return Line(kind, points)


def _distribution(report: Mapping[str, Any], kind: str) -> Line:
    return Line(kind, [(-math.log10(1 - share), time_ms) for share, time_ms in report["distribution"][kind]])


def _cores(report: Mapping[str, Any]) -> list[Line]:
    lines = [
        Line(name, [(row[0], row[1]) for row in rows])
        for name, rows in report["processes_by_second"].items()
        if name != "locust master"
    ]
    waiting = [(row[0], row[2]) for row in report["processes_by_second"].get(RELAY, [])]
    return [*lines, Line("the relay, ready but no core", waiting, dashed=True)]


def _memory(report: Mapping[str, Any]) -> list[Line]:
    return [
        Line(name, [(row[0], row[3] / 1e6) for row in rows])
        for name, rows in report["processes_by_second"].items()
        if name != "locust master"
    ]
