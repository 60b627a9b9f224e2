"""When what is due: one heap for all users of a process, so that a user costs no timer and no greenlet.

Everything has the time it was meant to happen at. That time is where latencies are measured from: when this process,
or the relay, is late, the wait is part of what a user would have felt.
"""

import heapq
import time
from collections.abc import Callable

import gevent

# Sleep at most this long, so that something added meanwhile is not late by more.
_NAP_S = 0.02

# What is overdue is done in batches, so that what arrives meanwhile is not left waiting.
BATCH_MAX = 100


class Schedule:
    """Calls `do(due_at)` for everything added, in the order of `due_at` (seconds of time.monotonic)."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Callable[[float], None]]] = []
        self._added = 0

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, due_at: float, do: Callable[[float], None]) -> None:
        """`do` must not yield. It may add again."""
        self._added += 1
        heapq.heappush(self._heap, (due_at, self._added, do))

    def clear(self) -> None:
        """Forget everything."""
        self._heap.clear()

    def run_due(self, now: float) -> float | None:
        """Do what is due, at most BATCH_MAX things; returns when the next thing is."""
        heap = self._heap
        for _ in range(BATCH_MAX):
            if not heap or heap[0][0] > now:
                break
            due_at, _, do = heapq.heappop(heap)
            do(due_at)
        return heap[0][0] if heap else None

    def run(self) -> None:
        """Run for ever; to be spawned."""
        while True:
            next_at = self.run_due(time.monotonic())
            wait_s = _NAP_S if next_at is None else min(_NAP_S, next_at - time.monotonic())
            gevent.sleep(max(0.0, wait_s))
