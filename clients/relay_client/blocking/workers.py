"""Runs handlers in a few threads, which are started when they are needed, and are greenlets under gevent."""

import logging
import threading
from collections import deque
from collections.abc import Hashable

from relay_client.jobs import Job

log = logging.getLogger("relay_client")


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
        self._threads: set[threading.Thread] = set()
        self._idle = 0
        self._running = 0
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
            if self._idle < len(self._ready) and len(self._threads) < self._threads_max:
                self._start_thread()
            self._changed.notify()

    def close(self, timeout_s: float) -> None:
        """Start no further job, and wait for those that run, at most so long. A handler may close its own client."""
        own = threading.current_thread() in self._threads
        with self._changed:
            self._closing = True
            self._ready.clear()
            self._lanes.clear()
            self._changed.notify_all()
            if not self._changed.wait_for(lambda: self._running == own, timeout_s):
                log.warning("handlers were still running after %.1f s; they are left behind", timeout_s)

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._work, name=f"{self._name} {len(self._threads) + 1}", daemon=True)
        self._threads.add(thread)
        thread.start()

    def _work(self) -> None:
        with self._changed:
            try:
                while not self._closing:
                    self._work_once()
            finally:
                self._threads.discard(threading.current_thread())

    def _work_once(self) -> None:
        """Run one job, or wait for something to happen. The lock is held, but not while the job runs."""
        if not self._ready:
            self._idle += 1
            self._changed.wait()
            self._idle -= 1
            return
        lane = self._ready.popleft()
        job = self._lanes[lane].popleft()
        self._running += 1
        self._changed.release()
        try:
            _run(job)
        finally:
            self._changed.acquire()
            self._running -= 1
            self._finish(lane)

    def _finish(self, lane: Hashable) -> None:
        jobs = self._lanes.get(lane)
        if jobs:
            self._ready.append(lane)
        elif jobs is not None:
            del self._lanes[lane]
        if self._closing:
            self._changed.notify_all()


def _run(job: Job) -> None:
    try:
        outcome = job.run()
    except SystemExit as error:
        job.failed(RuntimeError(f"a handler called sys.exit({error.code!r}), which ends nothing; see Bot.stop"))
    except Exception as error:
        job.failed(error)
    else:
        job.done(outcome)
