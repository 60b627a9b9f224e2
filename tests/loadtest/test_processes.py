"""Processes of a run: watched, stopped by their own ids, and what they say when they end."""

import sys
from pathlib import Path

import pytest

from loadtest.processes import Child, Meter, ProcessError, Relay

DEADLINE_S = 20.0
SLEEP = "import time; print('ready', flush=True); time.sleep(60)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)"
)
BUSY = "print('ready', flush=True)\nwhile True: pass"


def start(tmp_path: Path, program: str) -> Child:
    """A Python program that has said that it is ready, or has ended."""
    child = Child("the program", [sys.executable, "-c", program], tmp_path / "log")
    while child.running and "ready" not in child.log.read_text():
        child.wait(0.01)
    return child


def test_a_process_ends_on_sigterm(tmp_path: Path) -> None:
    child = start(tmp_path, SLEEP)
    assert child.stop(DEADLINE_S) == -15
    assert not child.running


def test_a_process_that_does_not_listen_is_killed(tmp_path: Path) -> None:
    child = start(tmp_path, STUBBORN)
    assert child.stop(0.05) == -9


def test_a_process_that_failed_says_how(tmp_path: Path) -> None:
    child = start(tmp_path, "print('out of milk'); raise SystemExit(3)")
    assert child.wait(DEADLINE_S) == 3
    assert f"the program (process {child.pid}) ended with exit code 3" in child.how_it_ended()
    assert "out of milk" in child.how_it_ended()


def test_a_process_that_was_killed_says_by_what(tmp_path: Path) -> None:
    child = start(tmp_path, SLEEP)
    child.kill()
    assert "signal SIGKILL" in child.how_it_ended()


def test_the_meter_sees_what_a_process_uses_and_forgets_dead_ones(tmp_path: Path) -> None:
    child, meter = start(tmp_path, BUSY), Meter()
    meter.sample([child])
    assert meter.samples == {}
    while not meter.samples or meter.samples["the program"][-1].cores == 0:
        child.wait(0.05)
        meter.sample([child])
    child.kill()
    count = len(meter.samples["the program"])
    meter.sample([child])
    assert len(meter.samples["the program"]) == count
    assert all(
        sample.cores >= 0 and sample.queued >= 0 and sample.rss_bytes > 0 for sample in meter.samples["the program"]
    )


def test_the_meter_sees_what_is_not_ours(tmp_path: Path) -> None:
    stranger, child, meter = start(tmp_path, BUSY), start(tmp_path, SLEEP), Meter()
    meter.sample([child])
    while not meter.foreign or meter.foreign[-1][1] < 0.1:
        stranger.wait(0.05)
        meter.sample([child])
    stranger.kill()
    child.kill()


def test_a_relay_comes_back_on_its_port(tmp_path: Path) -> None:
    relay = Relay(tmp_path, ())
    port, pid = relay.port, relay.child.pid
    assert relay.child.stop(DEADLINE_S) == 0
    relay.start_again()
    assert (relay.port, relay.child.pid != pid) == (port, True)
    relay.child.kill()
    relay.start_again()
    assert relay.port == port
    assert relay.child.stop(DEADLINE_S) == 0


def test_a_relay_that_does_not_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(ProcessError, match=r"--outbox-max-bytes"):
        Relay(tmp_path, ("--outbox-max-bytes", "none"))
