"""The progress of a transfer, on a terminal: how much, how fast, how long still.

It is drawn on stderr, on one line that the next thing said takes the place of. Where stderr is no terminal nothing is
drawn.
"""

import os
import shutil
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from relay.cli.display import escape_line, human_size

DRAW_EVERY_S = 0.1

# The rate is that of the latest seconds: it follows the line, and does not jump with every chunk.
RATE_OVER_S = 5.0

_CLEAR_REST = "\x1b[K"


class Progress:
    """Draws `progress(done, size)` of one file after the other. `clock`: time.monotonic, or a test's."""

    def __init__(self, put: Callable[[str], object], clock: Callable[[], float], width: Callable[[], int]) -> None:
        self._put = put
        self._clock = clock
        self._width = width
        self._name = ""
        self._seen: deque[tuple[float, int]] = deque()
        self._drawn_at = float("-inf")

    def start(self, name: str) -> None:
        """From now on it is about this file."""
        self._name = escape_line(name)
        self._seen.clear()
        self._drawn_at = float("-inf")

    def __call__(self, done: int, size: int | None) -> None:
        now = self._clock()
        self._seen.append((now, done))
        while len(self._seen) > 2 and now - self._seen[0][0] > RATE_OVER_S:
            self._seen.popleft()
        if now - self._drawn_at >= DRAW_EVERY_S:
            self._drawn_at = now
            line = progress_line(self._name, done, size, self._rate(), max(20, self._width() - 1))
            self._put(f"{line}{_CLEAR_REST}\r")

    def clear(self) -> None:
        """Leave the line to others."""
        self._put(_CLEAR_REST)

    def _rate(self) -> float:
        (began_at, first), (now, last) = self._seen[0], self._seen[-1]
        return (last - first) / (now - began_at) if now > began_at else 0.0


def progress_line(name: str, done: int, size: int | None, rate: float, width: int) -> str:
    """At most `width` characters. `rate`: bytes a second, 0 if it is not known yet."""
    speed = f"{human_size(rate)}/s" if rate else ""
    if size is None:
        return f"{name[: width // 2]}  {human_size(done)}  {speed}"[:width]
    share = done / size if size else 1.0
    left = f"{_clock_text((size - done) / rate)} left" if rate else ""
    figures = f" {share:4.0%}  {human_size(done)} of {human_size(size)}  {speed:>10}  {left:12}"
    name = name[: max(8, width - len(figures) - 14)]
    room = width - len(name) - len(figures) - 3
    bar = f" [{('#' * round(share * room)).ljust(room, '.')}]" if room >= 4 else ""
    return f"{name}{bar}{figures}"[:width]


def _clock_text(duration_s: float) -> str:
    minutes, seconds = divmod(round(duration_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


@contextmanager
def shown_progress() -> Iterator[Progress | None]:
    """A progress to be drawn; None where nobody would see it."""
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield None
        return

    def put(text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()

    progress = Progress(put, time.monotonic, lambda: shutil.get_terminal_size().columns)
    try:
        yield progress
    finally:
        progress.clear()
