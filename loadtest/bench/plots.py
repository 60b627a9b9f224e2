"""SVG plots of cost against what was varied: connections or payload. Drawn by matplotlib, an optional dependency."""

import importlib.util
import io
from collections.abc import Sequence
from typing import Any, NamedTuple

INSTALL = "pip install --editable '.[plots]'"

_COLOURS = {
    "relay": "#c2410c",
    "nats": "#2563eb",
    "redis": "#0891b2",
    "mosquitto": "#6d28d9",
    "amqtt": "#047857",
    "socketio": "#a16207",
}
# Text stays text, ids do not change between runs: a plot that is drawn again differs only where its figures do.
_STYLE = {"svg.fonttype": "none", "svg.hashsalt": "relay", "font.family": "sans-serif", "font.size": 9}
_METADATA = {"Date": None, "Creator": None}


class Series(NamedTuple):
    """One line of a plot: points (x, y) with the lowest and highest y of the rounds."""

    name: str
    points: list[tuple[float, float, float, float]]


def can_draw() -> bool:
    """Whether matplotlib is there."""
    return importlib.util.find_spec("matplotlib") is not None


def plot(summaries: Sequence[dict[str, Any]], title: str = "") -> str:
    """An SVG of CPU per message against payload size if that varies, else connections; both axes logarithmic."""
    sizes = {summary["payload_bytes"] for summary in summaries}
    x_name = "payload_bytes" if len(sizes) > 1 else "connections"
    lines = series(summaries, x_name)
    kinds = sorted({summary["work"].partition("-")[0] for summary in summaries})
    heading = title or f"{', '.join(kinds) or 'nothing'}: server CPU per message"
    return _draw(lines, heading, "payload, bytes" if x_name == "payload_bytes" else "connections")


def series(summaries: Sequence[dict[str, Any]], x_name: str) -> list[Series]:
    """The lines, one for each server, points in ascending order."""
    lines: dict[str, list[tuple[float, float, float, float]]] = {}
    for summary in summaries:
        cost = summary["cpu_us_per_message"]
        if cost:
            low, high = summary["cpu_us_per_message_min"], summary["cpu_us_per_message_max"]
            lines.setdefault(summary["server"], []).append((summary[x_name], cost, low, high))
    return [Series(name, sorted(points)) for name, points in lines.items()]


def _draw(lines: Sequence[Series], title: str, x_title: str) -> str:
    import matplotlib as mpl  # noqa: PLC0415 - optional, and slow to import
    from matplotlib.figure import Figure  # noqa: PLC0415

    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(8, 4.8), layout="constrained")
        axes = figure.subplots()
        axes.set_title(title, loc="left", fontweight="bold")
        axes.set_xlabel(x_title)
        axes.set_ylabel("CPU per message, us")
        if lines:
            _draw_lines(axes, lines)
        else:
            axes.text(0.5, 0.5, "nothing was measured", ha="center", transform=axes.transAxes)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata=_METADATA)
    return out.getvalue()


def _draw_lines(axes: Any, lines: Sequence[Series]) -> None:
    for line in lines:
        places, costs, lows, highs = zip(*line.points, strict=True)
        below = [cost - low for cost, low in zip(costs, lows, strict=True)]
        above = [high - cost for cost, high in zip(costs, highs, strict=True)]
        axes.errorbar(
            places,
            costs,
            yerr=(below, above),
            label=line.name,
            color=_COLOURS.get(line.name),
            marker="o",
            markersize=4,
            capsize=2,
            gid=f"server-{line.name}",
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    places = sorted({x for line in lines for x, *_ in line.points})
    axes.set_xticks(places, [f"{place:,.0f}" for place in places])
    axes.minorticks_off()
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.grid(visible=True, alpha=0.3)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
