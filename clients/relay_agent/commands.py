"""One command that an agent offers, and its rules: who may run it, with which arguments. Pure.

A refusal names the rule that it follows from.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from relay_agent.records import AgentCode, Request

EVERYBODY = "*"

# As patterns are shown to people; the whole one stands in the configuration.
_SHOWN_MAX_CHARS = 60


class RefusedRun(Exception):  # noqa: N818 - read aloud in except clauses
    """The agent does not run this: a code from AgentCode and a sentence that names the rule."""

    def __init__(self, code: AgentCode, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence


@dataclass(frozen=True)
class Argument:
    """What one argument may be: exactly `text` if it is `literal`, otherwise all of it must match the pattern."""

    text: str
    literal: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "_pattern", re.compile(re.escape(self.text) if self.literal else self.text))

    def accepts(self, argument: str) -> bool:
        """Whether the argument is one of those."""
        return bool(self._pattern.fullmatch(argument))  # type: ignore[attr-defined]

    @property
    def may_begin_with_dash(self) -> bool:
        """Whether options were thought of: the text itself begins with a dash."""
        return self.text.removeprefix("\\").startswith("-")

    def __str__(self) -> str:
        shown = self.text if len(self.text) <= _SHOWN_MAX_CHARS else self.text[: _SHOWN_MAX_CHARS - 3] + "..."
        return f"{shown!r} exactly" if self.literal else f"`{shown}`"


@dataclass(frozen=True)
class Command:
    """What the configuration says of a command; docs/agent.md explains each field. Limits of 0 are none.

    `program` is the program with its fixed arguments, or, with `shell`, one line for /bin/sh, which finds the caller's
    arguments in "$1", "$2" and so on. `arguments_min`: how many of `arguments` must be given. `more` may stand behind
    them up to `more_max` times.
    """

    name: str
    program: tuple[str, ...]
    users: frozenset[str]
    help: str = ""
    arguments: tuple[Argument, ...] = ()
    arguments_min: int = 0
    more: Argument | None = None
    more_max: int = 0
    options: bool = False
    shell: bool = False
    tty: bool = False
    directory: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    inherit: tuple[str, ...] = ()
    run_as: str | None = None
    time_limit_s: float = 3600
    output_max_bytes: int = 100_000_000
    processes_max: int = 256
    concurrency: int = 4
    grace_s: float = 3

    def check(self, user: str, request: Request) -> None:
        """Raises RefusedRun unless `user` may run this."""
        if not self.is_for(user):
            raise RefusedRun(AgentCode.USER_NOT_ALLOWED, f"command {self.name!r} is not offered to {user}")
        if request.terminal is not None and not self.tty:
            raise RefusedRun(
                AgentCode.NO_TERMINAL, f"command {self.name!r} runs without a terminal (`tty = true` would allow one)"
            )
        self._check_number(len(request.arguments))
        for number, argument in enumerate(request.arguments, 1):
            self._check_argument(number, argument)

    def is_for(self, user: str) -> bool:
        """Whether the user may run it at all."""
        return EVERYBODY in self.users or user in self.users

    def argv(self, arguments: tuple[str, ...]) -> list[str]:
        """What to execute."""
        if self.shell:
            return ["/bin/sh", "-c", self.program[0], self.name, *arguments]
        return [*self.program, *arguments]

    def to_value(self) -> dict[str, Any]:
        """What is told to those who may run it."""
        return {
            "name": self.name,
            "help": self.help,
            "arguments": [item.text for item in self.arguments],
            "arguments_min": self.arguments_min,
            "more": None if self.more is None else self.more.text,
            "more_max": self.more_max,
            "tty": self.tty,
        }

    def _check_number(self, given: int) -> None:
        least, most = self.arguments_min, len(self.arguments) + self.more_max
        if not least <= given <= most:
            wanted = str(least) if least == most else f"{least} to {most}"
            plural = "" if wanted == "1" else "s"
            raise self._wrong(f"it takes {wanted} argument{plural}; {given} {'is' if given == 1 else 'are'} given")

    def _check_argument(self, number: int, argument: str) -> None:
        rule = self.arguments[number - 1] if number <= len(self.arguments) else self.more
        assert rule is not None, "there are no more arguments than rules"
        if not rule.accepts(argument):
            verb = "is not" if rule.literal else "does not match"
            raise self._wrong(f"argument {number} {verb} {rule}")
        if argument.startswith("-") and not (self.options or rule.literal or rule.may_begin_with_dash):
            raise self._wrong(f"argument {number} begins with a dash (`options = true` would allow it)")

    def _wrong(self, what: str) -> RefusedRun:
        return RefusedRun(AgentCode.BAD_ARGUMENTS, f"command {self.name!r}: {what}")
