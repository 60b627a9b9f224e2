"""The command itself: what it does when a run cannot be carried through, and what it leaves behind."""

import json
import os
import signal
from pathlib import Path

import psutil
import pytest

from loadtest.run import main
from tests.loadtest.running import LoadTest

LONG = ("--users", "20", "--seconds", "600")


def nothing_left(test: LoadTest) -> bool:
    return not any(psutil.pid_exists(pid) for pid in test.pids())


def test_a_relay_that_dies_fails_the_run_with_a_sentence(tmp_path: Path) -> None:
    test = LoadTest(tmp_path, *LONG)
    test.wait_for("traffic for 600 s")
    os.kill(test.relay_pid(), signal.SIGKILL)
    assert test.wait() == 3
    assert "the relay died" in test.output()
    assert "signal SIGKILL" in test.output()
    assert "Traceback" not in test.output()
    assert nothing_left(test)
    [file] = (tmp_path / "results").glob("*.json")
    assert json.loads(file.read_text())["passed"] is False


def test_a_worker_that_dies_fails_the_run_with_a_sentence(tmp_path: Path) -> None:
    test = LoadTest(tmp_path, *LONG)
    test.wait_for("traffic for 600 s")
    os.kill(test.pids()[-1], signal.SIGKILL)
    assert test.wait() == 3
    assert "the load test itself died: locust worker 1" in test.output()
    assert nothing_left(test)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["locust: one master", "traffic for 600 s"])
def test_an_interrupted_run_leaves_nothing_behind(tmp_path: Path, number: signal.Signals, moment: str) -> None:
    test = LoadTest(tmp_path, *LONG)
    test.wait_for(moment)
    test.process.send_signal(number)
    assert test.wait() == 130
    assert "Traceback" not in test.output()
    assert nothing_left(test)
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--users", "0"], "0 is not from 1 to"),
        (["--seconds", "many"], "invalid"),
        (["--scenario", "chess"], "chat"),
        (["--pace", "-1"], "--pace is"),
    ],
)
def test_a_wrong_command_line_starts_nothing(
    arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert reason in capsys.readouterr().err


def test_the_scenario_may_come_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SCENARIO", "chess")
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 2
    assert "SCENARIO=chess" in capsys.readouterr().err
