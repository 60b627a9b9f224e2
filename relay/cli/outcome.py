"""How a command ends: exit codes, the error that carries one, and the group that turns errors into `relay: sentence`.

Knows click and nothing of the relay. A traceback reaches a person only for a bug of ours.
"""

import logging
import os
import signal
import sys
from collections.abc import Iterable
from enum import IntEnum
from types import FrameType
from typing import Any, NoReturn

import click

from relay.cli.display import escape_line
from relay.config import ConfigError


class Exit(IntEnum):
    """Exit codes, the same for every command. docs/cli.md explains them to people."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NO_CONNECTION = 3
    LOGIN_FAILED = 4
    TIMED_OUT = 5
    # Of `relay exec` alone, beside those of the command that it runs.
    LIMIT_REACHED = 124
    EXEC_FAILED = 125
    REFUSED = 126
    NOT_FOUND = 127
    INTERRUPTED = 130
    TERMINATED = 143


class CommandError(Exception):
    """The command cannot do what was asked: a sentence for a person and the exit code."""

    def __init__(self, sentence: str, code: Exit = Exit.FAILED) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.code = code


class Root(click.Group):
    """The `relay` command: its commands under headings, its errors as one line on stderr."""

    def __init__(self, *args: Any, sections: dict[str, list[click.Command]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.sections = sections
        for command in (command for commands in sections.values() for command in commands):
            self.add_command(command)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for heading, commands in self.sections.items():
            with formatter.section(heading):
                formatter.write_dl([(str(command.name), command.get_short_help_str(90)) for command in commands])

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [str(command.name) for commands in self.sections.values() for command in commands]

    def main(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Run and exit; see Exit for the codes."""
        try:
            code = super().main(*args, **(kwargs | {"standalone_mode": False}))
            sys.stdout.flush()
        except click.UsageError as error:
            code = complain(_with_hint(error), Exit.USAGE)
        except click.ClickException as error:
            code = complain(error.format_message(), Exit.FAILED)
        except CommandError as error:
            code = complain(error.sentence, error.code)
        except ConfigError as error:
            code = complain(str(error), Exit.FAILED)
        except (KeyboardInterrupt, click.Abort):
            code = Exit.INTERRUPTED  # by the person who pressed the keys; there is nothing to explain
        except BrokenPipeError:
            # Whoever read our output has enough. The interpreter must not try to flush the rest at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = Exit.FAILED
        sys.exit(int(code or 0))


def complain(sentence: str, code: Exit) -> Exit:
    """Say on stderr what went wrong. Returns the code."""
    click.echo(f"relay: {escape_line(sentence)}", err=True)
    return code


class _LogLine(logging.Formatter):
    """A warning of the SDK looks like any other of our sentences."""

    def format(self, record: logging.LogRecord) -> str:
        # On a terminal the line may take the place of a progress, which may be longer.
        end = "\x1b[K" if sys.stderr.isatty() and os.environ.get("TERM") != "dumb" else ""
        return f"relay: {escape_line(super().format(record))}{end}"


def log_warnings() -> None:
    """Show what libraries log from WARNING on, on stderr."""
    handler = logging.StreamHandler()
    handler.setFormatter(_LogLine())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])


def end_on_sigterm() -> None:
    """Let SIGTERM end a client command as Ctrl-C does, so that it closes its connection. Exit code 143."""

    def handle(_signal: int, _frame: FrameType | None) -> NoReturn:
        raise SystemExit(Exit.TERMINATED)

    signal.signal(signal.SIGTERM, handle)


def _with_hint(error: click.UsageError) -> str:
    path = error.ctx.command_path if error.ctx else "relay"
    message = error.format_message().rstrip(".")
    return f"{message[:1].lower()}{message[1:]}; try: {path} --help"


def examples(*lines: str) -> str:
    """An epilog for --help. Lines as they are typed."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def join(names: Iterable[str]) -> str:
    """`a, b and c`."""
    *rest, last = names
    return f"{', '.join(rest)} and {last}" if rest else last
