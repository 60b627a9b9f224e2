"""A small run of every scenario through the same entry point as a large one: locust, its workers, a relay, a report.

What is asserted are counts; how long anything took says more of the machine.
"""

import json
from pathlib import Path
from typing import Any

import psutil
import pytest

from loadtest.scenarios import scenario_names
from tests.loadtest.running import LoadTest


def finished(tmp_path: Path, *arguments: str) -> dict[str, Any]:
    """A run that has to pass: its report."""
    test = LoadTest(tmp_path, "--any-latency", *arguments)
    code = test.wait()
    assert code == 0, test.output()
    [file] = (tmp_path / "results").glob("*.json")
    report: dict[str, Any] = json.loads(file.read_text())
    assert report["passed"]
    assert file.with_suffix(".html").stat().st_size > 10_000
    assert not any(psutil.pid_exists(pid) for pid in test.pids()), "something still runs"
    return report


def test_twenty_users_chat_for_five_seconds(tmp_path: Path) -> None:
    report = finished(tmp_path, "--users", "20", "--seconds", "5", "--workers", "2", "--pace", "10", "--web", "0.5")
    counts = report["counts"]
    assert counts["logins"] == 20
    assert counts["messages_sent"] == counts["messages_stored"] == counts["messages_received"] > 100
    assert counts["signals_sent"] == counts["signals_received"] > 50
    assert counts["calls_made"] == counts["calls_answered"] == counts["calls_served"] > 10
    doings = counts["messages_sent"] + counts["signals_sent"] + counts["calls_made"]
    assert doings == report["times"]["generator"]["count"]
    assert report["times"]["delivered"]["count"] == counts["messages_received"]
    assert report["machine"]["workers"] == 2
    assert set(report["processes"]) == {"the relay", "locust master", "locust worker 0", "locust worker 1"}


@pytest.mark.parametrize("scenario", [name for name in scenario_names() if name != "chat"])
def test_every_scenario_runs_on_a_small_scale(tmp_path: Path, scenario: str) -> None:
    report = finished(tmp_path, "--users", "30", "--seconds", "4", "--scenario", scenario)
    counts = report["counts"]
    assert report["scenario"]["name"] == scenario
    assert counts["messages_received"] == counts["messages_expected"] >= counts["messages_stored"] > 0
    assert [what for _, what in report["events"] if what != "back"] == [
        text.split()[0] for text in report["scenario"]["disturbances"]
    ]


def test_users_are_shared_out_evenly(tmp_path: Path) -> None:
    report = finished(tmp_path, "--users", "7", "--seconds", "4", "--workers", "3")
    assert report["users"] == report["counts"]["logins"] == 9
