"""The torture of the browser SDK, in short; the long one is a program."""

from pathlib import Path

from tests.web.node import needs_node
from tests.web.torture import Run, Tally, tally


def test_what_is_counted() -> None:
    assert tally([0, 1, 2], 3) == Tally(3, 3, 0, 0, 0)
    assert tally([0, 2, 1, 1], 4) == Tally(4, 4, lost=1, doubled=1, reordered=1)
    assert not tally([0, 1], 3).clean
    assert not tally([0, 1, 1], 2).clean


@needs_node
def test_nothing_is_lost_doubled_or_reordered(tmp_path: Path) -> None:
    there, back = Run(tmp_path, 1500, cuts=10, kills=1, reloads=1, seed=7).run()
    assert there == Tally(1500, 1500, 0, 0, 0)
    assert back == Tally(375, 375, 0, 0, 0)
