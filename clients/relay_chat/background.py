"""Whether the terminal is dark or light: it is asked (OSC 11), or what it left in COLORFGBG is read."""

import os
import re
import select
import time
from collections.abc import Mapping

# A terminal that does not know the question answers the second one, which all know (primary device attributes).
_QUESTION = b"\x1b]11;?\x1b\\\x1b[c"
_COLOUR = re.compile(rb"\x1b\]11;rgba?:([0-9a-fA-F]{1,4})/([0-9a-fA-F]{1,4})/([0-9a-fA-F]{1,4})")
_END = re.compile(rb"\x1b\[\?[0-9;]*c")

# Long enough for a terminal behind a slow line, short enough for one that says nothing.
ANSWER_S = 0.4


def is_dark(environ: Mapping[str, str] = os.environ, fd_in: int = 0, fd_out: int = 1) -> bool:
    """Whether the background is dark; if nothing is known of it, it is."""
    asked = dark_by_answer(_ask(fd_in, fd_out))
    told = dark_by_variable(environ.get("COLORFGBG", "")) if asked is None else asked
    return told is not False


def dark_by_answer(answer: bytes) -> bool | None:
    """From what the terminal answered; None if it did not say."""
    found = _COLOUR.search(answer)
    if found is None:
        return None
    red, green, blue = (int(part, 16) / (16 ** len(part) - 1) for part in found.groups())
    return bool(0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.5)


def dark_by_variable(value: str) -> bool | None:
    """From COLORFGBG, `15;0`: 7 and the bright colours but 8 are light."""
    background = value.rpartition(";")[2]
    return None if not background.isdigit() else int(background) < 7 or int(background) == 8


def _ask(fd_in: int, fd_out: int) -> bytes:
    """The terminal's answer; empty if this is none, or it says nothing."""
    try:
        import termios  # noqa: PLC0415 - Unix has it
        import tty  # noqa: PLC0415

        before = termios.tcgetattr(fd_in)
    except (ImportError, OSError, ValueError):
        return b""
    except termios.error:
        return b""
    try:
        tty.setcbreak(fd_in)
        os.write(fd_out, _QUESTION)
        return _read_answer(fd_in)
    except OSError:
        return b""
    finally:
        termios.tcsetattr(fd_in, termios.TCSANOW, before)


def _read_answer(fd: int) -> bytes:
    answer, deadline = b"", time.monotonic() + ANSWER_S
    while not _END.search(answer) and len(answer) < 1000:
        if not select.select([fd], [], [], max(0.0, deadline - time.monotonic()))[0]:
            break
        answer += os.read(fd, 100)
    return answer
