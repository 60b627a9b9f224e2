"""The real `relay` command as a process: run to its end, or kept running and read line by line with a deadline."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, Queue

COMMAND = (sys.executable, "-m", "relay")

# Far more than anything here takes; a test that reaches it has found a hang.
DEADLINE_S = 30.0


def environment(home: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Our own environment without any RELAY_ variable, with a home directory of the test's own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RELAY_", "XDG_", "NO_COLOR"))}
    return kept | {"HOME": str(home), "PYTHONUNBUFFERED": "1"} | dict(extra or {})


def run(
    *words: str, home: Path, stdin: bytes = b"", env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end. Never raises for an exit code."""
    return subprocess.run(
        (*COMMAND, *words),
        input=stdin.decode("utf-8", "surrogateescape"),
        env=environment(home, env),
        cwd=cwd or home,
        capture_output=True,
        text=True,
        errors="surrogateescape",
        timeout=DEADLINE_S,
        check=False,
    )


class Running:
    """A command that runs meanwhile; its output as lines."""

    def __init__(self, words: Sequence[str], home: Path, env: Mapping[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            (*COMMAND, *words),
            env=environment(home, env),
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._lines: dict[str, Queue[str | None]] = {"stdout": Queue(), "stderr": Queue()}
        self._seen: dict[str, list[str]] = {"stdout": [], "stderr": []}
        for name in self._lines:
            threading.Thread(target=self._pump, args=(name,), daemon=True).start()

    def _pump(self, name: str) -> None:
        for line in getattr(self.process, name):
            self._lines[name].put(line.rstrip("\n"))
        self._lines[name].put(None)

    def line(self, name: str = "stdout") -> str:
        """The next line. Fails if the output ends or none comes."""
        try:
            line = self._lines[name].get(timeout=DEADLINE_S)
        except Empty:
            raise AssertionError(f"no line on {name}; so far {self._seen}") from None
        assert line is not None, f"{name} ended; stderr {self.rest('stderr')}; so far {self._seen}"
        self._seen[name].append(line)
        return line

    def rest(self, name: str = "stdout") -> list[str]:
        """All further lines, to the end of the output."""
        lines = []
        while (line := self._lines[name].get(timeout=DEADLINE_S)) is not None:
            lines.append(line)
        self._lines[name].put(None)
        return lines

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Signal it and wait; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        return self.process.wait(timeout=DEADLINE_S)


@contextmanager
def running(*words: str, home: Path, env: Mapping[str, str] | None = None) -> Iterator[Running]:
    """A command that is killed in the end if it still runs."""
    command = Running(words, home, env)
    try:
        yield command
    finally:
        if command.process.poll() is None:
            command.process.kill()
        command.process.wait(timeout=DEADLINE_S)
