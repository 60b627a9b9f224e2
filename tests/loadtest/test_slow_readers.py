"""Readers who stop reading: a short run against the real relay. Nothing is lost, and its memory is bounded."""

import json
import subprocess
import sys
from array import array
from pathlib import Path

import pytest

from loadtest.slow_readers import MIB, Device, Options, Stage, percentile
from relay.protocol.packets import Delivery

ROOT = Path(__file__).parents[2]
DEADLINE_S = 240.0
SLOW = 15


def test_slow_readers_hold_no_memory_and_lose_nothing(tmp_path: Path) -> None:
    words = f"--readers 40 --slow {SLOW} --rooms 2 --rate 40 --body-bytes 16384 --rounds 1 --baseline-s 1 --stalled-s 8"
    command = (sys.executable, "-m", "loadtest.slow_readers", *words.split(), "--directory", str(tmp_path))
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.stdout, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert {kind: result[kind] for kind in ("lost", "duplicated", "corrupted", "failed")} == {
        "lost": 0,
        "duplicated": 0,
        "corrupted": 0,
        "failed": 0,
    }, done.stderr
    assert done.returncode == 0
    (one,) = result["rounds"]
    assert one["unread_bytes_per_slow"] > 4 * MIB, (
        "more than the kernel and the outbox hold: they were read from the log"
    )
    assert result["relay_bytes_per_slow"] <= MIB
    assert result["delivered_to_each_slow"] == result["acknowledged"] > 0
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(Options(2, 1, 1, 1.0, 100, 1, 1.0, 1.0, 1.0), tmp_path)


def deliver(device: Device, *offsets: int, body: bytes = bytes(100)) -> None:
    for offset in offsets:
        device._handle_delivery(Delivery("#room0", offset, 0, b"header" + body), 0)


def test_what_does_not_come_in_order_is_counted(stage: Stage) -> None:
    device = Device(stage, 0, "reader", slow=True)
    deliver(device, 1, 2, 3)
    assert not stage.counts
    deliver(device, 5)
    assert stage.counts == {"lost": 1}
    deliver(device, 5)
    assert stage.counts == {"lost": 1, "duplicated": 1}
    assert "5 came instead of 4" in stage.examples[0]


def test_a_body_that_is_not_as_it_was_is_counted(stage: Stage) -> None:
    deliver(Device(stage, 0, "reader", slow=True), 1, body=bytes(50) + b"x" + bytes(49))
    assert stage.counts == {"corrupted": 1}


def test_only_what_takes_the_others_long_is_recorded(stage: Stage) -> None:
    for slow in (True, False):
        deliver(Device(stage, 0, "reader", slow=slow), 1)
    assert len(stage._latencies_us) == 1


def test_percentiles() -> None:
    values = array("Q", range(1000, 101_000, 1000))
    assert percentile(values, 0.5) == 51.0
    assert percentile(values, 0.99) == 100.0
    assert percentile(array("Q"), 0.99) == 0.0
