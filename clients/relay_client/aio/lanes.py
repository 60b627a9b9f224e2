"""Runs handlers as tasks. A handler may be a coroutine function or a plain one; a plain one holds up the event loop."""

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import Hashable

from relay_client.jobs import Job

log = logging.getLogger("relay_client")


class Lanes:
    """One task for each lane that has something to do."""

    def __init__(self) -> None:
        self._lanes: dict[Hashable, deque[Job]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False

    def submit(self, lane: Hashable, job: Job) -> None:
        """Run the job behind those submitted to the same lane before. Ignored while closing."""
        if self._closing:
            return
        jobs = self._lanes.get(lane)
        if jobs is not None:
            jobs.append(job)
            return
        self._lanes[lane] = deque([job])
        task = asyncio.get_running_loop().create_task(self._work(lane))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self, timeout_s: float) -> None:
        """Start no further job, wait for those that run, and cancel those that are not finished in time."""
        self._closing = True
        for jobs in self._lanes.values():
            jobs.clear()
        tasks = self._tasks - {asyncio.current_task()}
        if not tasks:
            return
        _, running = await asyncio.wait(tasks, timeout=timeout_s)
        for task in running:
            task.cancel()
        if running:
            log.warning("%d handlers were still running after %.1f s; they were cancelled", len(running), timeout_s)

    async def _work(self, lane: Hashable) -> None:
        jobs = self._lanes[lane]
        try:
            while jobs:
                await _run(jobs.popleft())
        finally:
            del self._lanes[lane]


async def _run(job: Job) -> None:
    try:
        outcome = job.run()
        if inspect.isawaitable(outcome):
            outcome = await outcome
    except Exception as error:
        job.failed(error)
    else:
        job.done(outcome)
