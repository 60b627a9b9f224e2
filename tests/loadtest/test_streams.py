"""The measurement of streams, in small: bytes flow, the chat is answered, and every figure is there."""

import json
import shutil
from pathlib import Path

import pytest

from loadtest.streams.__main__ import Row, latency_rows, main
from loadtest.streams.chat import Latencies
from loadtest.streams.rounds import (
    Conditions,
    Cores,
    Notice,
    measure_memory,
    measure_notice,
    measure_relay,
    measure_socat,
    p99_ms,
)

SMALL = Conditions(0.3, 16, Cores((), (), (), ()))


@pytest.mark.parametrize(("pairs", "streams_each"), [(1, 1), (1, 3), (2, 1)])
def test_bytes_flow_through_the_relay(pairs: int, streams_each: int) -> None:
    flow = measure_relay(SMALL, pairs, streams_each)
    assert len(flow.rates) == pairs * streams_each and min(flow.rates) > 0
    assert flow.cpu_s_per_gib > 0


@pytest.mark.skipif(not shutil.which("socat"), reason="socat is not installed")
def test_bytes_flow_through_socat() -> None:
    flow = measure_socat(SMALL)
    assert flow.rate > 0 and flow.cpu_s_per_gib > 0


def test_others_talk_alone_and_beside_transfers() -> None:
    notice = measure_notice(SMALL, 1e6)
    assert notice.rate > 0
    for latencies in (*notice.alone, *notice.beside):
        assert latencies and p99_ms(latencies) > 0


@pytest.mark.parametrize("stalled", [False, True])
def test_memory_of_transfers(stalled: bool) -> None:
    assert measure_memory(SMALL, 3, stalled) < 8 * 2**20


def test_the_report_names_every_figure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "figures"
    main(["fair", "--rounds", "1", "--seconds", "0.2", "--json", str(file)])
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    out = capsys.readouterr().out
    assert len(rows) == 6 and all(row["name"] in out for row in rows)
    assert {row["goal"] for row in rows} == {None, 1.3}


def test_what_others_notice_is_compared_within_each_round() -> None:
    fast, slow = Latencies([0.001] * 100, [0.002]), Latencies([0.002] * 100, [0.002])
    rows = latency_rows("calls", "calls", [Notice(fast, slow, 1.0), Notice(slow, slow, 1.0), Notice(fast, slow, 1.0)])
    assert [(row.name, row.value, row.kept) for row in rows] == [
        ("calls, p50", 2.0, None),
        ("calls, p50 by that alone", 2.0, None),
        ("calls, p99", 2.0, None),
        ("calls, p99 by that alone", 2.0, False),
    ]


def test_a_goal_is_a_bound_above_or_below() -> None:
    assert Row("a", [1.0, 3.0, 2.0], goal=2.0).kept and "reached" in str(Row("a", [2.0], goal=2.0))
    assert not Row("a", [2.1], goal=2.0).kept and "MISSED" in str(Row("a", [2.1], goal=2.0))
    assert Row("a", [0.5], goal=0.5, low=True).kept and not Row("a", [0.4], goal=0.5, low=True).kept
    assert Row("a", [1.0]).kept is None


def test_a_part_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["speed"])
    assert "there is no part 'speed'" in capsys.readouterr().err
