"""docs/benchmarks.md and docs/load-test.md name what there is to run."""

from pathlib import Path

import pytest

from loadtest.bench.works import EXPLAINED
from loadtest.scenarios import scenario_names

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("work", EXPLAINED)
def test_every_work_is_explained(work: str) -> None:
    assert f"| `{work}` |" in (DOCS / "benchmarks.md").read_text()


@pytest.mark.parametrize("name", scenario_names())
def test_every_scenario_is_explained(name: str) -> None:
    assert f"| `{name}`" in (DOCS / "load-test.md").read_text()
