"""The real `relay` command as a process: run to its end, or kept running and read line by line with a deadline."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

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

    def __init__(
        self,
        words: Sequence[str],
        home: Path,
        env: Mapping[str, str] | None = None,
        command: Sequence[str] = COMMAND,
    ) -> None:
        self.process = subprocess.Popen(
            (*command, *words),
            env=environment(home, env),
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._lines: dict[str, list[str]] = {"stdout": [], "stderr": []}
        self._taken = {"stdout": 0, "stderr": 0}
        self._ended: set[str] = set()
        self._news = threading.Condition()
        for name in self._lines:
            threading.Thread(target=self._pump, args=(name,), daemon=True).start()

    def _pump(self, name: str) -> None:
        for line in getattr(self.process, name):
            with self._news:
                self._lines[name].append(line.rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self._ended.add(name)
            self._news.notify_all()

    def line(self, name: str = "stdout") -> str:
        """The next line. Fails if the output ends or none comes."""
        at = self._taken[name]
        self._await(lambda: len(self._lines[name]) > at or name in self._ended, f"line on {name}")
        assert len(self._lines[name]) > at, f"{name} ended; so far {self._lines}"
        self._taken[name] += 1
        return self._lines[name][at]

    def rest(self, name: str = "stdout") -> list[str]:
        """All further lines, to the end of the output."""
        self._await(lambda: name in self._ended, f"end of {name}")
        lines = self._lines[name][self._taken[name] :]
        self._taken[name] += len(lines)
        return lines

    def seen(self, *words: str, name: str = "stderr") -> list[str]:
        """The lines so far that contain all of `words`, whether they were taken or not."""
        with self._news:
            return [line for line in self._lines[name] if all(word in line for word in words)]

    def await_line(self, *words: str, name: str = "stderr") -> str:
        """The first line that contains all of `words`, as soon as it is there. Fails if it does not come."""
        self._await(lambda: bool(self.seen(*words, name=name)) or name in self._ended, f"{words} on {name}")
        found = self.seen(*words, name=name)
        assert found, f"no line with {words}; so far {self._lines}"
        return found[0]

    def _await(self, ready: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + DEADLINE_S
        with self._news:
            while not ready():
                assert self._news.wait(deadline - time.monotonic()), f"no {what}; so far {self._lines}"

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
