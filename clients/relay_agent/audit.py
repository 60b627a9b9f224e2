"""The agent's audit log: a JSON object for each beginning, end and refusal of a run, on a line of its own.

The line of an end is complete in itself; that of a beginning is for a run whose end nobody could write any more. The
file is opened for each line, so that it may be rotated at any time. One system call writes the line: lines never mix.
"""

import errno
import json
import os
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

# So many refusals are written in a second; further ones are counted. Anybody with an account can cause them.
REFUSALS_MAX_PER_S = 20


class Audit:
    """Appends to one file. Every method raises OSError if the line cannot be written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._second = 0
        self._refusals = 0
        self._left_out = 0

    def check(self) -> None:
        """Make sure that it can be written, and make it if it is missing."""
        os.close(self._open())

    def write(self, event: str, fields: dict[str, Any]) -> None:
        """Append a line: the time, the event, and these."""
        moment = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = json.dumps({"time": moment, "event": event} | fields) + "\n"
        descriptor = self._open()
        try:
            if os.write(descriptor, line.encode()) < len(line):  # json.dumps makes ASCII
                raise OSError(errno.ENOSPC, "only a part of the line was written")
        finally:
            os.close(descriptor)

    def refused(self, fields: dict[str, Any]) -> None:
        """Append a refusal, unless there were very many in this second; then the next one tells how many."""
        with self._lock:
            second = int(time.monotonic())
            if second != self._second:
                self._second, self._refusals = second, 0
            self._refusals += 1
            if self._refusals > REFUSALS_MAX_PER_S:
                self._left_out += 1
                return
            left_out, self._left_out = self._left_out, 0
        self.write("refused", fields | ({"left_out": left_out} if left_out else {}))

    def _open(self) -> int:
        return os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY, 0o600)
