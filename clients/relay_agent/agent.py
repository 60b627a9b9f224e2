"""The agent: a client of the relay that offers its commands, decides who may run what, and writes the audit log."""

import _thread
import contextlib
import difflib
import itertools
import json
import logging
import os
import pwd
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from types import FrameType
from typing import Any

from relay_client import BadValue, Client, MethodError, Stream
from relay_client.methods import Methods
from relay_client.received import Call

from relay_agent.audit import Audit
from relay_agent.cgroups import find_parent
from relay_agent.commands import Command, RefusedRun
from relay_agent.config import AgentConfig
from relay_agent.processes import Keepers, Kept, Order
from relay_agent.records import LIST_METHOD, SERVICE, AgentCode, RecordError, Request, request_from
from relay_agent.run import Run, exit_code, signal_name

log = logging.getLogger("relay_agent")

# What a command gets of the agent's environment unless the configuration says more. No variable of ours is in it.
INHERITED = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TZ")

# Longer arguments of what is refused do not go into the audit log: anybody may send them.
REFUSED_ARGUMENTS_MAX_CHARS = 2000

# How long the agent waits for its commands behind their grace, when it ends.
STOP_TIMEOUT_S = 5.0


class Agent:
    """`run` serves until SIGTERM, Ctrl-C or `stop`. With `adopt` the process must have no children of its own: then
    what a killed keeper leaves behind is ended, too."""

    def __init__(self, config: AgentConfig, url: str, adopt: bool = True) -> None:
        self._config = config
        self._url = url
        self._adopt = adopt
        self._audit = Audit(config.audit)
        self._changed = threading.Condition()
        self._running: Counter[str] = Counter()
        self._runs: set[Run] = set()
        self._stopped = False
        self._numbers = itertools.count(1)
        self._client: Client | None = None
        self._keepers: Keepers

    def run(self) -> None:
        """Serve. Raises OSError if the audit log cannot be written, and what ended the client, such as LoginFailed."""
        self._audit.check()
        self._keepers = Keepers(self._adopt, find_parent())
        self._keepers.prepare()
        try:
            with self._stopping_on_signals():
                self._serve()
        finally:
            self._keepers.close()

    def stop(self) -> None:
        """Make `run` end the commands and return. From any thread."""
        self._stopped = True
        if self._client is not None:
            self._client.wake()

    def _serve(self) -> None:
        methods = Methods()
        methods.add(LIST_METHOD, self._list)
        client = self._client = Client(self._url, self._config.device, patience_s=None, wait=False)
        try:
            ready = client.attach(methods, None, None, {SERVICE: self._handle})
            client.wait_until(lambda: self._stopped or (client.connected and all(item.done for item in ready)))
            if not self._stopped:
                for item in ready:
                    item.result()
                log.info("%s offers %s; Ctrl-C ends it", client.session, ", ".join(self._config.commands))
            client.wait_until(lambda: self._stopped)
        finally:
            self._end_runs()
            client.close()

    def _end_runs(self) -> None:
        with self._changed:
            self._stopped = True
            runs = list(self._runs)
        for run in runs:
            run.stop()
        grace_s = max(command.grace_s for command in self._config.commands.values())
        with self._changed:
            self._changed.wait_for(lambda: not self._runs, grace_s + STOP_TIMEOUT_S)

    def _list(self, call: Call) -> list[dict[str, Any]]:
        """What the caller may run."""
        return [command.to_value() for command in self._config.commands.values() if command.is_for(call.sender)]

    def _handle(self, stream: Stream) -> None:
        """A stream was opened: run what it asks for, or refuse with a code and a sentence."""
        session = stream.peer
        about: dict[str, Any] = {"run": next(self._numbers), "user": session.partition("/")[0], "session": session}
        try:
            request = self._request(stream)
            about |= {"command": request.command, "arguments": request.arguments, "tty": request.terminal is not None}
            command = self._find(request.command, about["user"])
            command.check(about["user"], request)
            with self._slot(command):
                self._execute(stream, command, request, about)
        except RefusedRun as refusal:
            log.info("run %d: refused for %s: %s", about["run"], session, json.dumps(refusal.sentence))
            self._note_refusal(about | {"code": int(refusal.code), "rule": refusal.sentence})
            raise MethodError(refusal.sentence, refusal.code) from None

    @staticmethod
    def _request(stream: Stream) -> Request:
        try:
            return request_from(stream.opening)
        except (RecordError, BadValue) as error:
            raise RefusedRun(AgentCode.BAD_REQUEST, str(error)) from None

    def _find(self, name: str, user: str) -> Command:
        command = self._config.commands.get(name)
        if command is None:
            offered = [command.name for command in self._config.commands.values() if command.is_for(user)]
            nearest = difflib.get_close_matches(name, offered, n=1)
            hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
            raise RefusedRun(AgentCode.NO_SUCH_COMMAND, f"there is no command {name!r} here{hint}")
        return command

    @contextlib.contextmanager
    def _slot(self, command: Command) -> Iterator[None]:
        """One of the runs that there may be at a time. Raises RefusedRun."""
        with self._changed:
            self._check_slot(command)
            self._running[command.name] += 1
        try:
            yield
        finally:
            with self._changed:
                self._running[command.name] -= 1

    def _check_slot(self, command: Command) -> None:
        if self._stopped:
            raise RefusedRun(AgentCode.STOPPING, "the agent is being stopped")
        if self._running[command.name] >= command.concurrency:
            raise RefusedRun(
                AgentCode.BUSY, f"command {command.name!r} runs {command.concurrency} times already; try again later"
            )
        if self._running.total() >= self._config.concurrency:
            raise RefusedRun(AgentCode.BUSY, f"{self._config.concurrency} commands run here already; try again later")

    def _execute(self, stream: Stream, command: Command, request: Request, about: dict[str, Any]) -> None:
        run = None
        kept = self._take_keeper()
        try:
            order = self._order(command, request, stream.peer)
            self._note_beginning(about)
            run = Run(stream, command, request, kept)
            run.start(order)
            threading.Thread(target=self._keepers.prepare, name="relay agent keeper", daemon=True).start()
            with self._registered(run):
                begun_at = time.monotonic()
                ended = run.serve()
            self._note_end(about, run, ended.code, time.monotonic() - begun_at)
        finally:
            self._keepers.release(kept)
            self._keepers.sweep()
            if run is not None:
                run.close()
            self._keepers.prepare()

    def _take_keeper(self) -> Kept:
        try:
            return self._keepers.take()
        except OSError as error:
            raise RefusedRun(AgentCode.CANNOT_START, f"the agent cannot start anything: {error.strerror}") from None

    @contextlib.contextmanager
    def _registered(self, run: Run) -> Iterator[None]:
        with self._changed:
            self._runs.add(run)
            late = self._stopped
        if late:
            run.stop()
        try:
            yield
        finally:
            with self._changed:
                self._runs.discard(run)
                self._changed.notify_all()

    def _order(self, command: Command, request: Request, caller: str) -> Order:
        try:
            environment, home = self._environment(command, request, caller)
        except KeyError:
            raise RefusedRun(
                AgentCode.CANNOT_START, f"command {command.name!r} cannot start: no user {command.run_as!r} here"
            ) from None
        return Order(
            command.argv(request.arguments),
            str(command.directory or home),
            environment,
            command.run_as,
            request.terminal is not None,
            command.time_limit_s,
            command.processes_max,
            command.grace_s,
        )

    @staticmethod
    def _environment(command: Command, request: Request, caller: str) -> tuple[dict[str, str], str]:
        """(environment, home directory). Raises KeyError for a user that this machine does not know."""
        names = (*INHERITED, *command.inherit)
        environment = {name: os.environ[name] for name in names if name in os.environ}
        if command.run_as is not None:
            account = pwd.getpwnam(command.run_as)
            environment |= {"HOME": account.pw_dir, "USER": account.pw_name, "LOGNAME": account.pw_name}
        if request.terminal is not None:
            environment["TERM"] = request.terminal.term or "dumb"
        environment |= {"RELAY_CALLER": caller.partition("/")[0], "RELAY_CALLER_SESSION": caller}
        return environment | dict(command.environment), environment.get("HOME", "/")

    # The audit log, and the agent's own.

    def _note_beginning(self, about: dict[str, Any]) -> None:
        log.info("run %d: %s: %s", about["run"], about["session"], json.dumps([about["command"], *about["arguments"]]))
        try:
            self._audit.write("began", about)
        except OSError as error:
            log.error("%s cannot be written, so nothing runs: %s", self._audit.path, error.strerror)
            raise RefusedRun(AgentCode.NO_AUDIT, "the agent cannot write its audit log, so nothing runs") from None

    def _note_end(self, about: dict[str, Any], run: Run, code: int, duration_s: float) -> None:
        totals = run.totals
        log.info("run %d: ended with %d after %.1f s%s", about["run"], exit_code(code), duration_s, _because(run))
        outcome = {
            "duration_s": round(duration_s, 3),
            "exit_code": exit_code(code),
            "signal": signal_name(code) or None,
            "reason": int(run.reason) if run.reason else None,
            "rule": run.why_ended() or None,
            "stdin_bytes": totals.stdin,
            "stdout_bytes": totals.stdout,
            "stderr_bytes": totals.stderr,
        }
        try:
            self._audit.write("ended", about | outcome)
        except OSError as error:
            log.error("%s cannot be written: %s; %s", self._audit.path, error.strerror, json.dumps(about | outcome))

    def _note_refusal(self, about: dict[str, Any]) -> None:
        if sum(map(len, about.get("arguments", ()))) > REFUSED_ARGUMENTS_MAX_CHARS:
            about["arguments"] = f"left out: {len(about['arguments'])} arguments"
        try:
            self._audit.refused(about)
        except OSError as error:
            log.error("%s cannot be written: %s", self._audit.path, error.strerror)

    @contextlib.contextmanager
    def _stopping_on_signals(self) -> Iterator[None]:
        """The first Ctrl-C or SIGTERM stops the agent, a second one does what it did before."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def stop(number: int, frame: FrameType | None) -> None:
            restore()
            _thread.start_new_thread(self.stop, ())  # nothing that waits for a lock may run in a signal handler

        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}

        def restore() -> None:
            for number, handler in before.items():
                signal.signal(number, handler)

        try:
            yield
        finally:
            restore()


def _because(run: Run) -> str:
    return f": {run.why_ended()}" if run.reason else ""
