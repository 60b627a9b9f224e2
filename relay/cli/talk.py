"""`relay send`, `signal` and `call`: one saying or one question each, then done."""

import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from relay.cli.connection import complete_address, connected, connection_options
from relay.cli.display import escape, escape_line, iso_time, plain, put_json, put_line
from relay.cli.outcome import CommandError, Exit, examples

if TYPE_CHECKING:
    from relay_client import Client, Posted, Stored

_to = click.argument("to", shell_complete=complete_address)


@click.command(
    epilog=examples(
        "relay send bob hello",
        "relay send bob - < letter.txt            # one message; bytes that are no UTF-8 are sent as bytes",
        "journalctl -f | relay send ops --lines - # a message for each line, as it comes",
        "relay send --json bob hello | jq .offset",
        "relay send --until read --timeout 60 bob 'are you there?'",
    )
)
@_to
@click.argument("text", nargs=-1, required=True)
@click.option("--lines", is_flag=True, help="With -: send each line as a message of its own.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object for each message: where it is stored.")
@click.option("--quiet", "-q", is_flag=True, help="Print nothing.")
@click.option(
    "--until", type=click.Choice(["stored", "delivered", "read"]), default="stored", show_default=True,
    help="Return when it is on the relay's disk, on a device of the other, or read.",
)  # fmt: skip
@click.option("--timeout", type=click.FloatRange(0.01), default=10, show_default=True, metavar="S", help="For --until.")
@connection_options
def send(
    to: str,
    text: tuple[str, ...],
    lines: bool,
    as_json: bool,
    quiet: bool,
    until: str,
    timeout: float,
    url: str,
) -> None:
    """Send a message; TEXT `-` reads standard input. Returns when it is on the relay's disk.

    The text may be several words. One line end at the end of standard input is left out.
    """
    if lines and text != ("-",):
        raise CommandError("--lines goes with `-`, which reads standard input", Exit.USAGE)
    if lines and until != "stored":
        raise CommandError("--until goes with one message, not with --lines", Exit.USAGE)
    with connected(url, timeout=timeout) as client:
        if lines:
            _send_lines(client, to, as_json, quiet)
        else:
            _send_one(client, to, _read_stdin() if text == ("-",) else " ".join(text), until, as_json, quiet)


def _send_one(client: "Client", to: str, value: str | bytes, until: str, as_json: bool, quiet: bool) -> None:
    posted = client.post(to, value)
    stored = posted.wait()
    if not as_json and not quiet:
        put_line(f"stored as {stored.conversation} {stored.offset}")
    try:
        if until != "stored":
            fate = posted.wait_read() if until == "read" else posted.wait_delivered()
            if not as_json and not quiet:
                put_line(escape_line(f"delivered to {', '.join(fate.delivered_to)}"))
                if until == "read":
                    put_line(escape_line(f"read by {', '.join(fate.read_by)}"))
    finally:
        if as_json:
            put_json(_stored_row(stored, to) | _fate_row(posted, until))


def _fate_row(posted: "Posted", until: str) -> dict[str, Any]:
    if until == "stored":
        return {}
    state, _, delivered_to, read_by, _ = posted.fate
    return {"state": str(state), "delivered_to": list(delivered_to), "read_by": list(read_by)}


def _send_lines(client: "Client", to: str, as_json: bool, quiet: bool) -> None:
    count = 0
    for stored in _store_lines(client, to):
        count += 1
        if as_json:
            put_json(_stored_row(stored, to))
    if not as_json and not quiet:
        put_line(f"stored {count} messages")


def _store_lines(client: "Client", to: str) -> Iterator["Stored"]:
    """Each line as soon as it is there; up to a window of messages is under way, acknowledged in order."""
    posted = []
    for line in sys.stdin.buffer:
        posted.append(client.post(to, _text_or_bytes(line.removesuffix(b"\n").removesuffix(b"\r"))))
        while posted and posted[0].done:
            yield posted.pop(0).wait()
    for message in posted:
        yield message.wait()


def _stored_row(stored: "Stored", to: str) -> dict[str, Any]:
    row = {"conversation": stored.conversation, "offset": stored.offset, "id": stored.id, "to": to}
    return row | {"time": iso_time(stored.time)}


def _read_stdin() -> str | bytes:
    return _text_or_bytes(sys.stdin.buffer.read())


def _text_or_bytes(data: bytes) -> str | bytes:
    """Text if it is UTF-8, then without its last line end; the bytes as they are otherwise."""
    try:
        return data.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        return data


@click.command(epilog=examples("relay signal bob 'typing ...'", "relay signal bob/phone ring"))
@_to
@click.argument("text", nargs=-1, required=True)
@connection_options
def signal(to: str, text: tuple[str, ...], url: str) -> None:
    """Send a signal: it reaches sessions that are online now, at most once. Nothing is kept."""
    with connected(url) as client:
        client.signal(to, _read_stdin() if text == ("-",) else " ".join(text))


@click.command(
    epilog=examples(
        "relay call calculator add 1 2",
        "relay call printer/office print copies=2 name=report.pdf",
        'relay call --timeout 60 build run \'["make", "test"]\'',
        "relay call relay relay.info",
    )
)
@_to
@click.argument("method")
@click.argument("arguments", nargs=-1)
@click.option("--timeout", type=click.FloatRange(0.01, 600), default=10, show_default=True, help="Seconds to wait.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON, also if it is text.")
@connection_options
def call(
    to: str,
    method: str,
    arguments: tuple[str, ...],
    timeout: float,
    as_json: bool,
    url: str,
) -> None:
    """Call a method and print the result.

    TO is a user, a session (bob/phone) or the relay. Each argument is a JSON value if it reads as one, text
    otherwise; `name=value` gives arguments by name. Text and bytes are printed as they are, other results as JSON.
    """
    positional, named = parse_arguments(arguments)
    with connected(url, timeout=max(timeout, 10)) as client:
        result = client.call(to, method, *positional, timeout=timeout, **named)
    if as_json or not isinstance(result, str | bytes):
        put_json(result)
    elif sys.stdout.isatty():
        put_line(escape(plain(result)))
    else:
        click.echo(result if isinstance(result, bytes) else result.encode(), nl=isinstance(result, str))


def parse_arguments(arguments: tuple[str, ...]) -> tuple[list[Any], dict[str, Any]]:
    """(positional, named) arguments of a call, from words of the command line."""
    positional: list[Any] = []
    named: dict[str, Any] = {}
    for word in arguments:
        name, equals, value = word.partition("=")
        if equals and name.isidentifier():
            named[name] = _json_or_text(value)
        else:
            positional.append(_json_or_text(word))
    if positional and named:
        raise CommandError("give the arguments all by position or all by name", Exit.USAGE)
    return positional, named


def _json_or_text(word: str) -> Any:
    try:
        return json.loads(word, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return word


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
