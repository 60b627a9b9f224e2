"""Where passwords come from: a hidden prompt or standard input, never an argument."""

import sys

import click

from relay.cli.outcome import CommandError, Exit


def new_password(name: str, from_stdin: bool) -> str:
    """A password to set, asked for twice."""
    check_source(from_stdin)
    if from_stdin:
        return read_stdin()
    return str(click.prompt(f"New password for {name}", hide_input=True, confirmation_prompt="Once more", err=True))


def known_password(name: str, place: str) -> str:
    """The password of an account, asked for once."""
    if not sys.stdin.isatty():
        raise CommandError(
            "there is no terminal to ask for a password on; put it into the URL in RELAY_URL, or log in first: "
            "relay login --password-stdin",
            Exit.USAGE,
        )
    return str(click.prompt(f"Password of {name} at {place}", hide_input=True, err=True))


def read_stdin() -> str:
    """All of standard input, without its last line end."""
    try:
        text = sys.stdin.buffer.read().decode()
    except UnicodeDecodeError:
        raise CommandError("the password on standard input is not UTF-8") from None
    password = text.removesuffix("\n").removesuffix("\r")
    if not password:
        raise CommandError("there is no password on standard input")
    return password


def check_source(from_stdin: bool) -> None:
    """Raise CommandError unless there is somebody to ask, or standard input to read."""
    if not from_stdin and not sys.stdin.isatty():
        raise CommandError("there is no terminal to ask for a password on; use --password-stdin", Exit.USAGE)
