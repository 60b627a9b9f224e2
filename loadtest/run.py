"""Run a load test: a relay of its own, locust over several processes, a short table, a report, an exit code.

    python loadtest/run.py --users 2000 --seconds 60 --scenario chat

Exit codes: 0 passed; 1 something was lost, duplicated, reordered or failed, or a limit was missed; 2 the command line
is wrong; 3 the run could not be carried through; 130 interrupted. Everything it starts it also stops.
"""

import argparse
import dataclasses
import json
import os
import platform
import resource
import shutil
import signal
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import msgpack

from loadtest.accounts import add_accounts, add_rooms
from loadtest.books.histogram import Timeline
from loadtest.books.settle import settle
from loadtest.books.tally import FAULTS, WRONGS, Tally
from loadtest.crowd.crowd import room_members, room_name, user_name
from loadtest.crowd.login import PASSWORD
from loadtest.processes import Child, Meter, ProcessError, Relay, free_port
from loadtest.report.page import make_page
from loadtest.report.summary import Outcome, summarize
from loadtest.report.table import show
from loadtest.report.verdict import judge
from loadtest.scenarios import DEFAULT, Scenario, load_scenario, scenario_names
from loadtest.scenarios.scenario import Disturbance, Harm

ROOT = Path(__file__).parents[1]

# One process carries so many users with ease; more workers than cores would only measure each other.
USERS_PER_WORKER = 1000

# What the phases may take beyond the times that the scenario gives them.
_SLACK_S = 60.0
_TICK_S = 0.1
_SAMPLE_S = 1.0
_STOP_S = 40.0

PASSED, FAILED, WRONG_COMMAND, NOT_CARRIED_THROUGH, INTERRUPTED = 0, 1, 2, 3, 130

# Open files of a process that are no connections.
_DESCRIPTORS_RESERVED = 100


def main(arguments: list[str] | None = None) -> int:
    """The command; returns the exit code."""
    options = _options(arguments)
    scenario = load_scenario(options.scenario)
    if options.pace is not None:
        scenario = dataclasses.replace(scenario, pace_hz=options.pace)
    if options.web is not None:
        scenario = dataclasses.replace(scenario, web_share=options.web)
    if (problem := _too_few_descriptors(options.users)) is not None:
        print(problem, file=sys.stderr)
        return WRONG_COMMAND
    signal.signal(signal.SIGTERM, _interrupt)
    directory = Path(tempfile.mkdtemp(prefix="relay-load-"))
    run = Run(scenario, options, directory)
    try:
        return run.carry_through()
    except KeyboardInterrupt:
        print("interrupted; everything that was started is being stopped")
        return INTERRUPTED
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # stopping is what a second one would ask for
        run.stop()
        if options.keep:
            print(f"kept: {directory}")
        else:
            shutil.rmtree(directory, ignore_errors=True)


class Run:
    """One run, from the accounts to the report. `carry_through`, then `stop` whatever happened."""

    def __init__(self, scenario: Scenario, options: argparse.Namespace, directory: Path) -> None:
        self._scenario = scenario
        self._options = options
        self._directory = directory
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self._workers: int = options.workers or max(2, min(cores - 1, -(-options.users // USERS_PER_WORKER)))
        # Locust gives every worker the same number of users.
        self._users: int = -(-options.users // self._workers) * self._workers
        self._machine = {
            "cores": cores,
            "workers": self._workers,
            "python": platform.python_version(),
            "system": platform.platform(),
            "load_before": round(os.getloadavg()[0], 2),
        }
        self._relay: Relay | None = None
        self._locusts: list[Child] = []
        self._meter = Meter()
        self._sampled_at = 0.0
        self._events: list[tuple[float, str]] = []
        self._errors: list[str] = []
        self._notes: list[str] = []
        self._harms: list[Disturbance] = sorted(scenario.disturbances, key=lambda each: each.at_share)
        self._progress: dict[str, Any] = {"phase": "start", "instants": {}, "standing": {}}

    def carry_through(self) -> int:
        """The whole run; returns the exit code."""
        try:
            self._start()
            self._watch()
        except ProcessError as error:
            self._errors.append(str(error))
        else:
            self._end_relay()
        summary = self._summarize()
        wrong = judge(summary, self._options.any_latency)
        print()
        print(show(summary, wrong))
        self._write_report(summary, wrong)
        if not wrong:
            return PASSED
        return NOT_CARRIED_THROUGH if self._errors else FAILED

    def stop(self) -> None:
        """Stop every process that still runs."""
        children = [*self._locusts, *([self._relay.child] if self._relay else [])]
        for child in children:
            if child.running:
                child.process.terminate()
        for child in children:
            child.stop(5.0)

    def _start(self) -> None:
        if self._users != self._options.users:
            print(
                f"{self._users:,} users instead of {self._options.users:,}: as many for each of {self._workers} workers"
            )
        print(f"{self._scenario.name}: {self._scenario.summary}")
        data = self._directory / "data"
        add_accounts(data, [user_name(index) for index in range(self._users)], PASSWORD)
        if self._scenario.room_members:
            add_rooms(data, self._rooms())
        self._relay = Relay(self._directory, self._scenario.relay_flags)
        print(f"relay: process {self._relay.child.pid} on 127.0.0.1:{self._relay.port}, {self._users:,} accounts")
        self._write_plan(self._relay.port)
        self._start_locust()
        pids = ", ".join(str(child.pid) for child in self._locusts)
        print(f"locust: one master and {self._workers} workers, processes {pids}", flush=True)

    def _rooms(self) -> dict[str, list[str]]:
        count = -(-self._users // self._scenario.room_members)
        everybody = (room_members(room, self._scenario, self._users) for room in range(count))
        return {room_name(room): [user_name(index) for index in inside] for room, inside in enumerate(everybody)}

    def _write_plan(self, port: int) -> None:
        plan = {
            "scenario": self._scenario.name,
            "pace_hz": self._scenario.pace_hz,
            "web_share": self._scenario.web_share,
            "host": "127.0.0.1",
            "port": port,
            "users": self._users,
            "workers": self._workers,
            "seconds": self._options.seconds,
            "arrive_s": self._scenario.arrive_s,
            "drain_s": self._scenario.drain_s,
        }
        (self._directory / "plan.json").write_text(json.dumps(plan))

    def _start_locust(self) -> None:
        port = str(free_port())
        common = [
            sys.executable,
            "-m",
            "locust",
            "--locustfile",
            str(ROOT / "loadtest" / "locustfile.py"),
            "--headless",
        ]
        environ = {"LOADTEST_DIR": str(self._directory), "PYTHONPATH": str(ROOT), "GEVENT_TRACK_GREENLET_TREE": "0"}
        master = [*common, "--master", "--master-bind-host", "127.0.0.1", "--master-bind-port", port]
        master += ["--users", str(self._users), "--spawn-rate", str(self._users), "--only-summary"]
        master += [
            "--expect-workers",
            str(self._workers),
            "--expect-workers-max-wait",
            "30",
            "--exit-code-on-error",
            "0",
        ]
        log = self._directory / "locust-master.log"
        self._locusts.append(Child("locust master", master, log, environ))
        for number in range(self._workers):
            worker = [*common, "--worker", "--master-host", "127.0.0.1", "--master-port", port]
            log = self._directory / f"locust-worker-{number}.log"
            own = environ | {"LOADTEST_WORKER": str(number)}
            self._locusts.append(Child(f"locust worker {number}", worker, log, own))

    def _watch(self) -> None:
        """Until locust has ended. Raises ProcessError when a process dies, or nothing comes to an end."""
        allowed_s = self._scenario.arrive_s + self._options.seconds + self._scenario.drain_s + _SLACK_S
        end_at = time.monotonic() + allowed_s
        while any(child.running for child in self._locusts):
            if time.monotonic() > end_at:
                raise ProcessError(
                    f"the run did not end within {allowed_s:g} s; its phase was {self._progress['phase']}"
                )
            self._look()
            self._check_processes()
            self._do_harm()
            time.sleep(_TICK_S)
        self._look()
        self._check_processes()

    def _look(self) -> None:
        """Read how far the conductor is, and sample the processes."""
        path = self._directory / "progress.json"
        if path.exists():
            earlier, self._progress = self._progress, json.loads(path.read_text())
            if self._progress["phase"] != earlier["phase"]:
                self._show_phase()
        now = time.monotonic()
        if now - self._sampled_at >= _SAMPLE_S:
            self._sampled_at = now
            self._meter.sample([*([self._relay.child] if self._relay else []), *self._locusts])

    def _show_phase(self) -> None:
        phase, standing = self._progress["phase"], self._progress["standing"]
        text = {
            "begin": f"logging in {self._users:,} users",
            "traffic": f"{standing.get('online', 0):,} users are in; traffic for {self._options.seconds:g} s",
            "drain": "traffic is over; waiting for what is under way",
            "finish": f"{standing.get('messages_received', 0):,} messages arrived; closing the books",
        }.get(phase)
        if text:
            print(text, flush=True)

    def _check_processes(self) -> None:
        if self._relay and not self._relay.child.running:
            raise ProcessError(f"the relay died: {self._relay.child.how_it_ended()}")
        for child in self._locusts:
            if not child.running and (child.process.returncode or self._progress["phase"] not in ("finish", "end")):
                raise ProcessError(f"the load test itself died: {child.how_it_ended()}")

    def _do_harm(self) -> None:
        """What the scenario does to the relay, when its time has come."""
        instants = self._progress["instants"]
        if not self._harms or "until" not in instants or self._relay is None:
            return
        length_s = instants["until"] - instants["traffic"]
        if time.monotonic() < instants["traffic"] + self._harms[0].at_share * length_s:
            return
        harm = self._harms.pop(0).harm
        began_at = time.monotonic()
        if harm is Harm.RESTART:
            code = self._relay.child.stop(_STOP_S)
            if code != 0:
                self._errors.append(f"SIGTERM did not end the relay in order: {self._relay.child.how_it_ended()}")
        else:
            self._relay.child.kill()
        self._relay.start_again()
        self._events.append((began_at, harm.name.lower()))
        self._events.append((time.monotonic(), "back"))
        print(f"{harm.name.lower()}: the relay listens again after {time.monotonic() - began_at:.1f} s", flush=True)

    def _end_relay(self) -> None:
        """SIGTERM ends a relay in order, or something is wrong with it."""
        assert self._relay is not None
        code = self._relay.child.stop(_STOP_S)
        if code != 0:
            self._errors.append(f"SIGTERM did not end the relay in order: {self._relay.child.how_it_ended()}")

    def _summarize(self) -> dict[str, Any]:
        tally, timeline, books, all_in_at = Tally(), Timeline(), {}, 0.0
        for number in range(self._workers):
            path = self._directory / f"books-{number}"
            if not path.exists():
                if not self._errors:
                    self._errors.append(
                        f"locust worker {number} left no books: {self._locusts[number + 1].last_words()}"
                    )
                continue
            left = msgpack.unpackb(path.read_bytes(), strict_map_key=False)
            tally.update(left["tally"])
            timeline.merge(Timeline.from_plain(left["timeline"]))
            books.update(left["books"])
            all_in_at = max(all_in_at, left["all_in_at"])
            self._notes += left["notes"]
            self._errors += [f"the load test has a bug: {crash}" for crash in left["crashes"]]
        members = partial(room_members, scenario=self._scenario, users=self._users)
        settlement = settle(books if len(books) == self._users else {}, members)
        tally.update(settlement.tally)
        tally["signals_lost"] = max(0, tally["signals_lost"] - tally["signals_dropped"])
        failed = {name for name in FAULTS if name not in self._scenario.allowed} | set(WRONGS)
        return summarize(
            Outcome(
                scenario=self._scenario,
                users=self._users,
                seconds=self._options.seconds,
                machine=self._machine,
                instants=self._progress["instants"],
                tally=tally,
                timeline=timeline,
                samples=self._meter.samples,
                foreign=self._meter.foreign,
                all_in_at=all_in_at,
                events=self._events,
                examples=[
                    *self._notes,
                    *(example for what, example in settlement.examples if what in failed and tally[what]),
                ],
                errors=self._errors,
            )
        )

    def _write_report(self, summary: dict[str, Any], wrong: list[str]) -> None:
        results = Path(self._options.results)
        results.mkdir(parents=True, exist_ok=True)
        name = f"load-{self._scenario.name}-{time.strftime('%Y%m%d-%H%M%S')}"
        report = {"passed": not wrong, "wrong": wrong, **summary}
        (results / f"{name}.json").write_text(json.dumps(report, indent=1))
        (results / f"{name}.html").write_text(make_page(report))
        print(f"report: {results / name}.html and .json")


def _too_few_descriptors(users: int) -> str | None:
    """Raise the limit of open files for us and all that we start; a sentence if the relay cannot have enough."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard != resource.RLIM_INFINITY and hard < users + _DESCRIPTORS_RESERVED:
        return f"a process may open {hard:,} files here, too few for {users:,} users; raise the hard limit (ulimit -Hn)"
    return None


def _options(arguments: list[str] | None) -> argparse.Namespace:
    description, _, epilog = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="run.py", description=description, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--users", type=_number(1, 20_000), default=2000, help="users, all at once (default 2000)")
    add("--seconds", type=_number(1, 86_400), default=60, help="seconds of traffic (default 60)")
    # Make passes on what stands on its command line: make load SCENARIO=churn
    chosen = os.environ.get("SCENARIO", DEFAULT)
    add("--scenario", choices=scenario_names(), default=chosen, help=f"what happens (default {DEFAULT})")
    add("--workers", type=_number(1, 64), help="locust processes (default: by users and cores, at least 2)")
    add("--pace", type=float, help="doings of one user per second (default: the scenario's)")
    add("--web", type=float, help="share of the users, 0 to 1, who come by WebSocket (default: the scenario's)")
    add("--any-latency", action="store_true", help="times are shown and do not decide")
    add("--results", default=str(ROOT / "results"), help="directory for the report (default results)")
    add("--keep", action="store_true", help="keep the logs and the relay's data")
    options = parser.parse_args(arguments)
    if options.scenario not in scenario_names():
        parser.error(f"SCENARIO={options.scenario}: there are {', '.join(scenario_names())}")
    if options.pace is not None and not 0 <= options.pace <= 1000:
        parser.error("--pace is 0 to 1000 doings per second")
    if options.web is not None and not 0 <= options.web <= 1:
        parser.error("--web is a share of the users, from 0 to 1")
    return options


def _number(lowest: int, highest: int) -> Any:
    def number(text: str) -> int:
        if not lowest <= int(text) <= highest:
            raise argparse.ArgumentTypeError(f"{text} is not from {lowest} to {highest}")
        return int(text)

    return number


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
