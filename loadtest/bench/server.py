"""A server as a process: started on a free port with a directory of its own, measured through /proc, stopped by pid."""

import contextlib
import ctypes
import os
import re
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, NamedTuple

from loadtest.bench.dialects.base import Dialect, Place, Seat

_READY_S = 30.0
_STOP_S = 10.0
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


class ServerError(Exception):
    """A server did not start; the text holds the end of its log."""


class Usage(NamedTuple):
    """What a process has used so far. The sum is exact to nanoseconds; user and system are sampled by the kernel at its
    clock ticks, so their ratio is an estimate that needs a second of work.
    """

    cpu_s: float
    user_s: float
    system_s: float

    def since(self, earlier: "Usage") -> "Usage":
        """The difference, with user and system scaled so that they add up to the exact sum."""
        cpu_s = self.cpu_s - earlier.cpu_s
        user, system = self.user_s - earlier.user_s, self.system_s - earlier.system_s
        share = user / (user + system) if user + system else 0.0
        return Usage(cpu_s, cpu_s * share, cpu_s * (1 - share))


def read_usage(pid: int) -> Usage:
    """All threads of a process, those that ended included as far as the kernel keeps count."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    user_s, system_s = int(fields[11]) / _TICKS, int(fields[12]) / _TICKS
    exact_s = 0.0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            exact_s += int((task / "schedstat").read_text().split()[0]) / 1e9
    return Usage(max(exact_s, 0.0) or user_s + system_s, user_s, system_s)


def read_rss_bytes(pid: int) -> int:
    """Resident memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES


class Server:
    """A running server. Use as a context manager: it is gone afterwards, and so are its files."""

    def __init__(self, dialect: Dialect, kind: str, seats: Sequence[Seat], cores: Sequence[int]) -> None:
        self._dialect = dialect
        self._kind = kind
        self._seats = tuple(seats)
        self._cores = cores
        self._process: subprocess.Popen[bytes] | None = None
        self._stack = contextlib.ExitStack()
        self.address = ("127.0.0.1", 0)

    def __enter__(self) -> "Server":
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def usage(self) -> Usage:
        return read_usage(self.pid)

    def rss_bytes(self) -> int:
        return read_rss_bytes(self.pid)

    def stop(self) -> None:
        """End it: politely first. Calling it twice is allowed."""
        process, self._process = self._process, None
        if process is not None:
            # A draining relay would wait for its clients; a second SIGTERM ends it at once.
            for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL):
                process.send_signal(number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(0.3 if number == signal.SIGTERM else _STOP_S)
                    break
        self._stack.close()

    def _start(self) -> None:
        directory = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="relay-bench-")))
        log = self._stack.enter_context((directory / "log").open("w+b"))
        place = Place(directory, 0 if self._dialect.announces_port else _free_port(), self._seats, self._kind)
        command = self._dialect.command(place)
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=self._settle,  # noqa: PLW1509 - this process has no threads
        )
        self.address = ("127.0.0.1", place.port)
        deadline_at = time.monotonic() + _READY_S
        while not self._is_ready(directory / "log"):
            if self._process.poll() is not None or time.monotonic() > deadline_at:
                raise ServerError(f"{' '.join(command)} did not start: {_tail(log)}")
            time.sleep(0.02)

    def _settle(self) -> None:
        """In the new process: keep to the cores, and never outlive the benchmark."""
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if self._cores:
            os.sched_setaffinity(0, self._cores)

    def _is_ready(self, log: Path) -> bool:
        if self._dialect.announces_port:
            match = re.search(rb"listening on \S*:(\d+)\n", log.read_bytes())
            if match is not None:
                self.address = ("127.0.0.1", int(match[1]))
            return match is not None
        with socket.socket() as probe:
            probe.settimeout(1.0)
            return probe.connect_ex(self.address) == 0


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def _tail(log: IO[bytes]) -> str:
    log.seek(0)
    return log.read()[-500:].decode(errors="replace").strip() or "it printed nothing"
