"""The command group without a relay: help, usage errors, configuration, completion, what is imported."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from relay import __version__, config
from relay.cli import root
from relay.cli.outcome import CommandError
from relay.cli.talk import parse_arguments
from tests.process import run


def invoke(*words: str, **more: str) -> Result:
    return CliRunner().invoke(root, words, **more)  # type: ignore[arg-type]


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
        (["login", "relay://alice@example.org"], "relay: there is no terminal to ask for a password on"),
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


def test_config_example_is_a_file_that_config_check_accepts(tmp_path: Path) -> None:
    file = tmp_path / "relay.toml"
    file.write_text(invoke("config", "example").stdout)
    result = invoke("config", "check", str(file))
    assert (result.exit_code, result.stdout) == (0, f"{file}: good, 0 settings\n")


def test_config_check_names_the_line_at_fault(tmp_path: Path) -> None:
    file = tmp_path / "relay.toml"
    file.write_text("\nlogin_delay_max = 3\n")
    result = invoke("config", "check", str(file))
    assert result.exit_code == 1
    assert result.stderr == (
        f"relay: {file}, line 2: 'login_delay_max' is not a setting; did you mean 'login_delay_max_s'?\n"
    )


def test_serve_has_a_flag_for_each_setting() -> None:
    shown = invoke("serve", "--help").stdout
    for item in config.DECLARATIONS.values():
        assert f"{item.flag} " in shown


def test_serve_refuses_a_bad_setting_before_it_starts(tmp_path: Path) -> None:
    result = run("serve", "--scram-iterations", "5", home=tmp_path)
    assert result.returncode == 1
    assert result.stderr == (
        "relay: --scram-iterations: 5 is too small; expected a number of rounds from 4096 to 1000000\n"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(shell: str) -> None:
    result = invoke("completion", shell)
    assert result.exit_code == 0
    assert "_RELAY_COMPLETE" in result.stdout


def complete(tmp_path: Path, line: str) -> list[str]:
    """What the shell's function would offer for a line that ends where Tab was pressed."""
    words = line.split(" ")
    env = {"_RELAY_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    result = run(home=tmp_path, env=env)
    assert (result.returncode, result.stderr) == (0, "")
    return [row.partition(",")[2] for row in result.stdout.splitlines() if row]


def test_completion_offers_commands_profiles_and_nothing_where_it_knows_nothing(tmp_path: Path) -> None:
    assert complete(tmp_path, "relay se") == ["send", "serve"]
    assert complete(tmp_path, "relay send bo") == []
    file = tmp_path / ".config" / "relay" / "profile.toml"
    file.parent.mkdir(parents=True)
    file.write_text('[home]\nurl = "relay://a:b@127.0.0.1:1"\n[work]\nurl = "relay://a:b@127.0.0.1:1"\n')
    assert complete(tmp_path, "relay who --profile w") == ["work"]
    assert complete(tmp_path, "relay send bo") == []


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


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], ([], {})),
        (["1", "2.5", "true", "null", "word", '"1"', "[1, 2]"], ([1, 2.5, True, None, "word", "1", [1, 2]], {})),
        (["copies=2", "name=report.pdf", "empty="], ([], {"copies": 2, "name": "report.pdf", "empty": ""})),
        (["a b=c", "=x", '"a=b"', "NaN", "-1"], (["a b=c", "=x", "a=b", "NaN", -1], {})),
        (["[" * 100_000], (["[" * 100_000], {})),
    ],
)
def test_arguments_of_a_call(words: list[str], expected: object) -> None:
    assert parse_arguments(tuple(words)) == expected


def test_arguments_by_position_and_by_name_do_not_mix() -> None:
    with pytest.raises(CommandError, match="all by position or all by name"):
        parse_arguments(("1", "b=2"))
