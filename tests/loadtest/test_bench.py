"""The benchmark as a command, from its arguments to its files, against real servers."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from loadtest.bench.__main__ import main
from loadtest.bench.dialects import DIALECTS

ROOT = Path(__file__).parents[2]
SHORT = ["--rounds", "1", "--seconds", "0.4", "--warm-up", "0.05"]
STORMS = ("login-storm", "login-storm-tickets")
EVERY_WORK = [
    "pipe-2",
    "stored-fan-3",
    "spread-1",
    "pingpong-1",
    "pingpong-4",
    "fan-3",
    "paced-4",
    "stored-2",
    "call-3",
    "idle-5",
]
PEERS = [name for name in DIALECTS if name != "relay"]


def run(tmp_path: Path, *arguments: str) -> list[dict[str, object]]:
    """The figures of a run in which everything sent arrived."""
    file = tmp_path / "figures.jsonl"
    assert main([*arguments, *SHORT, "--json", str(file)]) == 0
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_every_work_on_this_relay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures = {figure["work"]: figure for figure in run(tmp_path, *EVERY_WORK, *STORMS)}
    paced = [f"paced-4@{percent}%" for percent in (25, 50, 75)]
    assert set(figures) == {*EVERY_WORK, *paced, *STORMS} - {"paced-4"}
    for name, figure in figures.items():
        assert figure["server"] == "relay"
        assert figure["lost"] == 0
        assert figure["rss_mb"] > 1
        if name == "idle-5":
            assert figure["kb_per_connection"] is not None
            continue
        assert figure["messages_per_s"] > 0
        assert figure["cpu_us_per_message"] >= figure["user_us_per_message"] >= 0
        assert 0 < figure["p50_ms"] <= figure["p99_ms"] <= figure["p999_ms"]
    assert figures["spread-1"]["connections"] == 11
    out = capsys.readouterr().out
    assert "CPU us/msg" in out
    assert all(name in out for name in figures)


@pytest.mark.parametrize("name", PEERS)
def test_every_work_on_a_peer(name: str, tmp_path: Path) -> None:
    dialect = DIALECTS[name]
    if dialect.version() is None:
        pytest.skip(f"{name} is not installed: {dialect.install}")
    works = ("spread-1", "stored-2", "call-3", "login-storm")
    figures = run(tmp_path, *works, "--servers", name)
    done = {figure["work"] for figure in figures}
    assert {"spread-1", "login-storm"} <= done
    assert ("stored-2" in done) == ("stored" in dialect.kinds)
    assert all(figure["lost"] == 0 for figure in figures)


def test_several_generators_share_the_connections(tmp_path: Path) -> None:
    figures = run(tmp_path, "pipe-4", "pingpong-4", "--generators", "2")
    assert [figure["connections"] for figure in figures] == [8, 4]


def test_a_sweep_draws_a_plot(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    svg = tmp_path / "plot.svg"
    figures = run(tmp_path, "pipe-1", "--payload", "16,65536", "--plot", str(svg))
    assert [figure["payload_bytes"] for figure in figures] == [16, 65536]
    assert "<svg" in svg.read_text()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["sing-1"], "there is no work 'sing-1'; there are pipe-N"),
        (["pipe-0"], "there is no work 'pipe-0'"),
        (["pipe"], "there is no work 'pipe'"),
        (["--servers", "relay,kafka"], "there is no server 'kafka'; there are relay"),
        (["--payload", "many"], "'many' is not a list of whole numbers"),
        (["--payload", "0"], "numbers start at 1"),
        (["pipe-1", "--plot", "x.svg"], "a plot shows one kind of work"),
        (["pipe-1", "fan-1", "--payload", "1,2", "--plot", "x.svg"], "a plot shows one kind of work"),
    ],
)
def test_wrong_arguments_are_explained(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert complaint in capsys.readouterr().err


def test_a_server_that_cannot_do_a_work_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    if DIALECTS["redis"].version() is None:
        pytest.skip("redis is not installed")
    assert main(["call-1", "--servers", "redis", *SHORT]) == 0
    assert "redis has nothing like call-1" in capsys.readouterr().out


def relays_of(parent: int) -> list[str]:
    found = subprocess.run(
        ["ps", "-o", "args", "--no-headers", "--ppid", str(parent)], capture_output=True, text=True, check=False
    )
    return [line for line in found.stdout.splitlines() if "relay serve" in line]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_stops_the_servers_and_shows_what_there_is(number: signal.Signals) -> None:
    command = [sys.executable, "-u", "-m", "loadtest.bench", "idle-2", "pipe-1", "--rounds", "1", "--seconds", "600"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as bench:
        os.set_blocking(bench.stderr.fileno(), False)
        while not any("--data" in line for line in relays_of(bench.pid)):
            assert bench.poll() is None
        relay = subprocess.run(
            ["ps", "-o", "pid", "--no-headers", "--ppid", str(bench.pid)], capture_output=True, text=True, check=True
        )
        children = [int(pid) for pid in relay.stdout.split()]
        bench.send_signal(number)
        out, _ = bench.communicate(timeout=60)
    assert bench.returncode == 130
    assert "stopped" in out
    assert not [pid for pid in children if Path(f"/proc/{pid}/cmdline").exists()]
