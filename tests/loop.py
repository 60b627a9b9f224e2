"""Test tool: let gevent's event loop turn until something has happened, with a deadline that only a hang reaches."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import gevent

DEADLINE_S = 20.0


class Hang(BaseException):
    """What the test waits for does not happen. Not an Exception: no code under test may swallow it."""


@contextmanager
def deadline(what: str = "the test") -> Iterator[None]:
    with gevent.Timeout(DEADLINE_S, Hang(f"{what} did not come to its end in {DEADLINE_S:g} s")):
        yield


def until(condition: Callable[[], object], what: str = "the condition") -> None:
    """Turn the loop until the condition holds."""
    with deadline(what):
        while not condition():
            gevent.sleep(0.001)


def turn(times: int = 3) -> None:
    """Let the loop turn a few times: everything that is ready to happen happens."""
    for _ in range(times):
        gevent.sleep(0)
        gevent.idle()
