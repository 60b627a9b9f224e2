"""The measurement of catching up, in small: everything arrives, and the live pair is heard all the time."""

import pytest

from loadtest.catch_up import backlog, main, measure
from relay.protocol.runs import payloads


@pytest.mark.parametrize("run_length", [1, 7])
def test_a_backlog_arrives_while_the_pair_talks(run_length: int) -> None:
    figures = measure(2_000, run_length, ())
    assert figures.messages_per_s > 0
    assert figures.cpu_us_per_message > 0
    assert len(figures.alone_s) > 100
    assert all(latency > 0 for latency in figures.alone_s + figures.beside_s)


def test_a_backlog_has_all_its_messages_in_any_runs() -> None:
    singles = [item.packet for item in backlog(50, 1)]
    assert [payload for item in backlog(50, 16) for payload in payloads(item.packet, item.total)] == singles


def test_the_report_names_every_figure(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--messages", "1000", "--rounds", "1", "--run-lengths", "4"]) == 0
    out = capsys.readouterr().out
    assert "1,000 messages behind, stored in runs of 4" in out
    assert "alone: p50" in out and "beside it: p50" in out
