"""SVG plots of cost against what was varied: connections or payload. Small, without a library, readable as text."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

_COLOURS = {"relay": "#c2410c", "nats": "#2563eb", "redis": "#dc2626", "mosquitto": "#6d28d9"}
_OTHER_COLOURS = ("#047857", "#a16207", "#be185d", "#475569")

_WIDTH, _HEIGHT = 720, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 110, 40, 50
_FONT = 'font-family="system-ui, sans-serif" font-size="12"'


class Series(NamedTuple):
    """One line of a plot: points (x, y) with the lowest and highest y of the rounds."""

    name: str
    points: list[tuple[float, float, float, float]]


def plot(summaries: Sequence[dict[str, Any]], title: str = "") -> str:
    """An SVG of CPU per message against payload size if that varies, else connections; both axes logarithmic."""
    sizes = {summary["payload_bytes"] for summary in summaries}
    x_name = "payload_bytes" if len(sizes) > 1 else "connections"
    lines = series(summaries, x_name)
    if not lines:
        return _draw([Series("nothing was measured", [(1.0, 1.0, 1.0, 1.0)])], title, "")
    kinds = sorted({summary["work"].partition("-")[0] for summary in summaries})
    heading = title or f"{', '.join(kinds)}: server CPU per message"
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


class _Axis(NamedTuple):
    """A logarithmic axis from `low` to `high`, drawn from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float

    def place(self, value: float) -> float:
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        """1, 2 and 5 times powers of ten; powers of ten alone if those are many."""
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        steps = (1, 2, 5) if self.high / self.low < 200 else (1,)
        values = [step * 10.0**power for power in powers for step in steps]
        return [value for value in values if self.low * 0.999 <= value <= self.high * 1.001]


def _axis(values: Sequence[float], start: float, end: float, margin: float) -> _Axis:
    low, high = min(values) / margin, max(values) * margin
    return _Axis(low, high if high > low else low * 2, start, end)


def _draw(lines: Sequence[Series], title: str, x_title: str) -> str:
    points = [point for line in lines for point in line.points]
    across = _axis([x for x, *_ in points], _LEFT, _WIDTH - _RIGHT, 1.0)
    up = _axis([y for _, *ys in points for y in ys], _HEIGHT - _BOTTOM, _TOP, 1.15)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" {_FONT}>',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        _text(_LEFT, 22, title, 'font-size="15" font-weight="600"'),
        _text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 12, x_title, 'text-anchor="middle"'),
        _text(_LEFT - 8, _TOP - 4, "us", 'text-anchor="end"'),
    ]
    for value in sorted({x for x, *_ in points}):
        x = across.place(value)
        parts.append(_line(x, _TOP, x, _HEIGHT - _BOTTOM))
        parts.append(_text(x, _HEIGHT - _BOTTOM + 18, f"{value:,.0f}", 'text-anchor="middle"'))
    for value in up.ticks():
        y = up.place(value)
        parts.append(_line(_LEFT, y, _WIDTH - _RIGHT, y))
        parts.append(_text(_LEFT - 8, y + 4, f"{value:g}", 'text-anchor="end"'))
    parts += _labels(lines, up)
    for number, line in enumerate(lines):
        parts += _draw_line(line, _colour(line.name, number), across, up)
    return "\n".join([*parts, "</svg>\n"])


def _draw_line(line: Series, colour: str, across: _Axis, up: _Axis) -> list[str]:
    path = " ".join(f"{across.place(x):.1f},{up.place(y):.1f}" for x, y, _, _ in line.points)
    parts = [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>']
    for x, y, low, high in line.points:
        place = across.place(x)
        parts.append(_line(place, up.place(low), place, up.place(high), colour))
        parts.append(f'<circle cx="{place:.1f}" cy="{up.place(y):.1f}" r="3" fill="{colour}"/>')
    return parts


def _labels(lines: Sequence[Series], up: _Axis) -> list[str]:
    """Each line's name at its right end, pushed down where two would overlap."""
    parts, below = [], 0.0
    numbered = sorted(enumerate(lines), key=lambda pair: up.place(pair[1].points[-1][1]))
    for number, line in numbered:
        y = max(up.place(line.points[-1][1]) + 4, below)
        below = y + 15
        parts.append(
            _text(_WIDTH - _RIGHT + 10, y, line.name, f'fill="{_colour(line.name, number)}" font-weight="600"')
        )
    return parts


def _colour(name: str, number: int) -> str:
    return _COLOURS.get(name, _OTHER_COLOURS[number % len(_OTHER_COLOURS)])


def _line(x1: float, y1: float, x2: float, y2: float, colour: str = "#e5e7eb") -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'


def _text(x: float, y: float, text: str, attributes: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {attributes}>{text}</text>'
