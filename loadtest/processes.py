"""The processes of a run: started with logs of their own, watched, sampled, and stopped by their own ids."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil

START_TIMEOUT_S = 30.0
_POLL_S = 0.02


class ProcessError(Exception):
    """A process did not do what it was started for; the text is a sentence with the end of its log."""


class Child:
    """One process with a log file. It is in a session of its own: Ctrl-C reaches only us, who then stop it."""

    def __init__(self, name: str, command: Sequence[str], log: Path, environ: Mapping[str, str] | None = None) -> None:
        self.name = name
        self.log = log
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environ or {})},
                start_new_session=True,
            )
        self._watched = psutil.Process(self.process.pid)

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None

    def cpu_s(self) -> float | None:
        """CPU time so far, in seconds; None if it has ended."""
        with contextlib.suppress(psutil.Error):
            times = self._watched.cpu_times()
            return float(times.user + times.system)
        return None

    def queued_s(self) -> float:
        """Time its threads were ready to run and had no core (Linux; 0 elsewhere), of threads that still live."""
        total_ns = 0
        for path in Path(f"/proc/{self.pid}/task").glob("*/schedstat"):
            with contextlib.suppress(OSError, IndexError):
                total_ns += int(path.read_text().split()[1])
        return total_ns / 1e9

    def rss_bytes(self) -> int | None:
        """Resident memory; None if it has ended."""
        with contextlib.suppress(psutil.Error):
            return int(self._watched.memory_info().rss)
        return None

    def wait(self, limit_s: float) -> int | None:
        """Its exit code, or None if it has not ended by then."""
        try:
            return self.process.wait(limit_s)
        except subprocess.TimeoutExpired:
            return None

    def stop(self, limit_s: float) -> int:
        """SIGTERM, and SIGKILL if it has not ended in time. Returns the exit code."""
        if self.running:
            self.process.send_signal(signal.SIGTERM)
        code = self.wait(limit_s)
        if code is None:
            self.process.kill()
            code = self.process.wait()
        return code

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        if self.running:
            self.process.kill()
        self.process.wait()

    def last_words(self, lines: int = 8) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def how_it_ended(self) -> str:
        """A sentence for a person."""
        code = self.process.poll()
        how = f"signal {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit code {code}"
        return f"{self.name} (process {self.pid}) ended with {how}; the end of its log:\n{self.last_words()}"


class Relay:
    """A relay process that can be restarted on the same port and data."""

    def __init__(self, directory: Path, flags: Sequence[str]) -> None:
        """Starts it and waits until it listens. Raises ProcessError."""
        self._directory = directory
        self._flags = flags
        self.port = 0
        self.restarting = False
        self._start()

    def start_again(self) -> None:
        """Start it on the port it had. Raises ProcessError."""
        self._start()
        self.restarting = False

    def _start(self) -> None:
        log = self._directory / "relay.log"
        offset = log.stat().st_size if log.exists() else 0
        listen = f"127.0.0.1:{self.port}"
        command = [sys.executable, "-m", "relay", "serve", "--listen", listen, *self._flags]
        self.child = Child(
            "the relay", [*command, "--data", str(self._directory / "data")], log, {"PYTHONUNBUFFERED": "1"}
        )
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            with log.open(errors="replace") as lines:
                lines.seek(offset)
                for line in lines:
                    if line.startswith("listening on ") and line.endswith("\n"):
                        self.port = int(line.rpartition(":")[2])
                        return
            if not self.child.running:
                raise ProcessError(self.child.how_it_ended())
            time.sleep(_POLL_S)
        self.child.kill()
        raise ProcessError(f"the relay did not listen within {START_TIMEOUT_S:g} s:\n{self.child.last_words()}")


class Sample(NamedTuple):
    """What one process used in the interval that ended at `at`: CPU as a share of one core, the share of the time it
    was kept waiting for a core (above 1 if several threads were), and resident bytes.
    """

    at: float
    cores: float
    queued: float
    rss_bytes: int


class Meter:
    """Samples processes; by name, so that a restarted one goes on in the same series. `foreign` is how many of our
    cores everything else on the machine used, as (instant, cores); what a hypervisor took away counts, too.
    """

    def __init__(self) -> None:
        self.samples: dict[str, list[Sample]] = {}
        self.foreign: list[tuple[float, float]] = []
        self._earlier: dict[int, tuple[float, float, float]] = {}
        self._machine: tuple[float, float] | None = None

    def sample(self, children: Sequence[Child]) -> None:
        """Note what each used since the last time. The first time of a process only begins its series."""
        own = self._sample_processes(children)
        now, busy_s = time.monotonic(), machine_busy_s()
        if self._machine is not None and now > self._machine[0]:
            cores = (busy_s - self._machine[1]) / (now - self._machine[0])
            self.foreign.append((now, max(0.0, cores - own)))
        self._machine = (now, busy_s)

    def _sample_processes(self, children: Sequence[Child]) -> float:
        """How many cores they used together."""
        total = 0.0
        for child in children:
            now, cpu_s, rss_bytes = time.monotonic(), child.cpu_s(), child.rss_bytes()
            if cpu_s is None or rss_bytes is None:
                continue
            queued_s = child.queued_s()
            earlier_at, earlier_s, earlier_queued_s = self._earlier.get(child.pid, (now, cpu_s, queued_s))
            self._earlier[child.pid] = (now, cpu_s, queued_s)
            if now > earlier_at:
                interval_s = now - earlier_at
                cores, queued = (cpu_s - earlier_s) / interval_s, (queued_s - earlier_queued_s) / interval_s
                self.samples.setdefault(child.name, []).append(Sample(now, cores, max(0.0, queued), rss_bytes))
                total += cores
        return total


def machine_busy_s() -> float:
    """Seconds that the cores we may use were not idle, all together."""
    cores = psutil.cpu_times(percpu=True)
    ours = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(len(cores))
    return sum(
        sum(times) - times.idle - getattr(times, "iowait", 0.0) for number, times in enumerate(cores) if number in ours
    )


def free_port() -> int:
    """A TCP port on 127.0.0.1 that nobody listens on now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
