"""The terminal of whoever runs a remote command with `-t`: raw while it lasts, and as it was afterwards."""

import contextlib
import os
import sys
import termios
import tty
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def raw(descriptor: int) -> Iterator[Callable[[], None]]:
    """Every key goes to the command, Ctrl-C too. Gives the function that restores the terminal, for those who leave by
    another way."""
    before = termios.tcgetattr(descriptor)

    def restore() -> None:
        with contextlib.suppress(termios.error):  # it was closed
            termios.tcsetattr(descriptor, termios.TCSANOW, before)

    try:
        tty.setraw(descriptor, termios.TCSANOW)
        yield restore
    finally:
        restore()


def size() -> tuple[int, int]:
    """(rows, columns); 0 if nobody knows."""
    for stream in (sys.__stdout__, sys.__stdin__, sys.__stderr__):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            columns, rows = os.get_terminal_size(stream.fileno())  # type: ignore[union-attr]
            return rows, columns
    return 0, 0


class Escape:
    """Looks for `~.` at the beginning of a line in what is typed, as ssh does: the way out when nothing else gets
    through. A `~` there is held back until the next key; `~~` sends one."""

    def __init__(self) -> None:
        self._at_start = True
        self._held = False

    def feed(self, typed: bytes) -> bytes | None:
        """What to send on, or None: give up."""
        sent = bytearray()
        for key in typed:
            char = bytes([key])
            if self._held:
                self._held = False
                if char == b".":
                    return None
                sent += b"" if char == b"~" else b"~"
            elif self._at_start and char == b"~":
                self._held = True
                continue
            sent += char
            self._at_start = char in b"\r\n"
        return bytes(sent)
