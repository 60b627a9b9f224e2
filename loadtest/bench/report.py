"""Figures for people and for programs: medians over the rounds with their spread, and ratios to this relay."""

import json
import statistics
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from loadtest.bench.runner import Figure

OURS = "relay"

_MEASURED = (
    "messages_per_s",
    "cpu_us_per_message",
    "user_us_per_message",
    "p50_ms",
    "p99_ms",
    "p999_ms",
    "rss_mb",
    "kb_per_connection",
    "server_cpu_percent",
    "generator_cpu_percent",
    "lag_p99_ms",
    "capacity_per_s",
)
# Below this share of one core per generator process the server, not the generator, sets the pace.
BUSY_PERCENT = 95.0


class Place(NamedTuple):
    """What is compared: servers within one of these."""

    work: str
    payload_bytes: int


def summarise(figures: Sequence[Figure]) -> list[dict[str, Any]]:
    """One object for each work, payload and server, in the order measured: medians, `*_min`, `*_max` of what was
    measured, and `relay_ratio`: this relay's CPU per message (memory per connection for idle works) divided by this
    server's, the median of the rounds' ratios.
    """
    groups: dict[tuple[Place, str], list[Figure]] = {}
    for figure in figures:
        groups.setdefault((Place(figure.work, figure.payload_bytes), figure.server), []).append(figure)
    return [_summary(place, rounds, groups.get((place, OURS), [])) for (place, _), rounds in groups.items()]


def _summary(place: Place, rounds: Sequence[Figure], ours: Sequence[Figure]) -> dict[str, Any]:
    first = rounds[0]
    summary: dict[str, Any] = {
        "work": place.work,
        "server": first.server,
        "connections": first.connections,
        "payload_bytes": place.payload_bytes,
    }
    spread: dict[str, Any] = {}
    for name in _MEASURED:
        values = [value for figure in rounds if (value := getattr(figure, name)) is not None]
        summary[name] = _short(statistics.median(values)) if values else None
        if values:
            spread[f"{name}_min"], spread[f"{name}_max"] = _short(min(values)), _short(max(values))
    by_round = {figure.round: _cost(figure) for figure in ours}
    ratios = [
        our_cost / cost
        for figure in rounds
        if (our_cost := by_round.get(figure.round)) and (cost := _cost(figure)) and figure.server != OURS
    ]
    summary["relay_ratio"] = _short(statistics.median(ratios)) if ratios else None
    summary |= {"rounds": len(rounds), "lost": sum(figure.lost for figure in rounds), "version": first.version}
    notes = sorted({note for figure in rounds for note in figure.notes})
    return summary | spread | {"notes": notes}


def _cost(figure: Figure) -> float | None:
    return figure.cpu_us_per_message if figure.kb_per_connection is None else figure.kb_per_connection


def _short(value: float) -> float:
    return float(f"{value:.4g}")


_COLUMNS = (
    ("work", "work"),
    ("server", "server"),
    ("connections", "conns"),
    ("payload_bytes", "bytes"),
    ("messages_per_s", "msg/s"),
    ("cpu_us_per_message", "CPU us/msg"),
    ("spread", "min-max"),
    ("user_us_per_message", "user us"),
    ("p50_ms", "p50 ms"),
    ("p99_ms", "p99 ms"),
    ("p999_ms", "p99.9 ms"),
    ("rss_mb", "RSS MB"),
    ("kb_per_connection", "KB/conn"),
    ("relay_ratio", "relay/it"),
    ("lag_p99_ms", "gen late p99 ms"),
    ("generator_cpu_percent", "gen CPU %"),
)


def table(summaries: Iterable[dict[str, Any]], markdown: bool = False) -> str:
    """A table for people. What has no value in any row is left out."""
    rows = [[_cell(summary, key) for key, _ in _COLUMNS] for summary in summaries]
    used = [place for place in range(len(_COLUMNS)) if any(row[place] for row in rows)]
    titles = [_COLUMNS[place][1] for place in used]
    lines = [titles, *([row[place] for place in used] for row in rows)]
    if markdown:
        lines.insert(1, ["---"] * 2 + ["---:"] * (len(used) - 2))
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)
    widths = [max(len(line[column]) for line in lines) for column in range(len(used))]
    texts = ("  ".join(_align(text, widths[n], n) for n, text in enumerate(line)) for line in lines)
    return "\n".join(text.rstrip() for text in texts)


def _align(text: str, width: int, column: int) -> str:
    return text.ljust(width) if column < 2 else text.rjust(width)


def _cell(summary: dict[str, Any], key: str) -> str:
    if key == "spread":
        name = "kb_per_connection" if summary.get("kb_per_connection") is not None else "cpu_us_per_message"
        low, high = summary.get(f"{name}_min"), summary.get(f"{name}_max")
        return "" if low is None or high is None or summary["rounds"] < 2 else f"{_number(low)}-{_number(high)}"
    value = summary.get(key)
    if value is None:
        return ""
    return value if isinstance(value, str) else _number(value)


def _number(value: float) -> str:
    """Three significant digits are what such figures can carry."""
    if isinstance(value, int) or value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def warnings(summaries: Iterable[dict[str, Any]], generators: int) -> list[str]:
    """What a reader of the table has to know."""
    lines = []
    for summary in summaries:
        where = f"{summary['work']} on {summary['server']}"
        lines += [f"{where}: {note}" for note in summary["notes"]]
        busy, server = summary["generator_cpu_percent"], summary["server_cpu_percent"] or 0.0
        if busy and busy > BUSY_PERCENT * generators and server < BUSY_PERCENT and not summary["lag_p99_ms"]:
            lines.append(
                f"{where}: the generator was the bottleneck ({busy:.0f} % of a core, the server {server:.0f} %); "
                "CPU per message holds, messages per second are a lower bound"
            )
        if (summary["lag_p99_ms"] or 0.0) > 1.0:
            lines.append(f"{where}: the generator was late itself ({summary['lag_p99_ms']:.1f} ms at p99)")
    return lines


def json_lines(summaries: Iterable[dict[str, Any]]) -> str:
    """One JSON object a line."""
    return "".join(json.dumps(summary) + "\n" for summary in summaries)
