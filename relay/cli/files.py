"""`relay file`: send, fetch and receive files of any size."""

import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from relay.cli.connection import (
    complete_address,
    complete_file,
    complete_user,
    connected,
    connection_options,
    exit_code,
)
from relay.cli.display import escape_line, human_size, iso_time, put_json, put_line
from relay.cli.outcome import CommandError, Exit, examples
from relay.cli.progress import Progress, shown_progress

if TYPE_CHECKING:
    from relay_client.files.fetching import ReceivedFile
    from relay_client.files.group import SentFile
    from relay_client.files.receiving import OfferedFile, Receiving

# Without progress, before a command gives up. A relay that is started anew is back long before.
PATIENCE_S = 300.0

# How long `receive --count` waits for the senders of the last files to have understood.
FAREWELL_S = 5.0

GOES_ON = "the same command goes on from here"

_json = click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
_overwrite = click.option("--overwrite", is_flag=True, help="Replace a file of the same name.")
_number = click.option("--number", is_flag=True, help="If the name is taken, add a number: report (1).pdf.")


def _complete_path_or_address(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem | str]:
    return [CompletionItem(incomplete, type="file"), *complete_address(ctx, param, incomplete)]


@click.group(
    "file",
    epilog=examples(
        "relay file send report.pdf bob",
        "relay file list bob",
        "relay file get k3x9a7bcdefg",
        "relay file receive inbox",
    ),
)
def file() -> None:
    """Files of any size, to users and rooms.

    The relay keeps a file for those who are not there, for as long as it is set up to. What is interrupted goes on
    where it stood when the same command is given again.
    """


@file.command(
    epilog=examples(
        "relay file send report.pdf bob",
        "relay file send *.jpg '#holidays'",
        "tar cz src | relay file send - bob --name src.tgz",
        "relay file send --direct disk.img bob             # bob runs: relay file receive",
        "relay file send report.pdf bob --json | jq -r .id",
    )
)
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", shell_complete=_complete_path_or_address)
@click.argument("to", shell_complete=_complete_path_or_address)
@click.option("--name", help="What the file is called there; needed for standard input (-).")
@click.option("--type", "media_type", metavar="TYPE", help="Its media type. Default: what its name says.")
@click.option("--direct", is_flag=True, help="To a session that receives files now; the relay keeps nothing.")
@click.option("--quiet", "-q", is_flag=True, help="Print nothing.")
@_json
@connection_options
def send(
    paths: tuple[str, ...],
    to: str,
    name: str | None,
    media_type: str | None,
    direct: bool,
    quiet: bool,
    as_json: bool,
    url: str,
) -> None:
    """Send files to a user or a room ('#ops'), where a message tells of each. `-` is standard input.

    Returns when they are on the relay's disk, or with --direct on that of the other. JSON: id, name, size, hash, type,
    to, conversation, offset.
    """
    if "-" in paths and (len(paths) > 1 or name is None):
        raise CommandError("standard input goes alone and needs a name: relay file send - bob --name NAME", Exit.USAGE)
    if name is not None and len(paths) > 1:
        raise CommandError("--name goes with one file", Exit.USAGE)
    rest = list(paths)
    with connected(url) as client, shown_progress() as progress, _resumable(lambda: _what_goes_on(paths, rest)):
        for path in paths:
            _start(progress, name or Path(path).name)
            source: Any = sys.stdin.buffer if path == "-" else path
            sent = client.files.send(
                source, to, name=name, content_type=media_type, direct=direct, progress=progress, patience_s=PATIENCE_S
            )
            del rest[0]
            _start(progress, "")
            if as_json:
                put_json(_sent_row(sent, to))
            elif not quiet:
                put_line(escape_line(f"sent {sent.name} ({human_size(sent.size)}) to {to}{_place(sent)}"))


def _what_goes_on(paths: tuple[str, ...], rest: list[str]) -> str:
    """What is to be told to whoever interrupts; empty if nothing goes on."""
    if "-" in paths or not rest:
        return ""
    return GOES_ON if len(rest) == len(paths) else f"the same command with {shlex.join(rest)} alone goes on from here"


def _place(sent: "SentFile") -> str:
    return f": relay file get {sent.id}" if sent.id else ""


@file.command(
    epilog=examples(
        "relay file get k3x9a7bcdefg",
        "relay file get k3x9a7bcdefg -o downloads/",
        "relay file get k3x9a7bcdefg -o report-of-bob.pdf",
        "relay file get k3x9a7bcdefg -o - | tar xz",
    )
)
@click.argument("id", shell_complete=complete_file)
@click.option(
    "--output", "-o", "output", default=".", metavar="PLACE", type=click.Path(),
    help="A directory, a file, or - for standard output. Default: here, under its name.",
)  # fmt: skip
@_overwrite
@_number
@_json
@connection_options
def get(id: str, output: str, overwrite: bool, number: bool, as_json: bool, url: str) -> None:
    """Fetch a file by its id, which the message about it and `relay file list` show.

    It appears once it is whole and its SHA-256 is right. To standard output it comes in verified pieces; whether it was
    whole, the exit code tells. JSON: path, name, size, hash, type, from.
    """
    if output == "-" and (sys.stdout.isatty() or as_json):
        raise CommandError("-o - writes the content to standard output: send that into a file or a pipe", Exit.USAGE)
    into, name = _target(output)
    with connected(url) as client, shown_progress() as progress, _resumable(lambda: GOES_ON if output != "-" else ""):
        _start(progress, name or id)
        received = client.files.get(
            id, into, name=name, overwrite=overwrite, numbered=number, progress=progress, patience_s=PATIENCE_S
        )
        _start(progress, "")
        if output == "-":
            sys.stdout.buffer.flush()
        else:
            _show_received(received, as_json)


def _target(output: str) -> tuple[Any, str | None]:
    """(directory or file object, name)."""
    if output == "-":
        return sys.stdout.buffer, None
    path = Path(output)
    if output.endswith("/") or path.is_dir():
        return path, None
    return path.parent, path.name


@file.command(
    "list", epilog=examples("relay file list", "relay file list '#ops'", "relay file list --json | jq -r .id")
)
@click.argument("conversation", required=False, shell_complete=complete_address)
@click.option("--last", type=click.IntRange(min=1), metavar="N", help="The newest N.")
@_json
@connection_options
def list_files(conversation: str | None, last: int | None, as_json: bool, url: str) -> None:
    """Show the files that you may fetch, the newest first: all, or those of a user or a room.

    JSON: id, name, size, hash, type, from, conversation, time, expires.
    """
    with connected(url) as client:
        for found in client.files.list(conversation, limit=last):
            row = found._asdict()
            row["from"] = row.pop("sender")
            row |= {"hash": found.hash.hex(), "time": iso_time(found.time)}
            row["expires"] = iso_time(found.expires) if found.expires else None
            if as_json:
                put_json(row)
            else:
                size, day = human_size(found.size), found.time.astimezone().strftime("%Y-%m-%d %H:%M")
                where = f"{found.sender} in {found.conversation}"
                put_line(escape_line(f"{found.id}  {size:>9}  {day}  {where:24}  {found.name}"))


@file.command(epilog=examples("relay file remove k3x9a7bcdefg"))
@click.argument("id", shell_complete=complete_file)
@connection_options
def remove(id: str, url: str) -> None:
    """Have the relay keep a file no longer that you sent. Who has fetched it keeps it."""
    with connected(url) as client:
        client.files.remove(id)


@file.command(epilog=examples("relay file usage", "relay file usage --json | jq .used_bytes"))
@_json
@connection_options
def usage(as_json: bool, url: str) -> None:
    """Show how much your files take on the relay, and may take. JSON: used_bytes, quota_bytes (0: no limit)."""
    with connected(url) as client:
        found = client.files.usage()
        if as_json:
            put_json(found._asdict())
        else:
            most = f" of {human_size(found.quota_bytes)}" if found.quota_bytes else ""
            put_line(human_size(found.used_bytes) + most)


@file.command(
    epilog=examples(
        "relay file receive",
        "relay file receive inbox --from bob --from carol",
        "relay file receive inbox --number --json >> received.jsonl",
    )
)
@click.argument("directory", default=".", type=click.Path(file_okay=False))
@click.option("--from", "senders", multiple=True, metavar="USER", shell_complete=complete_user, help="Only from these.")
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="Leave after N files.")
@_overwrite
@_number
@_json
@connection_options
def receive(
    directory: str,
    senders: tuple[str, ...],
    count: int | None,
    overwrite: bool,
    number: bool,
    as_json: bool,
    url: str,
) -> None:
    """Take files that are sent to you with --direct, into a directory, until Ctrl-C.

    Each appears once it is whole and its SHA-256 is right. JSON: path, name, size, hash, type, from.
    """
    seen: list[ReceivedFile] = []
    with connected(url) as client, shown_progress() as progress:

        def on_file(received: "ReceivedFile") -> None:
            _show_received(received, as_json)
            seen.append(received)
            client.wake()

        def accept(offered: "OfferedFile") -> bool:
            return not senders or offered.sender.partition("/")[0] in senders

        client.on_event(_tell_of_return)
        receiving = client.files.serve(
            directory, accept=accept, on_file=on_file, overwrite=overwrite, numbered=number, progress=_drawn(progress)
        )
        click.echo(escape_line(f"relay: receiving into {directory} as {client.session}; Ctrl-C ends it"), err=True)
        client.wait_until(lambda: count is not None and len(seen) >= count)
        _let_end(receiving)


def _tell_of_return(event: object) -> None:
    """Say that the connection is there again; the SDK has said why it was not."""
    from relay_client.events import Connected  # noqa: PLC0415

    if isinstance(event, Connected) and event.again:
        click.echo("relay: connected again", err=True)


def _let_end(receiving: "Receiving") -> None:
    """Wait a little until senders know that their files are here."""
    until = time.monotonic() + FAREWELL_S
    while receiving.under_way and time.monotonic() < until:
        time.sleep(0.02)


def _drawn(progress: Progress | None) -> Any:
    """Draws whichever file something came of last."""
    if progress is None:
        return None
    shown = ""

    def draw(offered: "OfferedFile", done: int) -> None:
        nonlocal shown
        if shown != offered.upload:
            shown = offered.upload
            progress.start(offered.name)
        progress(done, offered.size)

    return draw


def _start(progress: Progress | None, name: str) -> None:
    """The next file, or none, which clears the line."""
    if progress is not None:
        progress.start(name)
        if not name:
            progress.clear()


def _show_received(received: "ReceivedFile", as_json: bool) -> None:
    if as_json:
        row = received._asdict()
        row["from"] = row.pop("sender")
        put_json(row | {"path": str(received.path), "hash": received.hash.hex()})
    else:
        size = human_size(received.size)
        put_line(escape_line(f"received {received.path} ({size}) from {received.sender}"))


def _sent_row(sent: "SentFile", to: str) -> dict[str, Any]:
    row = {"id": sent.id, "name": sent.name, "size": sent.size, "hash": sent.hash.hex(), "type": sent.type, "to": to}
    return row | {"conversation": sent.stored.conversation, "offset": sent.stored.offset}


@contextmanager
def _resumable(what: Callable[[], str]) -> Iterator[None]:
    """Say `what` goes on, if anything does, to somebody who stops it, and when the other end is away."""
    from relay_client import errors  # noqa: PLC0415

    passing = (errors.ConnectionLost, errors.NotConnected, errors.TimedOut, errors.StreamReset)
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        if what():
            line_end = "\n" if sys.stderr.isatty() else ""  # behind the ^C that the terminal shows
            click.echo(f"{line_end}relay: stopped; {what()}", err=True)
        raise
    except passing as error:
        sentence, passes = _explained(error)
        raise CommandError(f"{sentence}; {what()}" if passes and what() else sentence, exit_code(error)) from error


def _explained(error: Exception) -> tuple[str, bool]:
    """The sentence for a person, and whether the same may work later. Names of services mean nothing to people."""
    from relay_client.errors import StreamReset  # noqa: PLC0415

    from relay.protocol.codes import ErrorCode  # noqa: PLC0415

    if not isinstance(error, StreamReset):
        return str(error), True
    if error.code in (ErrorCode.NO_SUCH_SERVICE, ErrorCode.NO_SUCH_SESSION) and error.peer != "relay":
        there = f"{error.peer} does not receive files at this moment"
        return f"{there}: leave out --direct, or send again when `relay file receive` runs there", False
    who = "" if error.peer in ("", "relay") else f"{error.peer}: "
    return who + error.sentence, 300 <= error.code < 400
