"""Reads agent.toml. Every mistake becomes one sentence: file, line, key, what is expected, and the nearest name.

Fields are declared once, in two tables; what depends on several of them is checked behind.
"""

import difflib
import os
import re
import stat
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from relay.protocol.addresses import AddressError, prepare_name
from relay_agent.commands import EVERYBODY, Argument, Command
from relay_agent.records import ARGUMENTS_MAX

_COMMAND_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

# Started without arguments, these run whatever their standard input says.
_SHELLS = {"sh", "bash", "dash", "zsh", "ksh", "fish", "csh", "tcsh", "ash"}


class AgentConfigError(Exception):
    """The configuration is wrong; the text says where, and what is expected."""


@dataclass(frozen=True)
class AgentConfig:
    """What agent.toml says. `commands` by name."""

    path: Path
    url: str | None
    device: str
    audit: Path
    concurrency: int
    commands: Mapping[str, Command]


@dataclass(frozen=True)
class _Kind:
    """`read` takes what TOML gave and returns the value, or raises ValueError."""

    expects: str
    read: Callable[[Any], Any]


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


def _whole(lowest: int, highest: int) -> _Kind:
    def read(value: Any) -> int:
        if type(value) is not int or not lowest <= value <= highest:
            raise ValueError
        return value

    return _Kind(f"a whole number from {lowest} to {highest}", read)


def _seconds(lowest: float, highest: float) -> _Kind:
    def read(value: Any) -> float:
        if type(value) not in (int, float) or not lowest <= value <= highest:
            raise ValueError
        return float(value)

    return _Kind(f"a number of seconds from {lowest:g} to {highest:g}", read)


def _program(value: Any) -> tuple[str, ...]:
    parts = [value] if isinstance(value, str) else value
    if not isinstance(parts, list) or not parts:
        raise ValueError
    return (_text(parts[0]), *(_words(parts[1:])))


def _words(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) and "\0" not in item for item in value):
        raise ValueError
    return tuple(value)


def _users(value: Any) -> frozenset[str]:
    words = _words(value)
    if not words:
        raise ValueError("nobody could run it")
    try:
        return frozenset(word if word == EVERYBODY else prepare_name(word) for word in words)
    except AddressError as error:
        raise ValueError(str(error)) from None


def _argument(value: Any) -> Argument:
    literal = isinstance(value, dict) and set(value) == {"literal"}
    text = value["literal"] if literal else value
    if not isinstance(text, str) or "\0" in text:
        raise ValueError
    try:
        return Argument(text, literal)
    except re.error as error:
        raise ValueError(f"{text!r} is no regular expression: {error}") from None


def _arguments(value: Any) -> tuple[Argument, ...]:
    if not isinstance(value, list) or len(value) > ARGUMENTS_MAX:
        raise ValueError
    return tuple(map(_argument, value))


def _environment(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(map(_VARIABLE_NAME.fullmatch, value)):
        raise ValueError
    return dict(zip(value, _words(list(value.values())), strict=True))


def _variables(value: Any) -> tuple[str, ...]:
    names = _words(value)
    if not all(map(_VARIABLE_NAME.fullmatch, names)):
        raise ValueError
    return names


_TEXT = _Kind("a text in quotes", _text)
_FLAG = _Kind("true or false", _flag)
_PATTERN = 'a regular expression in quotes, or { literal = "..." }'

_AGENT: dict[str, _Kind] = {
    "url": _Kind('the URL of the relay, such as "relay://build:secret@127.0.0.1:7450"', _text),
    "device": _TEXT,
    "audit": _Kind("the path of a file", _text),
    "concurrency": _whole(1, 200),
}
_COMMAND: dict[str, _Kind] = {
    "program": _Kind('a program in quotes, or an array of it and its fixed arguments: ["git", "pull"]', _program),
    "users": _Kind('an array of user names such as ["alice", "bob"], or ["*"] for all', _users),
    "help": _TEXT,
    "arguments": _Kind(f"an array of patterns, each {_PATTERN}", _arguments),
    "arguments_min": _whole(0, ARGUMENTS_MAX),
    "more": _Kind(_PATTERN, _argument),
    "more_max": _whole(1, ARGUMENTS_MAX),
    "options": _FLAG,
    "shell": _FLAG,
    "tty": _FLAG,
    "directory": _Kind("the path of a directory", _text),
    "environment": _Kind('a table of variables such as { CI = "1" }', _environment),
    "inherit": _Kind('an array of names of variables such as ["SSH_AUTH_SOCK"]', _variables),
    "run_as": _Kind("the name of a user of this machine", _text),
    "time_limit_s": _seconds(0, 31_536_000),
    "output_max_bytes": _whole(0, 2**53 - 1),
    "processes_max": _whole(1, 100_000),
    "concurrency": _whole(1, 200),
    "grace_s": _seconds(0, 600),
}


def read_config(path: Path) -> AgentConfig:
    """The configuration in a file. Raises AgentConfigError."""
    return _Reader(path).read()


class _Reader:
    """Reads one file; the methods know the place of what they read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._text = ""

    def read(self) -> AgentConfig:
        table = self._parse()
        commands = table.pop("command", None)
        defaults = table.pop("defaults", {})
        own = self._fields(table, _AGENT, "")
        if not isinstance(commands, dict) or not commands:
            self._fail(
                "",
                "command",
                'no command is offered; expected a table for each: [command.uptime], program = "uptime", ...',
            )
        if not isinstance(defaults, dict):
            self._fail("", "defaults", "expected a table [defaults] of what holds for all commands")
        shared = self._fields(defaults, _COMMAND, "defaults")
        audit = self._beside(own.get("audit", f"{self._path.stem}.audit.jsonl"))
        return AgentConfig(
            self._path,
            own.get("url"),
            self._device(own.get("device", "agent")),
            audit,
            own.get("concurrency", 32),
            {name: self._command(name, value, shared) for name, value in commands.items()},
        )

    def _parse(self) -> dict[str, Any]:
        try:
            data = self._path.read_bytes()
            mode = self._path.stat().st_mode
        except OSError as error:
            raise AgentConfigError(f"{self._path}: cannot be read: {error.strerror}") from None
        if mode & stat.S_IWOTH:
            raise AgentConfigError(
                f"{self._path}: anybody on this machine may write it, and so run anything; try: chmod o-w {self._path}"
            )
        try:
            self._text = data.decode()
            return tomllib.loads(self._text)
        except UnicodeDecodeError as error:
            line = data[: error.start].count(b"\n") + 1
            raise AgentConfigError(f"{self._path}, line {line}: not UTF-8; save the file as UTF-8") from None
        except tomllib.TOMLDecodeError as error:
            raise AgentConfigError(self._syntax_error(str(error))) from None

    def _syntax_error(self, message: str) -> str:
        """tomllib puts the place at the end of its message: "... (at line 3, column 7)"."""
        match = re.fullmatch(r"(.*) \(at (?:line (\d+), column \d+|end of document)\)", message, re.DOTALL)
        what, line = (match[1], match[2]) if match else (message, None)
        number = int(line) if line else max(1, len(self._text.splitlines()))
        what = f"{what[:1].lower()}{what[1:]}"
        return f"{self._path}, line {number}: {what}; expected: name = value, with text in double quotes"

    def _fields(self, table: Mapping[str, Any], kinds: Mapping[str, _Kind], section: str) -> dict[str, Any]:
        fields = {}
        for key, value in table.items():
            kind = kinds.get(key)
            if kind is None:
                known = [*kinds, "command", "defaults"] if not section else list(kinds)
                self._fail(section, key, f"{key!r} is not known here; {_hint(key, known)}")
            try:
                fields[key] = kind.read(value)
            except ValueError as error:
                what = str(error) or f"{_shown(value)} is not that"
                self._fail(section, key, f"{what}; expected {kind.expects}", named=True)
        return fields

    def _command(self, name: str, table: Any, shared: Mapping[str, Any]) -> Command:
        section = f"command.{name}"
        if not _COMMAND_NAME.fullmatch(name):
            self._fail(section, "", "a command's name has letters, digits and any of . _ -, at most 64, no dash first")
        if not isinstance(table, dict):
            self._fail("", "command", f'expected a table for each command: [command.{name}], program = "..."')
        own = self._fields(table, _COMMAND, section)
        fields = dict(shared) | own
        if "environment" in own and "environment" in shared:
            fields["environment"] = shared["environment"] | own["environment"]
        for key in ("program", "users"):
            if key not in fields:
                self._fail(section, "", f"{key} is missing; expected {_COMMAND[key].expects}")
        self._check_program(section, fields)
        fields |= self._numbers(section, fields)
        if "directory" in fields:
            fields["directory"] = self._beside(fields["directory"])
        return Command(name, **fields)

    def _check_program(self, section: str, fields: Mapping[str, Any]) -> None:
        program: tuple[str, ...] = fields["program"]
        if fields.get("shell"):
            if len(program) != 1:
                self._fail(section, "program", "with shell = true expected one line for /bin/sh, in quotes", named=True)
            return
        if len(program) == 1 and Path(program[0]).name in _SHELLS:
            sentence = f"{program[0]!r} is a shell: whoever may run it may run anything; say so with shell = true"
            self._fail(section, "program", sentence, named=True)
        if len(program) == 1 and " " in program[0] and not Path(program[0]).exists():
            words = ", ".join(f'"{word}"' for word in program[0].split())
            sentence = f"no file has the name {program[0]!r}; expected [{words}], or shell = true for a line of shell"
            self._fail(section, "program", sentence, named=True)

    def _numbers(self, section: str, fields: Mapping[str, Any]) -> dict[str, int]:
        """How many arguments, where the configuration says it with less."""
        arguments = len(fields.get("arguments", ()))
        least = fields.get("arguments_min", arguments)
        if least > arguments:
            self._fail(section, "arguments_min", f"expected at most {arguments}, the number of `arguments`", named=True)
        if "more_max" in fields and "more" not in fields:
            self._fail(section, "more_max", "expected `more` beside it: the pattern for further arguments", named=True)
        return {"arguments_min": least, "more_max": fields.get("more_max", ARGUMENTS_MAX if "more" in fields else 0)}

    def _device(self, device: str) -> str:
        try:
            return prepare_name(device)
        except AddressError as error:
            self._fail("", "device", str(error), named=True)

    def _beside(self, path: str) -> Path:
        """Relative paths begin where the file lies."""
        return Path(os.path.abspath(self._path.parent / Path(path).expanduser()))  # noqa: PTH100 - keeps symlinks

    def _fail(self, section: str, key: str, sentence: str, named: bool = False) -> NoReturn:
        name = ".".join(part for part in (section, key) if part)
        what = f"{name}: {sentence}" if named or section else sentence
        raise AgentConfigError(f"{self._path}, line {self._line_of(section, key)}: {what}")

    def _line_of(self, section: str, key: str) -> int:
        """The line where a key of a table stands; that of the table, or the first, if it is written otherwise."""
        lines = self._text.splitlines()
        header = re.compile(r"\s*\[+\s*" + r"\s*\.\s*".join(map(_quotable, section.split(".", 1))) + r"\s*\]+")
        start = 0 if not section else next((i for i, line in enumerate(lines) if header.match(line)), None)
        if start is None:
            return 1
        wanted = re.compile(rf"\s*(\[+\s*)?{_quotable(key)}\s*[=.\]]") if key else None
        for number, line in enumerate(lines[start:], start):
            if wanted is not None and wanted.match(line):
                return number + 1
            if section and number > start and line.lstrip().startswith("["):
                break
        return start + 1


def _quotable(name: str) -> str:
    return rf"""["']?{re.escape(name)}["']?"""


def _hint(name: str, known: list[str]) -> str:
    nearest = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.6)
    return f"did you mean {nearest[0]!r}?" if nearest else f"expected one of {', '.join(known)}"


def _shown(value: Any) -> str:
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
