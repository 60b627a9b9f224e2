"""The real relay as a process, always on the same port and the same data: started, killed, started again."""

import contextlib
import ctypes
import os
import random
import re
import signal
import socket
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from loadtest.torture.loop import READ, Loop

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)

# Below the range from which kernels take ports for outgoing connections: while the relay is down nobody gets its port.
_PORTS = range(20_000, 32_000)

# Lines of the log that tell of a defect. Warnings are normal: connections break all the time.
_COMPLAINT = re.compile(r"^(\S+ \S+ (ERROR|CRITICAL) .*|Traceback .*)$", re.MULTILINE)

_STOP_S = 60.0


class RelayProcess:
    """`on_listening` is called each time it accepts connections, `on_ended(exit code)` each time it is gone."""

    def __init__(
        self,
        loop: Loop,
        command: Sequence[str],
        directory: Path,
        on_listening: Callable[[], None],
        on_ended: Callable[[int], None],
    ) -> None:
        """`command` is run with `serve` and its flags behind it."""
        self._loop = loop
        self._command = tuple(command)
        self._on_listening = on_listening
        self._on_ended = on_ended
        self._process: subprocess.Popen[bytes] | None = None
        self._heard = b""
        self.data = directory / "data"
        self.log = directory / "relay.log"
        self.port = _free_port()
        self.listening = False
        self.starts = 0

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start it; it must not run."""
        assert self._process is None
        self.starts += 1
        self._heard = b""
        command = (*self._command, "serve", "--listen", f"127.0.0.1:{self.port}")
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                (*command, "--data", str(self.data), "--log-level", "warning", "--drain-spread-s", "0"),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env={name: value for name, value in os.environ.items() if not name.startswith("RELAY_")},
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - no other thread holds a lock that it takes
                start_new_session=True,
            )
        assert self._process.stdout is not None
        self._loop.watch(self._process.stdout.fileno(), READ, self._hear)

    def kill(self) -> None:
        """SIGKILL: it has no chance to write anything more."""
        if self._process is not None:
            self._process.kill()
            self._reap()

    def stop(self) -> int:
        """SIGTERM, and wait for the end; returns the exit code. The clients should be gone."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        try:
            code = self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = -signal.SIGKILL
        self._reap()
        return code

    def complaints(self) -> list[str]:
        """What it logged of its own failures."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return [match[0] for match in _COMPLAINT.finditer(text)]

    def _hear(self, events: int) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        data = os.read(self._process.stdout.fileno(), 4096)
        if not data:
            self._on_ended(self._reap())
            return
        self._heard += data
        if not self.listening and b"listening on" in self._heard:
            self.listening = True
            self._on_listening()

    def _reap(self) -> int:
        process, self._process = self._process, None
        assert process is not None
        assert process.stdout is not None
        self.listening = False
        self._loop.forget(process.stdout.fileno())
        process.stdout.close()
        return process.wait()


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _free_port() -> int:
    for port in random.sample(_PORTS, 100):
        with socket.socket() as sock, contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("127.0.0.1", port))
            return port
    raise OSError("there is no free port between 20000 and 32000 on 127.0.0.1")
