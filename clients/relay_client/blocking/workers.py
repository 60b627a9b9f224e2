"""Runs handlers in a few threads: jobs of one lane one after the other, different lanes side by side.

A conversation is a lane, so that its messages stay in order however slow their handler is. Threads are started when
they are needed, and are greenlets under gevent.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Hashable

log = logging.getLogger("relay_client")

Job = Callable[[], object]


class Workers:
    """At most `threads_max` jobs run at once; further ones wait, and lanes take turns."""

    def __init__(self, threads_max: int, name: str) -> None:
        if threads_max < 1:
            raise ValueError("handlers need at least one thread")
        self._threads_max = threads_max
        self._name = name
        self._changed = threading.Condition()
        self._lanes: dict[Hashable, deque[Job]] = {}
        self._ready: deque[Hashable] = deque()  # lanes with a job that may start
        self._threads = 0
        self._idle = 0
        self._closing = False

    def submit(self, lane: Hashable, job: Job) -> None:
        """Run the job after those submitted to the same lane before. Does not wait. Ignored while closing."""
        with self._changed:
            if self._closing:
                return
            jobs = self._lanes.get(lane)
            if jobs is not None:
                jobs.append(job)
                return
            self._lanes[lane] = deque([job])
            self._ready.append(lane)
            if self._idle < len(self._ready) and self._threads < self._threads_max:
                self._start_thread()
            self._changed.notify()

    def close(self, timeout_s: float) -> bool:
        """Start no further job, and wait for those that run. False if they are not finished in time."""
        with self._changed:
            self._closing = True
            self._ready.clear()
            self._lanes.clear()
            self._changed.notify_all()
            return self._changed.wait_for(lambda: self._threads == 0, timeout_s)

    def _start_thread(self) -> None:
        self._threads += 1
        threading.Thread(target=self._work, name=f"{self._name}-{self._threads}", daemon=True).start()

    def _work(self) -> None:
        with self._changed:
            while not self._closing:
                if not self._ready:
                    self._idle += 1
                    self._changed.wait()
                    self._idle -= 1
                    continue
                lane = self._ready.popleft()
                job = self._lanes[lane].popleft()
                self._changed.release()
                try:
                    job()
                except (Exception, SystemExit):
                    log.exception("a handler failed")
                finally:
                    self._changed.acquire()
                self._finish(lane)
            self._threads -= 1
            self._changed.notify_all()

    def _finish(self, lane: Hashable) -> None:
        jobs = self._lanes.get(lane)
        if jobs:
            self._ready.append(lane)
        elif jobs is not None:
            del self._lanes[lane]
