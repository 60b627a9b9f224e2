"""Jobs for the handlers of a program: what to run, and what to do with its outcome.

Both shells run them in lanes: jobs of one lane one after the other, different lanes side by side (blocking.workers in
threads, aio.lanes in tasks). A conversation is a lane, so that its messages stay in order however slow their handler.
"""

import logging
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple, Protocol

log = logging.getLogger("relay_client")


def _log_failure(error: Exception) -> None:
    log.error("a handler failed", exc_info=error)


class Job(NamedTuple):
    """`run` is the program's; its result goes to `done`, its exception to `failed`."""

    run: Callable[[], Any]
    done: Callable[[Any], None] = lambda outcome: None
    failed: Callable[[Exception], None] = _log_failure


class Submit(Protocol):
    """How a shell takes a job: without waiting, to be run behind those submitted to the same lane before."""

    def __call__(self, lane: Hashable, job: Job) -> None: ...
