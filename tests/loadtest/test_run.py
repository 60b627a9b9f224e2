"""The command itself: what it does when a run cannot be carried through, and what it leaves behind."""

import json
import os
import signal
import subprocess
import sys
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


@pytest.mark.parametrize(
    ("number", "moment"),
    [
        (signal.SIGINT, "locust: one master"),
        (signal.SIGINT, "traffic for 600 s"),
        (signal.SIGTERM, "traffic for 600 s"),
    ],
)
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
        (["--web", "2"], "--web is"),
    ],
)
def test_a_wrong_command_line_starts_nothing(
    arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert reason in capsys.readouterr().err


def test_more_users_than_open_files_are_refused_with_a_sentence() -> None:
    program = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (500, 500)); "
        "from loadtest.run import main; sys.exit(main(['--users', '1000']))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "500 files" in done.stderr


def test_the_scenario_may_come_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SCENARIO", "chess")
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 2
    assert "SCENARIO=chess" in capsys.readouterr().err
