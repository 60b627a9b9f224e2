"""`relay chat` as a command: whom it is, and in a real terminal against a real relay."""

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from itertools import count
from pathlib import Path
from shlex import quote

import pytest

from relay.cli.outcome import CommandError
from tests.cli.conftest import Town
from tests.process import COMMAND, DEADLINE_S, environment

chat = import_module("relay.cli.chat")  # `relay.cli.chat` is the command, too

_numbers = count(1)

needs_tmux = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")


def test_without_a_terminal_it_says_what_to_use(town: Town) -> None:
    done = town.run("chat", user="nobody")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "relay: relay chat needs a terminal; for scripts there are relay send and relay listen\n"


class Terminal:
    """A tmux server of its own, with one window."""

    def __init__(self, home: Path, size: tuple[int, int]) -> None:
        self._base = ("tmux", "-S", str(home / f"tmux{next(_numbers)}"), "-f", "/dev/null")
        self._size = size
        self._home = home

    def start(self, *words: str, env: dict[str, str]) -> None:
        given = environment(self._home, {"LANG": "C.UTF-8", **env})
        wanted = {name: value for name, value in given.items() if name in ("HOME", "PATH", "LANG", *env)}
        line = " ".join(
            ["exec env -i TERM=tmux-256color COLORTERM=truecolor", *(f"{n}={quote(v)}" for n, v in wanted.items())]
        )
        line = f"{line} {' '.join(map(quote, (*COMMAND, *words)))}; echo ended with $?; read line"
        line = line.replace("exec env", "env", 1)
        width, height = self._size
        self._tmux("new-session", "-d", "-x", str(width), "-y", str(height), line)

    def _tmux(self, *words: str) -> str:
        done = subprocess.run((*self._base, *words), capture_output=True, text=True, timeout=DEADLINE_S, check=False)
        return done.stdout

    def type(self, *keys: str) -> None:
        """Keys by tmux's names; texts as they are."""
        for key in keys:
            self._tmux(
                "send-keys", *(() if key in ("Enter", "Tab", "C-f", "C-j", "M-Enter", "Escape") else ("-l",)), key
            )

    def shown(self, *flags: str) -> str:
        return self._tmux("capture-pane", "-p", *flags)

    def wait_for(self, *texts: str) -> str:
        """Until all of these are on the screen at once; the screen."""
        deadline = time.monotonic() + DEADLINE_S
        while not all(text in (screen := self.shown()) for text in texts):
            assert time.monotonic() < deadline, f"{texts} not shown; the screen:\n{screen}"
            time.sleep(0.05)
        return screen

    def wait_for_not(self, text: str) -> None:
        """Until this is not on the screen."""
        deadline = time.monotonic() + DEADLINE_S
        while text in (screen := self.shown()):
            assert time.monotonic() < deadline, f"{text} still shown; the screen:\n{screen}"
            time.sleep(0.05)

    def end(self) -> None:
        self._tmux("kill-server")


@contextmanager
def terminal(home: Path, size: tuple[int, int] = (100, 30)) -> Iterator[Terminal]:
    found = Terminal(home, size)
    try:
        yield found
    finally:
        found.end()


@needs_tmux
def test_two_people_in_two_terminals(town: Town, tmp_path: Path) -> None:
    alice, bob = town.user("alice"), town.user("bob")
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    with terminal(here) as one, terminal(there, (40, 20)) as two:
        one.start("chat", env=town.env(alice))
        two.start("chat", env=town.env(bob))
        one.wait_for("Nobody has written yet.")
        two.wait_for("Nobody has written yet.")
        one.type(f"/msg {bob} Grüße, 你好, שלום \U0001f44d", "Enter")
        two.wait_for("Grüße, 你好, שלום \U0001f44d", alice)
        one.wait_for("✓✓ read")
        two.type("first line", "C-j", "second line", "M-Enter", "third line", "Enter")
        one.wait_for("first line", "second line", "third line")
        two.wait_for("third line  ✓✓ read")
        one.type("C-f", "grüße", "Enter")
        one.wait_for("↑ older")
        one.type("Escape")
        one.wait_for_not("⌕")
        one.type("Q", "Enter")
        one.wait_for("ended with 0")
        two.type("/quit", "Enter")
        two.wait_for("ended with 0")


@needs_tmux
def test_hostile_text_and_no_colour_in_a_terminal(town: Town, tmp_path: Path) -> None:
    alice, bob = town.user("alice"), town.user("bob")
    nasty = "a\x1b[31mred\x1b]0;owned\x07 \u202ereversed [red]markup[/red] https://relay.example/x"
    assert town.run("send", alice, nasty, user=bob).returncode == 0
    with terminal(tmp_path) as here:
        here.start("chat", env=town.env(alice) | {"NO_COLOR": "1"})
        screen = here.wait_for("markup[/red]", "a␛[31mred␛]0;owned␇ �reversed", "https://relay.example/x")
        assert "owned" not in here._tmux("display-message", "-p", "#{pane_title}")
        assert bob in screen
        coloured = here.shown("-e")
        for code in ("\x1b[3%dm", "\x1b[9%dm", "\x1b[4%dm"):
            assert not any(code % digit in coloured for digit in range(8)), repr(coloured)
        assert "38;" not in coloured and "48;" not in coloured
        here.type("Q", "Enter")
        here.wait_for("ended with 0")


@needs_tmux
def test_a_login_that_fails_is_explained_on_a_clean_screen(town: Town, tmp_path: Path) -> None:
    alice = town.user("alice")
    with terminal(tmp_path) as here:
        here.start("chat", env={"RELAY_URL": town.url(alice).replace("secret-", "wrong-")})
        screen = here.wait_for("relay: ", "ended with 4")
        assert "Write to" not in screen


@needs_tmux
def test_who_is_not_signed_in_is_asked_once(town: Town, tmp_path: Path) -> None:
    alice = town.user("alice")
    with terminal(tmp_path) as here:
        here.start("chat", env={})
        here.wait_for("You are not signed in yet", "Relay [127.0.0.1]:")
        here.type(town.address, "Enter")
        here.wait_for("Your name:")
        here.type(alice, "Enter")
        here.wait_for("Password of")
        here.type(f"secret-{alice}", "Enter")
        here.wait_for("Remember this")
        here.type("y", "Enter")
        here.wait_for("Nobody has written yet.", f"{alice} at {town.address}")
        here.type("Q", "Enter")
        here.wait_for("ended with 0")
    with terminal(tmp_path) as again:
        again.start("chat", "--theme", "light", env={})
        again.wait_for("Nobody has written yet.")
        again.type("/quit", "Enter")
        again.wait_for("ended with 0")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--as", "work", "--url", "relay://a@b"), "--as goes without"),
        (("--as", "work"), "there is no profile 'work'"),
    ],
)
def test_whom_to_be(tmp_path: Path, words: tuple[str, ...], sentence: str, monkeypatch: pytest.MonkeyPatch) -> None:

    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("RELAY_URL", raising=False)
    options = dict(zip(("name", "url"), words[1::2], strict=False))
    with pytest.raises(CommandError, match=sentence):
        chat._url(options.get("name"), options.get("url"), None)


def test_another_user_of_the_same_relay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("RELAY_URL", "relay://alice:x@relay.example:7450")
    monkeypatch.setattr(chat, "complete_url", lambda url: url)
    assert chat._url("bob", None, None) == "relay://bob@relay.example:7450"
    monkeypatch.delenv("RELAY_URL")
    (tmp_path / "relay").mkdir()
    (tmp_path / "relay" / "profile.toml").write_text('[work]\nurl = "relay://carol:y@work.example"\n')
    assert chat._url("work", None, None) == "relay://carol:y@work.example"


def test_other_commands_do_without_it() -> None:
    program = "import sys, relay.cli; print('textual' in sys.modules, 'relay_chat' in sys.modules)"
    done = subprocess.run(
        (sys.executable, "-c", program), capture_output=True, text=True, timeout=DEADLINE_S, check=True
    )
    assert done.stdout.split() == ["False", "False"]
