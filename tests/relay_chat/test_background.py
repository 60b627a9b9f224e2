"""Is the terminal dark or light?"""

import os
import pty
import threading

import pytest
from relay_chat.background import dark_by_answer, dark_by_variable, is_dark


@pytest.mark.parametrize(
    ("answer", "dark"),
    [
        (b"\x1b]11;rgb:0000/0000/0000\x1b\\", True),
        (b"\x1b]11;rgb:ffff/ffff/ffff\x07\x1b[?62c", False),
        (b"\x1b]11;rgb:fd/f6/e3\x1b\\", False),
        (b"\x1b]11;rgba:2828/2c2c/3434/ffff\x1b\\", True),
        (b"\x1b[?62;4c", None),
        (b"", None),
    ],
)
def test_what_terminals_answer(answer: bytes, dark: bool | None) -> None:
    assert dark_by_answer(answer) is dark


@pytest.mark.parametrize(
    ("value", "dark"), [("15;0", True), ("0;15", False), ("0;default;7", False), ("7;8", True), ("", None), ("x", None)]
)
def test_what_they_leave_in_a_variable(value: str, dark: bool | None) -> None:
    assert dark_by_variable(value) is dark


def test_a_terminal_is_asked() -> None:
    """One that answers, on the other side of a pseudo-terminal."""
    ours, theirs = pty.openpty()

    def answer() -> None:
        asked = b""
        while b"\x1b[c" not in asked:
            asked += os.read(ours, 100)
        os.write(ours, b"\x1b]11;rgb:ffff/ffff/ffff\x1b\\\x1b[?62c")

    terminal = threading.Thread(target=answer)
    terminal.start()
    try:
        assert not is_dark({"COLORFGBG": "15;0"}, theirs, theirs)
    finally:
        terminal.join(30)
        os.close(ours)
        os.close(theirs)


def test_what_is_no_terminal_is_not_asked() -> None:
    reading, writing = os.pipe()
    try:
        assert is_dark({}, reading, writing) and not is_dark({"COLORFGBG": "0;15"}, reading, writing)
    finally:
        os.close(reading)
        os.close(writing)
