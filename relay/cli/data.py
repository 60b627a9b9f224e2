"""`relay backup`, `restore`, `verify`, `export` and `import`: what is in a data directory, as a whole.

They work on the database itself, those that only read also beside a running relay. Progress is shown on a terminal.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from relay.cli.accounts import data_options
from relay.cli.display import escape_line, json_text, put_json
from relay.cli.outcome import CommandError, Exit, examples
from relay.config import Settings

if TYPE_CHECKING:
    from relay.store.sqlite.verify import Report

_FILE = click.Path(path_type=Path, allow_dash=True)

# A message of 1 MiB in base64 and everything around it fit several times.
_LINE_MAX_BYTES = 8 * 1024 * 1024

_SHOW_EVERY = 1000

_NEW = os.O_CREAT | os.O_EXCL | os.O_WRONLY


@click.command(
    epilog=examples(
        "relay backup /backup/relay-$(date +%F).db --data /var/lib/relay",
        "relay backup latest.db --force && relay verify latest.db",
    )
)
@click.argument("target", type=_FILE, metavar="FILE")
@click.option("--force", is_flag=True, help="Replace the file if it exists.")
@data_options
def backup(target: Path, force: bool, settings: Settings) -> None:
    """Copy the database to one file, and the contents of files into FILE.files, while the relay runs or not.

    The copy holds everything that was acknowledged when it began, is synced to the disk, and gets its name when it is
    complete. The relay goes on meanwhile.
    """
    with _explained(), _progress("backing up") as show:
        from relay.store.sqlite.backup import back_up  # noqa: PLC0415 - brings apsw

        size = back_up(settings.data, target, force=force, on_progress=show)
    _report(f"backed up {settings.data} to {target}, {size} bytes")


@click.command(
    epilog=examples(
        "relay restore /backup/relay-2026-01-31.db --data /var/lib/relay",
        "relay restore latest.db --data data --force",
    )
)
@click.argument("source", type=_FILE, metavar="FILE")
@click.option("--force", is_flag=True, help="Put data that is there already aside, into a directory beside it.")
@data_options
def restore(source: Path, force: bool, settings: Settings) -> None:
    """Make a data directory from a backup. The relay must be stopped.

    The backup is verified first, and refused if it is damaged. Clients that connect again notice that they deal with an
    earlier state, and take what they get from then on as new.
    """
    with _explained(), _progress("restoring") as show:
        from relay.store.sqlite.backup import restore  # noqa: PLC0415 - brings apsw

        aside = restore(source, settings.data, force=force, on_progress=show)
    if aside:
        _report(f"what was there before is in {aside}")
    _report(f"restored {source} to {settings.data}")


@click.command(epilog=examples("relay verify --data /var/lib/relay", "relay verify latest.db --json | jq .findings"))
@click.argument("source", type=_FILE, metavar="[FILE]", required=False)
@click.option("--json", "as_json", is_flag=True, help="The result as one JSON object.")
@data_options
def verify(source: Path | None, as_json: bool, settings: Settings) -> int:
    """Check the data directory, or FILE, a backup: every message and file against its checksum, and what must agree.

    Reads only, also beside a running relay. Exit code 0 if everything is whole, 1 if not.
    """
    with _explained(), _progress("verifying") as show:
        from relay.store.sqlite.database import DATABASE_FILE  # noqa: PLC0415 - brings apsw
        from relay.store.sqlite.verify import verify  # noqa: PLC0415

        path = source or settings.data / DATABASE_FILE
        report = verify(path, show)
    if as_json:
        put_json({"file": str(path), "whole": not report.findings, **_counts(report), "more": report.more,
                  "findings": [finding._asdict() for finding in report.findings],
                "remarks": [remark._asdict() for remark in report.remarks]})  # fmt: skip
    else:
        _print_report(path, report)
    return Exit.FAILED if report.findings else Exit.OK


@click.command(
    epilog=examples(
        "relay export relay.jsonl --data /var/lib/relay",
        "relay export - --keys | gzip > relay.jsonl.gz",
        """relay export - | jq -r 'select(.type == "message" and .to == "bob").body'""",
    )
)
@click.argument("target", type=_FILE, metavar="FILE")
@click.option("--keys", is_flag=True, help="With the keys that check passwords. Without, set all passwords anew.")
@click.option("--force", is_flag=True, help="Replace the file if it exists.")
@data_options
def export(target: Path, keys: bool, force: bool, settings: Settings) -> None:
    """Write accounts, rooms, messages, devices and cursors as JSON lines to FILE, `-` for stdout.

    It is one consistent snapshot, also beside a running relay. docs/operations.md explains the records.
    """
    with _explained(), _progress("exporting") as show:
        from relay.store.sqlite.database import DATABASE_FILE  # noqa: PLC0415 - brings apsw
        from relay.store.sqlite.export import exporting  # noqa: PLC0415

        with exporting(settings.data / DATABASE_FILE, keys) as (total, records), _writing(target, force) as write:
            for done, record in enumerate(records):
                write(f"{json_text(record)}\n".encode())
                if done % _SHOW_EVERY == 0:
                    show(done, max(total, done))
            show(1, 1)
    _report(f"exported {settings.data} to {'stdout' if str(target) == '-' else target}")


@click.command(
    "import",
    epilog=examples(
        "relay import relay.jsonl --data /var/lib/relay", "zcat relay.jsonl.gz | relay import - --data new"
    ),
)
@click.argument("source", type=_FILE, metavar="FILE")
@data_options
def import_(source: Path, settings: Settings) -> None:
    """Make a data directory from what `relay export` wrote, FILE or `-` for stdin.

    The directory must not have a database. Every line is checked; the first bad one is named and nothing is imported.
    """
    with _explained(), _progress("importing") as show:
        from relay.store.sqlite.intake import take_in  # noqa: PLC0415 - brings apsw

        try:
            with sys.stdin.buffer if str(source) == "-" else source.open("rb") as file:
                count = take_in(_records(file), settings.data, show)
        except OSError as error:
            raise CommandError(f"{source} cannot be read: {error.strerror}") from None
    _report(f"imported {count} records to {settings.data}")


@contextmanager
def _writing(target: Path, force: bool) -> Iterator[Callable[[bytes], object]]:
    """Something that writes to stdout, or to a file that gets its name when it is complete."""
    if str(target) == "-":
        yield sys.stdout.buffer.write
        sys.stdout.buffer.flush()
        return
    from relay.store.sqlite.backup import writing  # noqa: PLC0415 - brings apsw

    with writing(target, force) as part, os.fdopen(os.open(part, _NEW, 0o600), "wb") as file:
        yield file.write


def _records(file: BinaryIO) -> Iterator[object]:
    """What each line says. Raises ValueError for one that is not JSON."""
    while line := file.readline(_LINE_MAX_BYTES):
        if not line.endswith(b"\n"):
            raise ValueError("the line is cut off, or too long")
        try:
            yield json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"not JSON in UTF-8: {error}") from None


def _print_report(path: Path, report: "Report") -> None:
    for finding in (*report.findings, *report.remarks):
        click.echo(f"{finding.part}: {escape_line(finding.sentence)}")
    if report.more:
        click.echo(f"and {report.more} more")
    counts = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in _counts(report).items())
    click.echo(f"{path}: {'DAMAGED; restore a backup' if report.findings else 'whole'}: {counts}")


def _counts(report: "Report") -> dict[str, int]:
    names = ("users", "devices", "rooms", "conversations", "messages", "message_bytes", "files", "file_bytes")
    return {name: getattr(report, name) for name in names}


@contextmanager
def _explained() -> Iterator[None]:
    from relay.store.base import StoreError  # noqa: PLC0415 - only for commands that use the store

    try:
        yield
    except StoreError as error:
        raise CommandError(str(error)) from None


@contextmanager
def _progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal, nothing elsewhere. It takes (done, total), of several counts one after the other."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    with click.progressbar(length=1, label=what, file=sys.stderr) as bar:

        def show(done: int, total: int) -> None:
            bar.length = max(total, 1)
            bar.update(min(done, total) - bar.pos)

        yield show


def _report(sentence: str) -> None:
    click.echo(escape_line(sentence), err=True)
