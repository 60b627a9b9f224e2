"""The line that shows how a transfer goes."""

import pytest

from relay.cli.progress import Progress, progress_line


def test_a_line_tells_share_amount_rate_and_rest() -> None:
    line = progress_line("report.pdf", 5_000_000, 10_000_000, 1_000_000, 100)
    assert line.startswith("report.pdf [####") and ".]" in line and len(line) <= 100
    for figure in ("50%", "5.0 MB of 10 MB", "1.0 MB/s", "0:05 left"):
        assert figure in line


@pytest.mark.parametrize("width", [20, 40, 60, 80, 200])
@pytest.mark.parametrize("size", [None, 0, 1, 10**13])
def test_a_line_fits(width: int, size: int | None) -> None:
    for done in (0, (size or 0) // 3, size or 10**12):
        for rate in (0, 1, 1e12):
            line = progress_line("a name that is quite long, longer than others.tar.gz", done, size, rate, width)
            assert len(line) <= width


def test_without_a_size_it_counts() -> None:
    line = progress_line("x", 3_000_000, None, 0, 80)
    assert "3.0 MB" in line and "%" not in line


def test_it_is_drawn_now_and_then_and_the_rate_is_that_of_the_latest_seconds() -> None:
    shown: list[str] = []
    now = 0.0
    progress = Progress(shown.append, lambda: now, lambda: 100)
    progress.start("a\x1bb")
    for step in range(1001):
        now = step / 100
        progress(step * (1_000 if step < 500 else 20_000), 20_000_000)
    assert 90 <= len(shown) <= 110
    assert "2.0 MB/s" in shown[-1] and "\\x1b" in shown[-1] and shown[-1].endswith("\x1b[K\r")
    progress.clear()
    assert shown[-1] == "\x1b[K"
