"""A command on a pseudo-terminal: what it shows, and answers typed to its questions."""

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.process import COMMAND, DEADLINE_S, environment

# Makes standard input the controlling terminal, so that Ctrl-C and /dev/tty work, and becomes the command.
_ON_TERMINAL = "import os, sys; os.login_tty(0); os.execv(sys.argv[1], sys.argv[1:])"


class Terminal:
    """A command whose standard streams are one terminal. Everything it showed is in `shown`."""

    def __init__(
        self, *words: str, home: Path, env: Mapping[str, str] | None = None, command: Sequence[str] = COMMAND
    ) -> None:
        self._fd, slave = pty.openpty()
        self.shown = ""
        self._waited_to = 0
        self.process = subprocess.Popen(
            (sys.executable, "-c", _ON_TERMINAL, *command, *words),
            env=environment(home, {"TERM": "xterm", **(env or {})}),
            cwd=home,
            stdin=slave,
            stdout=slave,
            stderr=slave,
        )
        os.close(slave)

    def wait_for(self, text: str) -> None:
        """Read until the text has been shown, behind what was waited for before."""
        deadline = time.monotonic() + DEADLINE_S
        while (found := self.shown.find(text, self._waited_to)) < 0:
            assert self._read(deadline), f"{text!r} was not shown; shown: {self.shown!r}"
        self._waited_to = found + len(text)

    def type(self, text: str) -> None:
        os.write(self._fd, text.encode())

    def resize(self, rows: int, columns: int) -> None:
        """Give the terminal another size; the command gets SIGWINCH."""
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    @property
    def is_raw(self) -> bool:
        """Whether keys go to the command as they are."""
        return not termios.tcgetattr(self._fd)[3] & (termios.ICANON | termios.ECHO | termios.ISIG)

    def hang_up(self) -> int:
        """Close the terminal under the command; its exit code."""
        os.close(self._fd)
        return self.process.wait(timeout=DEADLINE_S)

    def finish(self) -> int:
        """Read to the end; the exit code."""
        deadline = time.monotonic() + DEADLINE_S
        while self._read(deadline):
            pass
        os.close(self._fd)
        return self.process.wait(timeout=DEADLINE_S)

    def _read(self, deadline: float) -> bool:
        """Read once. False at the end of the output; fails at the deadline."""
        ready, _, _ = select.select([self._fd], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            self.process.kill()
            raise AssertionError(f"nothing more was shown; shown: {self.shown!r}")
        try:
            data = os.read(self._fd, 65536)
        except OSError:  # Linux reports EIO when the last process left the terminal
            return False
        self.shown += data.decode(errors="replace")
        return bool(data)
