"""The load test as locust sees it: one class of users, and the hooks that start and end them together.

`run.py` starts a relay, a master and workers with this file. The environment variable LOADTEST_DIR names a directory
with `plan.json`; LOADTEST_WORKER is the number of a worker. Every worker leaves its books there, for `run.py`.
"""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import gevent
import locust.runners
import msgpack
from gevent.event import Event
from locust import User, events, task
from locust.env import Environment

from loadtest import conductor
from loadtest.conductor import Conductor
from loadtest.crowd.crowd import Crowd, Plan
from loadtest.crowd.person import Person
from loadtest.scenarios import load_scenario

# A worker that is busy for some seconds must not be taken for dead: locust would spawn its users again elsewhere.
locust.runners.HEARTBEAT_LIVENESS = 60

DIRECTORY = Path(os.environ["LOADTEST_DIR"])
PLAN: dict[str, Any] = json.loads((DIRECTORY / "plan.json").read_text())

# What the kinds of time are called in locust's own tables: (type, name).
_LOCUST_NAMES = {
    "login": ("session", "login"),
    "login again": ("session", "login again"),
    "connection": ("session", "connection"),
    "stored": ("message", "stored"),
    "delivered": ("message", "delivered"),
    "signal": ("signal", "delivered"),
    "call": ("call", "answered"),
}


class FailedError(Exception):
    """What locust shows for something that went wrong."""


def report(kind: str, time_ms: float, error: str | None) -> None:
    """Tell locust, which shows it in its own statistics."""
    request_type, name = _LOCUST_NAMES[kind]
    events.request.fire(
        request_type=request_type,
        name=name,
        response_time=time_ms,
        response_length=0,
        exception=FailedError(error) if error else None,
        context={},
    )


class RelayUser(User):
    """One user of the relay; see loadtest/crowd/person.py for what she does."""

    crowd: Crowd

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self._person = Person(self.crowd)

    @task
    def take_part(self) -> None:
        """Her whole life. Locust stops her in the end."""
        try:
            self._person.live()
        except Exception as error:
            self.crowd.crashed(f"{self._person}: {error!r}")
            raise
        Event().wait()


@events.init.add_listener
def start(environment: Environment, runner: Any, **_: Any) -> None:
    """Become the master's conductor or a worker's crowd."""
    if isinstance(runner, locust.runners.MasterRunner):
        _start_master(runner)
    elif isinstance(runner, locust.runners.WorkerRunner):
        _start_worker(runner)
    else:
        raise RuntimeError("start the load test with loadtest/run.py (make load)")


def _start_master(runner: Any) -> None:
    master = Conductor(PLAN, runner.send_message, DIRECTORY / "progress.json")
    runner.register_message(conductor.STANDING, lambda environment, msg: master.handle_standing(msg.data))
    runner.register_message(conductor.WRITTEN, lambda environment, msg: master.handle_written(msg.data))

    def conduct(**_: Any) -> None:
        try:
            master.conduct()
        finally:
            runner.quit()

    events.test_start.add_listener(lambda **_: gevent.spawn(conduct))


def _start_worker(runner: Any) -> None:
    worker = int(os.environ["LOADTEST_WORKER"])
    changes = {name: PLAN[name] for name in ("pace_hz", "web_share")}
    scenario = dataclasses.replace(load_scenario(PLAN["scenario"]), **changes)
    plan = Plan(scenario, PLAN["host"], PLAN["port"], PLAN["users"], worker, PLAN["workers"])
    crowd = RelayUser.crowd = Crowd(plan, report)

    def stand() -> None:
        while True:
            runner.send_message(conductor.STANDING, crowd.standing() | {"worker": worker})
            gevent.sleep(conductor.REPORT_S)

    def finish(data: dict[str, Any]) -> None:
        crowd.finish()
        books = msgpack.packb(crowd.to_plain())
        (DIRECTORY / f"books-{worker}").write_bytes(books)
        runner.send_message(conductor.WRITTEN, {"worker": worker})

    handlers = {
        conductor.BEGIN: lambda data: crowd.begin(data["begin_at"]),
        conductor.TRAFFIC: lambda data: crowd.start_traffic(data["from_at"], data["until_at"]),
        conductor.DRAIN: lambda data: crowd.drain(),
        conductor.FINISH: finish,
    }
    for name, handle in handlers.items():
        runner.register_message(name, lambda environment, msg, handle=handle: handle(msg.data))
    events.test_start.add_listener(lambda **_: gevent.spawn(stand))
