"""The agent's side of its keepers: one is always ready, so that a command does not wait for an interpreter to start."""

import contextlib
import itertools
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from relay_agent import keeper

log = logging.getLogger("relay_agent")

# A keeper that takes longer to say whether the command has started is broken, or its directory is on a dead disk.
START_TIMEOUT_S = 30.0
# A keeper ends right after its report.
END_TIMEOUT_S = 2.0
# What SIGKILL does not end in this time is another user's, or waits for a dead disk.
SWEEP_TIMEOUT_S = 5.0

_PROGRAM = (sys.executable, "-I", "-S", "-X", "utf8", str(Path(keeper.__file__).resolve()))


class StartFailed(Exception):  # noqa: N818 - read aloud in except clauses
    """The command did not start. `step`: "program", "directory", "user" or something inside the keeper."""

    def __init__(self, step: str, sentence: str) -> None:
        super().__init__(sentence)
        self.step = step
        self.sentence = sentence


class Order(NamedTuple):
    """What a keeper needs to know; see keeper.py."""

    argv: list[str]
    directory: str
    environment: dict[str, str]
    run_as: str | None
    tty: bool
    time_limit_s: float
    processes_max: int
    grace_s: float


class Ended(NamedTuple):
    """How a command ended. `code` as subprocess has it (-9: by signal 9); `reason`: "time", "processes", "lost" or
    none; `left`: processes that could not be ended."""

    code: int
    reason: str
    left: int


class Kept:
    """A keeper, and its command once it was started. `fileno` can be polled for `take_end`."""

    def __init__(self, process: "subprocess.Popen[bytes]", control: socket.socket, cgroup: Path | None) -> None:
        self._process = process
        self._cgroup = cgroup
        self._control = control
        self._received = bytearray()
        self._lock = threading.Lock()

    @property
    def pid(self) -> int:
        """The keeper's."""
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Whether it is gone, and everything that it kept."""
        return self._process.poll() is not None

    def start(self, order: Order, descriptors: Sequence[int]) -> int:
        """Start the command with these as its standard streams. Returns its process id. Raises StartFailed."""
        line = json.dumps(order._asdict()).encode() + b"\n"
        try:
            self._control.settimeout(START_TIMEOUT_S)
            sent = socket.send_fds(self._control, [line], descriptors)
            if sent < len(line):  # sending nothing fails, too, once the keeper has reported and ended
                self._control.sendall(line[sent:])
            report = self._read_report()
        except OSError as error:
            raise StartFailed("keeper", f"the keeper does not answer: {error}") from None
        if report is None or "started" not in report:
            failed = report or {"failed": "keeper", "sentence": "the keeper ended; the agent's log says why"}
            raise StartFailed(failed["failed"], failed["sentence"])
        self._control.settimeout(None)
        return int(report["started"])

    def fileno(self) -> int:
        """The descriptor of the socket to the keeper."""
        return self._control.fileno()

    def signal(self, name: str) -> None:
        """Send a signal to the command's process group; KILL ends all its processes."""
        self._say({"signal": name})

    def end(self, name: str) -> None:
        """Send a signal, and after the command's grace end whatever is left."""
        self._say({"end": name})

    def take_end(self) -> Ended:
        """How it ended; waits for it."""
        try:
            report = self._read_report()
        except OSError:
            report = None
        if report is None or "ended" not in report:
            return Ended(-signal.SIGKILL, "lost", 0)
        return Ended(report["ended"], report["reason"], report["left"])

    def close(self) -> None:
        """Let go of it. If its command still runs, it is killed."""
        with self._lock:
            self._control.close()
        with contextlib.suppress(subprocess.TimeoutExpired, OSError):
            self._process.wait(END_TIMEOUT_S)
            if self._cgroup is not None:
                self._cgroup.rmdir()

    def _say(self, message: dict[str, Any]) -> None:
        with self._lock, contextlib.suppress(OSError):
            if self._control.fileno() >= 0:
                self._control.sendall(json.dumps(message).encode() + b"\n")

    def _read_report(self) -> dict[str, Any] | None:
        while b"\n" not in self._received:
            data = self._control.recv(4096)
            if not data:
                return None
            self._received += data
        line, _, self._received = self._received.partition(b"\n")
        report: dict[str, Any] = json.loads(line)
        return report


class Keepers:
    """All keepers of an agent. With `adopt`, for a process that has no children but these, what a killed keeper leaves
    behind becomes ours, and `sweep` ends it. Raises OSError where Linux does not allow that."""

    def __init__(self, adopt: bool, cgroups: Path | None = None) -> None:
        self._adopt = adopt
        self._cgroups = cgroups  # where to make them
        self._number = itertools.count(1)
        self._lock = threading.Lock()
        self._known: dict[int, Kept] = {}
        self._stubborn: set[int] = set()  # orphans that could not be ended
        self._spare: Kept | None = None
        self._closed = False
        if adopt:
            keeper.become_subreaper()

    def prepare(self) -> None:
        """Have one ready, if that is possible."""
        with self._lock, contextlib.suppress(OSError):  # `take` will say so
            if self._spare is None and not self._closed:
                self._spare = self._make()

    def take(self) -> Kept:
        """A keeper that waits for its order. Raises OSError if there cannot be another process."""
        with self._lock:
            kept, self._spare = self._spare, None
            return kept if kept is not None else self._make()

    def release(self, kept: Kept) -> None:
        """It is not needed any more; its command, if there is one, ends. One that cannot end its command stays."""
        kept.close()
        with self._lock:
            for pid, known in list(self._known.items()):
                if known.has_ended:
                    del self._known[pid]

    def sweep(self) -> None:
        """End what keepers left behind that were killed; takes up to SWEEP_TIMEOUT_S."""
        if not self._adopt:
            return
        swept: set[int] = set()
        until = time.monotonic() + SWEEP_TIMEOUT_S
        while orphans := self._kill_orphans():
            swept |= orphans
            if time.monotonic() > until:
                self._stubborn |= orphans
                log.error("processes %s were left by a killed keeper and cannot be ended", _listed(orphans))
                return
            time.sleep(0.002)
        if swept:
            self._remove_cgroups()
            log.warning("a keeper was killed; ended what it kept: processes %s", _listed(swept))

    def close(self) -> None:
        """End all that is left."""
        with self._lock:
            known = list(self._known.values())
            self._spare = None
            self._closed = True
        for kept in known:
            self.release(kept)
        self.sweep()
        self._remove_cgroups()

    def _make(self) -> Kept:
        ours, theirs = socket.socketpair()
        try:
            cgroup = self._cgroups / f"relay-run-{os.getpid()}-{next(self._number)}" if self._cgroups else None
            words = (*_PROGRAM, str(theirs.fileno()), str(cgroup or ""))
            process = subprocess.Popen(  # noqa: S603 - our own file
                words, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                env={}, cwd="/", start_new_session=True,
            )  # fmt: skip
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        kept = self._known[process.pid] = Kept(process, ours, cgroup)
        return kept

    def _remove_cgroups(self) -> None:
        """Those that are empty."""
        for path in self._cgroups.glob(f"relay-run-{os.getpid()}-*") if self._cgroups is not None else ():
            with contextlib.suppress(OSError):
                path.rmdir()

    def _kill_orphans(self) -> set[int]:
        """Kill those that are there, and bury the dead. Which ones there were."""
        with self._lock:
            children, _ = keeper.children(os.getpid())
            self._stubborn &= set(children)
            orphans = set(children) - set(self._known) - self._stubborn
            for pid in orphans:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            for pid in orphans | self._stubborn:
                with contextlib.suppress(OSError):
                    os.waitpid(pid, os.WNOHANG)
            return orphans


def _listed(pids: set[int]) -> str:
    return ", ".join(map(str, sorted(pids)))
