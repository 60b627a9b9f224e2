"""How a transfer goes on after a cut, and when it is given up."""

from collections.abc import Callable
from typing import Any

import pytest
from relay_client.errors import ConnectionLost, FileFailed, NotConnected, RelayError, StreamReset, TimedOut
from relay_client.files import pace as module
from relay_client.files.effects import Pause, Work
from relay_client.files.pace import Pace

from relay.protocol.codes import ErrorCode


class Clock:
    """Time that passes only while somebody pauses."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def run(self, work: Work[Any]) -> Any:
        try:
            while True:
                effect = next(work)
                assert isinstance(effect, Pause)
                self.now += effect.duration_s
        except StopIteration as end:
            return end.value


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def failing(error: RelayError, times: int, before: Callable[[], None] = lambda: None) -> Callable[[], Work[str]]:
    """An attempt that fails so often, and then works."""
    left = times

    def attempt() -> Work[str]:
        nonlocal left
        before()
        yield from ()
        if left:
            left -= 1
            raise error
        return "done"

    return attempt


@pytest.mark.parametrize(
    "error",
    [
        ConnectionLost("cut"),
        NotConnected("away"),
        TimedOut("slow"),
        *(StreamReset(code, "later") for code in (ErrorCode.SESSION_GONE, ErrorCode.SHUTTING_DOWN, 399)),
    ],
    ids=repr,
)
def test_what_passes_is_tried_again(clock: Clock, error: RelayError) -> None:
    assert clock.run(Pace(60).persist(failing(error, 5))) == "done"
    assert clock.now > 0


@pytest.mark.parametrize(
    "error",
    [
        FileFailed("no room"),
        *(StreamReset(code, "no") for code in (ErrorCode.QUOTA_EXCEEDED, ErrorCode.WRONG_HASH, 1000)),
        StreamReset(ErrorCode.NO_SUCH_SESSION, "nobody there"),
    ],
    ids=repr,
)
def test_what_does_not_pass_is_raised_at_once(clock: Clock, error: RelayError) -> None:
    with pytest.raises(type(error)):
        clock.run(Pace(60).persist(failing(error, 1)))
    assert clock.now == 0


@pytest.mark.parametrize("code", [ErrorCode.NO_SUCH_SESSION, ErrorCode.NO_SUCH_SERVICE])
def test_somebody_who_was_there_is_waited_for(clock: Clock, code: int) -> None:
    pace = Pace(60)
    pace.moved(0)
    assert clock.run(pace.persist(failing(StreamReset(code, "away"), 3))) == "done"


def test_patience_ends_without_progress(clock: Clock) -> None:
    pace = Pace(60)
    with pytest.raises(ConnectionLost):
        clock.run(pace.persist(failing(ConnectionLost("cut"), 10_000, lambda: pace.moved(5))))
    assert 60 <= clock.now <= 60 + module.LONGEST_PAUSE_S


def test_with_progress_it_lasts(clock: Clock) -> None:
    pace, positions = Pace(5), iter(range(1000))
    assert clock.run(pace.persist(failing(ConnectionLost("cut"), 500, lambda: pace.moved(next(positions))))) == "done"
    assert Pace(None).passes(ConnectionLost("cut"))


def test_without_an_end_to_patience(clock: Clock) -> None:
    assert clock.run(Pace(None).persist(failing(ConnectionLost("cut"), 5000))) == "done"
