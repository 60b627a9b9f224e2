"""agent.toml: what it means, and a sentence with the place for everything that is wrong in it."""

import re
from importlib.resources import files
from pathlib import Path

import pytest
from relay_agent.commands import Argument
from relay_agent.config import AgentConfig, AgentConfigError, read_config


def read(tmp_path: Path, text: str) -> AgentConfig:
    (tmp_path / "agent.toml").write_text(text)
    return read_config(tmp_path / "agent.toml")


def test_everything_that_can_be_said(tmp_path: Path) -> None:
    config = read(
        tmp_path,
        """
        url = "relay://build:x@127.0.0.1"
        device = "CI"
        audit = "log/audit"
        concurrency = 7
        [defaults]
        users = ["alice"]
        environment = { A = "1", B = "1" }
        time_limit_s = 5
        [command.make]
        program = ["make", "-s"]
        users = ["Bob", "*"]
        arguments = ["a|b", { literal = "." }]
        arguments_min = 1
        more = "c"
        options = true
        tty = true
        directory = "src"
        environment = { B = "2" }
        inherit = ["C"]
        run_as = "nobody"
        output_max_bytes = 1
        processes_max = 2
        concurrency = 3
        grace_s = 0.5
        help = "Make it"
        """,
    )
    assert (config.url, config.device, config.concurrency) == ("relay://build:x@127.0.0.1", "ci", 7)
    assert config.audit == tmp_path / "log/audit"
    make = config.commands["make"]
    assert make.program == ("make", "-s") and make.users == {"bob", "*"} and make.help == "Make it"
    assert make.arguments == (Argument("a|b"), Argument(".", literal=True)) and make.arguments_min == 1
    assert make.more == Argument("c") and make.more_max == 256 and make.options and make.tty and not make.shell
    assert make.directory == tmp_path / "src" and make.environment == {"A": "1", "B": "2"} and make.inherit == ("C",)
    assert (make.run_as, make.output_max_bytes, make.processes_max) == ("nobody", 1, 2)
    assert (make.concurrency, make.grace_s, make.time_limit_s) == (3, 0.5, 5)


def test_the_least_that_must_be_said(tmp_path: Path) -> None:
    config = read(tmp_path, '[command.uptime]\nprogram = "uptime"\nusers = ["alice"]\n')
    uptime = config.commands["uptime"]
    assert config.url is None and config.device == "agent" and config.audit == tmp_path / "agent.audit.jsonl"
    assert uptime.time_limit_s == 3600 and uptime.output_max_bytes == 100_000_000 and uptime.processes_max == 256
    assert not uptime.shell and not uptime.tty and uptime.more_max == 0


def test_all_arguments_are_needed_unless_said_otherwise(tmp_path: Path) -> None:
    config = read(tmp_path, '[command.x]\nprogram = "x"\nusers = ["a"]\narguments = ["1", "2"]\n')
    assert config.commands["x"].arguments_min == 2


def test_the_example_can_be_used(tmp_path: Path) -> None:
    text = (files("relay_agent") / "example.toml").read_text()
    assert list(read(tmp_path, text).commands) == ["uptime", "make", "log", "disk", "python3"]


def test_the_example_shows_the_defaults(tmp_path: Path) -> None:
    text = (files("relay_agent") / "example.toml").read_text()
    example = read(tmp_path, text).commands["uptime"]
    shown = {name: int(value) for name, value in re.findall(r"^#(\w+) = (\d+)", text.split("[defaults]")[1], re.M)}
    assert set(shown) == {"time_limit_s", "grace_s", "output_max_bytes", "processes_max", "concurrency"}
    assert all(getattr(example, name) == value for name, value in shown.items())


HEAD = '[command.make]\nprogram = "make"\nusers = ["alice"]\n'

MISTAKES = [
    ("", 1, "no command is offered; expected a table for each"),
    ("devise = 1\n" + HEAD, 1, "'devise' is not known here; did you mean 'device'?"),
    ("zzz = 1\n" + HEAD, 1, "'zzz' is not known here; expected one of url, device"),
    ('device = "a b"\n' + HEAD, 1, "device: "),
    ('concurrency = "4"\n' + HEAD, 1, "concurrency: '4' is not that; expected a whole number from 1 to 200"),
    (HEAD + "tty = 1\n", 4, "command.make.tty: 1 is not that; expected true or false"),
    (HEAD + "concurrency = true\n", 4, "command.make.concurrency: true is not that; expected a whole number"),
    (HEAD + "timelimit_s = 3\n", 4, "'timelimit_s' is not known here; did you mean 'time_limit_s'?"),
    (HEAD + "time_limit_s = -1\n", 4, "command.make.time_limit_s: -1 is not that; expected a number of seconds from 0"),
    (HEAD + 'arguments = "test"\n', 4, "command.make.arguments: 'test' is not that; expected an array of patterns"),
    (HEAD + 'arguments = ["te(st"]\n', 4, "command.make.arguments: 'te(st' is no regular expression: missing )"),
    (HEAD + 'arguments = [{ exact = "x" }]\n', 4, "command.make.arguments: "),
    (HEAD + 'arguments = ["x"]\narguments_min = 2\n', 5, "command.make.arguments_min: expected at most 1"),
    (HEAD + "more_max = 2\n", 4, "command.make.more_max: expected `more` beside it"),
    (HEAD + 'environment = { "A B" = "1" }\n', 4, "command.make.environment: "),
    (HEAD + "environment = { A = 1 }\n", 4, "command.make.environment: "),
    (HEAD + 'inherit = ["A=B"]\n', 4, "command.make.inherit: "),
    (HEAD + "[command.x]\nusers = ['a']\n", 4, "command.x: program is missing; expected a program in quotes"),
    (HEAD + "[command.x]\nprogram = 'a'\n", 4, "command.x: users is missing; expected an array of user names"),
    ("[command.x]\nprogram = 'a'\nusers = []\n", 3, "command.x.users: nobody could run it; expected an array"),
    ("[command.x]\nprogram = 'a'\nusers = ['a/b']\n", 3, "command.x.users: a name must not contain '/'"),
    ("[command.x]\nprogram = 'a'\nusers = 'alice'\n", 3, "command.x.users: 'alice' is not that; expected an array"),
    ("[command.x]\nprogram = 'make test'\nusers = ['a']\n", 2, 'expected ["make", "test"], or shell = true'),
    ("[command.x]\nprogram = 'bash'\nusers = ['a']\n", 2, "'bash' is a shell: whoever may run it may run anything"),
    ("[command.x]\nprogram = '/bin/sh'\nusers = ['a']\n", 2, "'/bin/sh' is a shell"),
    ("[command.x]\nprogram = ['a', 'b']\nshell = true\nusers = ['a']\n", 2, "expected one line for /bin/sh"),
    ("[command.x]\nprogram = []\nusers = ['a']\n", 2, "command.x.program: [] is not that; expected a program"),
    ('[command."a b"]\nprogram = "a"\nusers = ["a"]\n', 1, "a command's name has letters"),
    ("[command]\nx = 1\n", 1, "expected a table for each command"),
    ("defaults = 1\n" + HEAD, 1, "expected a table [defaults]"),
    ("[defaults]\nuser = ['a']\n" + HEAD, 2, "defaults.user: 'user' is not known here; did you mean 'users'?"),
    (HEAD + "help = make\n", 4, "invalid value; expected: name = value, with text in double quotes"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "sentence"), MISTAKES)
def test_mistakes_are_sentences_with_their_place(tmp_path: Path, text: str, line: int, sentence: str) -> None:
    with pytest.raises(AgentConfigError) as mistake:
        read(tmp_path, text)
    assert str(mistake.value).startswith(f"{tmp_path / 'agent.toml'}, line {line}: ")
    assert sentence in str(mistake.value) and "\n" not in str(mistake.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "agent.toml"
    with pytest.raises(AgentConfigError, match=r"agent\.toml: cannot be read: No such file"):
        read_config(path)
    path.write_bytes(b"\n\xff")
    with pytest.raises(AgentConfigError, match="line 2: not UTF-8"):
        read_config(path)
    path.write_text(HEAD)
    path.chmod(0o666)
    with pytest.raises(AgentConfigError, match=r"anybody on this machine may write it.*chmod o-w"):
        read_config(path)
