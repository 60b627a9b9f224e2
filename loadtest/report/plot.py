"""Line charts as SVG, drawn by hand: a report is one file without a library or a request to anywhere."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

WIDTH, HEIGHT = 640, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 14, 34, 58
_TICKS = 5
_LEGEND_ROW = 16


@dataclass(frozen=True)
class Line:
    """One curve: (x, y) ascending in x. A y of None interrupts it."""

    name: str
    points: Sequence[tuple[float, float | None]]
    dashed: bool = False


@dataclass(frozen=True)
class Chart:
    """Curves over one pair of axes. `marks` are instants worth a vertical line; `x_labels` replace numbers below."""

    title: str
    x_title: str
    y_title: str
    lines: Sequence[Line]
    log_y: bool = False
    marks: Sequence[tuple[float, str]] = ()
    x_labels: Sequence[tuple[float, str]] = field(default=())


class _Scale:
    """From values to pixels along one axis."""

    def __init__(self, low: float, high: float, pixels: tuple[float, float], log: bool = False) -> None:
        self._log = log
        if log:
            low, high = 10 ** math.floor(math.log10(low)), 10 ** math.ceil(math.log10(high))
        if high <= low:
            high = low * 10 if log else low + 1
        self.low, self.high = low, high
        self._pixels = pixels

    def __call__(self, value: float) -> float:
        if self._log:
            value = max(value, self.low)
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return round(self._pixels[0] + share * (self._pixels[1] - self._pixels[0]), 1)

    def ticks(self) -> list[float]:
        """Round values to label."""
        if self._log:
            first, last = round(math.log10(self.low)), round(math.log10(self.high))
            return [10.0**power for power in range(first, last + 1)]
        step = _round_step((self.high - self.low) / _TICKS)
        return [n * step for n in range(math.ceil(self.low / step), math.floor(self.high / step + 1e-9) + 1)]


def draw(chart: Chart) -> str:
    """The chart as an SVG element; colours are the classes c0, c1, ... of the page."""
    legend, extra = _legend(chart.lines)
    xs = [x for line in chart.lines for x, _ in line.points]
    ys = [y for line in chart.lines for _, y in line.points if y is not None and (y > 0 or not chart.log_y)]
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT + extra}" role="img" aria-label="{escape(chart.title)}">',
        _text(chart.title, _LEFT, 18, "title"),
    ]
    if not xs or not ys:
        return "".join([*parts, f'<text x="{_LEFT}" y="{HEIGHT / 2}">nothing to show</text></svg>'])
    across = _Scale(min(xs), max(xs), (_LEFT, WIDTH - _RIGHT))
    up = _Scale(
        min(ys) if chart.log_y else 0.0, max(ys) * (1 if chart.log_y else 1.05), (HEIGHT - _BOTTOM, _TOP), chart.log_y
    )
    parts += _grid(chart, across, up)
    parts += _marks(chart, across)
    for number, line in enumerate(chart.lines):
        parts += _curve(line, number, across, up)
    return "".join([*parts, *legend, "</svg>"])


def _grid(chart: Chart, across: _Scale, up: _Scale) -> list[str]:
    parts = []
    for value in up.ticks():
        y = up(value)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(_text(_number(value), _LEFT - 6, y + 4, "tick", "end"))
    labels = chart.x_labels or [(value, _number(value)) for value in across.ticks()]
    for value, text in labels:
        if across.low <= value <= across.high:
            parts.append(_text(text, across(value), HEIGHT - _BOTTOM + 16, "tick", "middle"))
    parts.append(_text(chart.x_title, (_LEFT + WIDTH - _RIGHT) / 2, HEIGHT - _BOTTOM + 32, "axis", "middle"))
    turned = f'<g transform="translate(14 {(HEIGHT - _BOTTOM + _TOP) / 2}) rotate(-90)">'
    parts.append(f"{turned}{_text(chart.y_title, 0, 0, 'axis', 'middle')}</g>")
    return parts


def _text(text: str, x: float, y: float, style: str, anchor: str = "start") -> str:
    return f'<text class="{style}" x="{x}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>'


def _marks(chart: Chart, across: _Scale) -> list[str]:
    parts = []
    for value, text in chart.marks:
        if across.low <= value <= across.high:
            x = across(value)
            parts.append(f'<line class="mark" x1="{x}" x2="{x}" y1="{_TOP}" y2="{HEIGHT - _BOTTOM}"/>')
            parts.append(_text(text, x + 3, _TOP + 10, "tick"))
    return parts


def _curve(line: Line, number: int, across: _Scale, up: _Scale) -> list[str]:
    pieces: list[list[str]] = [[]]
    for x, y in line.points:
        if y is None:
            pieces.append([])
        else:
            pieces[-1].append(f"{across(x)},{up(y)}")
    style = f"c{number}" + (" dashed" if line.dashed else "")
    return [
        f'<polyline class="{style}" points="{" ".join(piece)}"><title>{escape(line.name)}</title></polyline>'
        for piece in pieces
        if piece
    ]


def _legend(lines: Sequence[Line]) -> tuple[list[str], int]:
    """Names of the curves, and by how many pixels the drawing grows where they need more than one row."""
    parts, x, y = [], float(_LEFT), HEIGHT - 8
    for number, line in enumerate(lines):
        width = 34 + 6.2 * len(line.name)
        if x + width > WIDTH and x > _LEFT:
            x, y = float(_LEFT), y + _LEGEND_ROW
        style = f"c{number}" + (" dashed" if line.dashed else "")
        parts.append(f'<line class="{style}" x1="{x:.1f}" x2="{x + 16:.1f}" y1="{y - 4}" y2="{y - 4}"/>')
        parts.append(_text(line.name, round(x + 20, 1), y, "tick"))
        x += width
    return parts, y - (HEIGHT - 8)


def _round_step(step: float) -> float:
    """1, 2 or 5 times a power of ten, at least `step`."""
    power = 10.0 ** math.floor(math.log10(step)) if step > 0 else 1.0
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= step * (1 - 1e-9))


def _number(value: float) -> str:
    if abs(value) >= 10_000:
        return f"{value / 1000:,.0f}k"
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.4g}"
