"""The benchmark of files runs, in small, and says what it found."""

from pathlib import Path

import pytest

from loadtest import files_bench
from loadtest.files_bench import Round, Way


def test_it_runs_in_small(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--mib", "3", "--rounds", "1", "--transfers", "1", "--directory", str(tmp_path)]
    files_bench.main(arguments)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:5]] == ["`cp`", "to the relay's disk", "and back"]
    assert "MiB an upload" in lines[5]
    assert list(tmp_path.iterdir()) == []


def test_the_table_has_medians_beside_those_of_cp() -> None:
    rounds = [Round(Way(s, s / 2), Way(2 * s, s), Way(s, s / 4)) for s in (1.0, 2.0, 30.0)]
    table = files_bench.report(1000, rounds)
    assert "| `cp` | 524 | 1.00 | 0.95 | 1.0 |" in table
    assert "| to the relay's disk | 262 | 0.50 | 1.91 | 2.0 |" in table
    assert "| and back | 524 | 1.00 | 0.48 | 0.5 |" in table
