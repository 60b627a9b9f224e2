"""The phases of a run, and the messages by which locust's master and its workers agree on them.

    begin -> everybody logs in -> traffic -> drain -> finish

The conductor runs in the master. It moves on when the workers report that everybody is in, that the time is over, that
nothing is under way; each wait has an end. Instants are CLOCK_MONOTONIC, which all processes of a machine share.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent

# Workers say where they stand this often, and the conductor waits this long for the slowest report.
REPORT_S = 0.25

# Between a decision and its instant, so that every worker hears of it in time.
_NOTICE_S = 1.0

# Nothing has moved for so long: what has not arrived will not.
_STILL_S = 5.0

BEGIN, TRAFFIC, DRAIN, FINISH, STANDING, WRITTEN = (
    f"loadtest-{name}" for name in ("begin", "traffic", "drain", "finish", "standing", "written")
)


class Conductor:
    """One run's phases. `broadcast(message, data)` reaches all workers; `progress` is a file for `run.py` to read."""

    def __init__(
        self,
        plan: dict[str, Any],
        broadcast: Callable[[str, dict[str, Any]], None],
        progress: Path,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = gevent.sleep,
    ) -> None:
        """`plan`: users, workers, seconds, arrive_s, drain_s. `clock` and `sleep` as in the module `time`."""
        self._plan = plan
        self._broadcast = broadcast
        self._progress = progress
        self._phase = "start"
        self._clock = clock
        self._sleep = sleep
        self._standings: dict[int, dict[str, int]] = {}
        self._written: set[int] = set()
        self.instants: dict[str, float] = {}

    def handle_standing(self, data: dict[str, Any]) -> None:
        """A worker says where it stands."""
        self._standings[data["worker"]] = data

    def handle_written(self, data: dict[str, Any]) -> None:
        """A worker has written its books."""
        self._written.add(data["worker"])

    def conduct(self) -> None:
        """All phases, to the end. Yields; takes arrive_s + seconds + drain_s and some seconds at most."""
        users = self._plan["users"]
        self._wait(30.0, lambda: self._sum("people") == users)
        self._begin_phase("begin", BEGIN, {"begin_at": self._soon("begin")})
        self._wait(self._plan["arrive_s"] + _NOTICE_S, lambda: self._sum("online") + self._sum("given_up") >= users)
        from_at = self._soon("traffic")
        until_at = self.instants["until"] = from_at + self._plan["seconds"]
        self._begin_phase("traffic", TRAFFIC, {"from_at": from_at, "until_at": until_at})
        self._wait(until_at - self._clock(), lambda: False)
        self._begin_phase("drain", DRAIN, {})
        self._wait_still()
        self.instants["finish"] = self._clock()
        self._begin_phase("finish", FINISH, {})
        self._wait(20.0, lambda: len(self._written) == self._plan["workers"])
        self._phase = "end"
        self._write_progress()

    def _soon(self, name: str) -> float:
        self.instants[name] = self._clock() + _NOTICE_S
        return self.instants[name]

    def _sum(self, name: str) -> int:
        return sum(standing[name] for standing in self._standings.values())

    def _begin_phase(self, phase: str, message: str, data: dict[str, Any]) -> None:
        self._phase = phase
        self._write_progress()
        self._broadcast(message, data)

    def _wait(self, limit_s: float, done: Callable[[], bool]) -> None:
        """Until `done`, which is asked often, or the limit."""
        end_at = self._clock() + limit_s
        while not done() and self._clock() < end_at:
            self._sleep(REPORT_S / 2)
            self._write_progress()

    def _wait_still(self) -> None:
        """Until everything has arrived, or nothing more does."""
        end_at = self._clock() + self._plan["drain_s"]
        seen, seen_at = self._moving(), self._clock()
        self._sleep(2 * REPORT_S)  # the reports from before the end of the traffic have been replaced
        while not self._is_complete() and self._clock() < end_at:
            self._sleep(REPORT_S / 2)
            now_moving = self._moving()
            if now_moving != seen:
                seen, seen_at = now_moving, self._clock()
            elif self._clock() - seen_at > _STILL_S:
                return

    def _is_complete(self) -> bool:
        return (
            self._sum("open_doings") == 0
            and self._sum("online") + self._sum("given_up") == self._plan["users"]
            and self._sum("messages_received") >= self._sum("messages_expected")
            and self._sum("signals_received") >= self._sum("signals_expected")
        )

    def _moving(self) -> tuple[int, ...]:
        names = ("messages_expected", "messages_received", "signals_received", "open_doings", "online")
        return tuple(self._sum(name) for name in names)

    def _write_progress(self) -> None:
        """The phase, its instants and where the workers stand; replaced at once."""
        names = {name for standing in self._standings.values() for name in standing} - {"worker"}
        state = {"phase": self._phase, "instants": self.instants, "standing": {name: self._sum(name) for name in names}}
        temporary = self._progress.with_suffix(".new")
        temporary.write_text(json.dumps(state))
        temporary.replace(self._progress)
