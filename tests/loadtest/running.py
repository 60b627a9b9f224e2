"""The command `python loadtest/run.py` as a process whose output a test can wait for."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]

# Far more than any run in the tests takes; reaching it means that something hangs.
DEADLINE_S = 120.0
_POLL_S = 0.05


class LoadTest:
    """One run; its results go into `tmp_path`/results."""

    def __init__(self, tmp_path: Path, *arguments: str) -> None:
        self._log = tmp_path / "output"
        command = [
            sys.executable,
            str(ROOT / "loadtest" / "run.py"),
            "--results",
            str(tmp_path / "results"),
            *arguments,
        ]
        with self._log.open("wb") as out:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, cwd=ROOT
            )

    def output(self) -> str:
        """Everything it has printed."""
        return self._log.read_text()

    def wait_for(self, text: str) -> None:
        """Until it has printed that. Fails if it ends before."""
        deadline = time.monotonic() + DEADLINE_S
        while text not in self.output():
            assert self.process.poll() is None, f"it ended: {self.output()}"
            assert time.monotonic() < deadline, f"{text!r} did not come: {self.output()}"
            time.sleep(_POLL_S)

    def wait(self) -> int:
        """Until it has ended; its exit code."""
        try:
            return self.process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(DEADLINE_S)
            raise

    def relay_pid(self) -> int:
        """The relay it said it has started."""
        match = re.search(r"relay: process (\d+)", self.output())
        assert match, self.output()
        return int(match[1])

    def pids(self) -> list[int]:
        """All processes it said it has started."""
        locusts = re.search(r"workers, processes ([\d, ]+)", self.output())
        return [self.relay_pid(), *(int(pid) for pid in (locusts[1] if locusts else "").split(",") if pid)]
