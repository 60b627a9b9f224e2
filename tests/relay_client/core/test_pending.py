"""A request is settled once."""

import pytest
from relay_client.core import Pending
from relay_client.errors import ClientClosed, TimedOut


def test_the_first_settlement_counts() -> None:
    times: list[int] = []
    pending: Pending[int] = Pending(7)
    pending.on_done = lambda: times.append(1)
    pending.settle(1)
    pending.settle(2)
    pending.fail(ClientClosed("closed"))
    assert pending.result() == 1 and pending.error is None and times == [1] and pending.id == 7


def test_a_failure_is_raised_each_time_without_gathering_tracebacks() -> None:
    pending: Pending[int] = Pending()
    pending.fail(TimedOut("late"))
    pending.settle(1)
    depths = []
    for _ in range(3):
        with pytest.raises(TimedOut) as caught:
            pending.result()
        depths.append(len(caught.traceback))
    assert len(set(depths)) == 1
