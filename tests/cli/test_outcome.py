"""How commands end: help, sentences for mistakes, and what is imported for them."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from relay import __version__
from relay.cli import root
from relay.cli.outcome import Exit
from tests.cli.conftest import invoke
from tests.process import run


def all_commands(group: click.Group = root, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        yield (*path, name)
        if isinstance(command, click.Group):
            yield from all_commands(command, (*path, name))


@pytest.mark.parametrize("path", list(all_commands()), ids=" ".join)
def test_every_command_has_help_with_examples(path: tuple[str, ...]) -> None:
    result = invoke(*path, "--help")
    assert result.exit_code == 0
    _, _, shown = result.stdout.partition("Examples:\n")
    assert re.search(r"^    .*\brelay ", shown, re.MULTILINE), result.stdout


def test_without_a_command_help_is_shown() -> None:
    result = invoke()
    assert "Talk:" in result.output
    assert "serve" in result.output


def test_every_command_stands_in_the_overall_help() -> None:
    shown = invoke("--help").stdout
    for name in root.commands:
        assert re.search(rf"^  {name} ", shown, re.MULTILINE)


def test_version() -> None:
    assert invoke("--version").stdout == f"relay {__version__}\n"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nope"], "relay: no such command 'nope'"),
        (["send", "bob"], "relay: missing argument 'TEXT...'; try: relay send --help"),
        (["send", "--lines", "--url", "relay://a:b@c", "bob", "x"], "relay: --lines goes with `-`"),
        (["listen", "--count", "0"], "relay: invalid value for '--count'"),
        (["user", "add", "a b"], "relay: 'a b' cannot be a user name: "),
        (["user", "add", "relay"], "relay: 'relay' is the relay's own name; choose another"),
        (["user", "add", "alice"], "relay: there is no terminal to ask for a password on; use --password-stdin"),
        (["login", "http://example.org"], "relay: a relay's URL looks like relay://alice@example.org:7450"),
        (["login", "relay://example.org"], "relay: the URL names no user: relay://alice@example.org"),
        (["login", "relay://alice@example.org"], "relay: there is no terminal to ask for a password on; put it"),
        (["who", "--url", "relay://alice@localhost"], "relay: there is no terminal to ask for a password on; put it"),
        (["send", "bob", "hi"], "relay: you are not logged in; try: relay login relay://NAME@HOST"),
        (["who", "--profile", "work"], "relay: there is no profile 'work'; try: relay login --profile work"),
        (["call", "--url", "relay://a:b@c", "x", "y", "1", "b=2"], "relay: give the arguments all by position or all"),
    ],
)  # fmt: skip
def test_a_usage_error_is_one_sentence_and_exit_code_2(tmp_path: Path, words: list[str], sentence: str) -> None:
    result = run(*words, home=tmp_path)
    assert result.returncode == 2
    assert result.stderr.startswith(sentence)
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


@pytest.mark.parametrize("words", ["--help", "config example", "completion bash", "user list", "who", "send --help"])
def test_only_serve_imports_gevent_and_help_imports_no_relay_at_all(tmp_path: Path, words: str) -> None:
    script = (
        "import atexit, sys\n"
        "atexit.register(lambda: print('LOADED', *sorted(sys.modules)))\n"
        "from relay.__main__ import main\n"
        f"sys.argv[1:] = {words.split()!r}\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=30
    )
    loaded = done.stdout.partition("LOADED ")[2].split()
    assert "relay.cli" in loaded
    assert not {name for name in loaded if name.split(".")[0] in ("gevent", "greenlet")}
    if "--help" in words:
        assert not {name for name in loaded if name.split(".")[0] in ("apsw", "msgpack", "scramp", "relay_client")}


def test_the_docs_list_every_exit_code() -> None:
    text = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
    assert re.findall(r"^\| (\d+) \|", text, re.MULTILINE) == [str(code.value) for code in Exit]


def test_the_docs_mention_every_command() -> None:
    text = "".join((Path(__file__).parents[2] / "docs" / name).read_text() for name in ("cli.md", "operations.md"))
    missing = [" ".join(path) for path in all_commands() if not re.search(rf"relay {' '.join(path)}\b", text)]
    assert missing == []
