"""The measurement of streams, in small: bytes flow, the chat is answered, and every figure is there."""

import shutil

import pytest

from loadtest.streams.rounds import (
    Conditions,
    Cores,
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
