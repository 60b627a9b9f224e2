"""Passwords: typed unseen, or read from standard input; what cannot be one."""

from pathlib import Path

import pytest

from tests.cli.conftest import accounts
from tests.cli.terminal import Terminal
from tests.process import run


@pytest.mark.parametrize(
    ("stdin", "sentence"),
    [
        (b"", "there is no password on standard input"),
        (b"\n", "there is no password on standard input"),
        (b"\xff\n", "the password on standard input is not UTF-8"),
        (b"two\nlines\n", "this password cannot be used: "),
        (b"bell\x07", "this password cannot be used: "),
    ],
)
def test_a_password_that_cannot_be_one_is_refused(tmp_path: Path, stdin: bytes, sentence: str) -> None:
    done = run("user", "add", "alice", "--password-stdin", home=tmp_path, stdin=stdin)
    assert done.returncode == 1
    assert done.stderr.startswith(f"relay: {sentence}")
    assert accounts(tmp_path) == {}


def test_on_a_terminal_the_password_is_asked_for_twice_and_never_shown(tmp_path: Path) -> None:
    terminal = Terminal("user", "add", "alice", home=tmp_path)
    terminal.wait_for("New password for alice: ")
    terminal.type("geheim\n")
    terminal.wait_for("Once more: ")
    terminal.type("gemein\n")
    terminal.wait_for("New password for alice: ")
    terminal.type("geheim\n")
    terminal.wait_for("Once more: ")
    terminal.type("geheim\n")
    assert terminal.finish() == 0
    assert "added user alice" in terminal.shown
    assert "gehe" not in terminal.shown
    assert list(accounts(tmp_path)) == ["alice"]


def test_ctrl_c_at_the_password_changes_nothing(tmp_path: Path) -> None:
    terminal = Terminal("user", "add", "alice", home=tmp_path)
    terminal.wait_for("New password for alice: ")
    terminal.type("\x03")
    assert terminal.finish() == 130
    assert "Traceback" not in terminal.shown
    assert accounts(tmp_path) == {}
