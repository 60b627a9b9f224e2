"""`relay user ...`: the accounts in a data directory, whether a relay is running on it or not.

Works on the database itself. A running relay notices the change within a second. A password never stands in an
argument, where every user of the machine could read it.
"""

import functools
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from relay import config
from relay.cli.display import escape_line, iso_time, put_json
from relay.cli.outcome import CommandError, Exit, examples
from relay.cli.password import check_source, new_password
from relay.config import Settings

if TYPE_CHECKING:
    from relay.protocol.scram import Credentials
    from relay.store.sqlite import SqliteStore


def data_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--data and --config; the command gets the `settings` that they make."""

    @functools.wraps(command)
    def run(data: str | None, file: Path | None, **rest: Any) -> Any:
        return command(settings=config.load(file, os.environ, {"data": data}), **rest)

    add_file = click.option("--config", "file", type=click.Path(path_type=Path), help="The relay's configuration file.")
    add_data = click.option("--data", metavar="DIR", help="The relay's data directory. Default: RELAY_DATA or ./data.")
    return add_data(add_file(run))


def password_options(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")(command)


@click.group(
    epilog=examples(
        "relay user add alice",
        "relay user add --bot echo > echo.secret",
        "relay user list --data /var/lib/relay",
        "relay user disable mallory",
    )
)
def user() -> None:
    """Add, change, disable and list accounts, while the relay runs or not."""


@user.command(
    epilog=examples("relay user add alice", "relay user add alice --password-stdin < file", "relay user add --bot echo")
)
@click.argument("name")
@click.option("--bot", is_flag=True, help="A program's account: make a strong secret and print it, once.")
@password_options
@data_options
def add(name: str, bot: bool, password_stdin: bool, settings: Settings) -> None:
    """Add an account. Makes the data directory if there is none."""
    canonical = _canonical(name)
    if not bot:
        check_source(password_stdin)
    _make_directory(settings.data)
    with _store(settings, create=True) as store:
        if store.account(canonical) is not None:
            raise CommandError(f"{canonical} exists already; `relay user password {canonical}` sets a new password")
    password = secrets.token_urlsafe(32) if bot else new_password(canonical, password_stdin)
    credentials = _credentials(password, settings)
    with _store(settings, create=True) as store:
        store.add_account(canonical, credentials, bot, int(time.time() * 1000))
    _report(f"added {'bot' if bot else 'user'} {canonical}")
    if bot:
        _print_secret(password)


@user.command(epilog=examples("relay user password alice", "relay user password echo --generate"))
@click.argument("name")
@click.option("--generate", is_flag=True, help="Make a strong secret and print it, once.")
@password_options
@data_options
def password(name: str, generate: bool, password_stdin: bool, settings: Settings) -> None:
    """Set a new password. Sessions that are logged in end and have to log in again."""
    with _store(settings) as store:
        canonical = _existing(store, name)
    secret = secrets.token_urlsafe(32) if generate else new_password(canonical, password_stdin)
    credentials = _credentials(secret, settings)
    with _store(settings) as store:
        store.set_credentials(canonical, credentials)
    _report(f"the password of {canonical} is changed")
    if generate:
        _print_secret(secret)


@user.command(epilog=examples("relay user disable mallory"))
@click.argument("name")
@data_options
def disable(name: str, settings: Settings) -> None:
    """Refuse a user's logins and end her sessions within a second. Nothing is deleted."""
    with _store(settings) as store:
        canonical = _existing(store, name)
        store.set_disabled(canonical, True)
    _report(f"{canonical} is disabled")


@user.command(epilog=examples("relay user enable mallory"))
@click.argument("name")
@data_options
def enable(name: str, settings: Settings) -> None:
    """Let a disabled user log in again."""
    with _store(settings) as store:
        canonical = _existing(store, name)
        store.set_disabled(canonical, False)
    _report(f"{canonical} is enabled")


@user.command(epilog=examples("relay user remove mallory", "relay user remove mallory --yes"))
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@data_options
def remove(name: str, yes: bool, settings: Settings) -> None:
    """Remove an account and end its sessions. Its conversations stay for the others in them."""
    with _store(settings) as store:
        canonical = _existing(store, name)
    if not yes:
        _confirm(f"Remove {canonical}, with all devices? This cannot be undone.")
    with _store(settings) as store:
        store.remove_account(canonical)
    _report(f"{canonical} is removed")


@user.command("list", epilog=examples("relay user list", "relay user list --json | jq -r .name"))
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@data_options
def list_accounts(as_json: bool, settings: Settings) -> None:
    """List the accounts by name."""
    with _store(settings) as store:
        accounts = store.accounts()
    for account in accounts:
        created = datetime.fromtimestamp(account.created_ms / 1000, UTC)
        if as_json:
            row = {"name": account.name, "bot": account.bot, "disabled": account.disabled}
            put_json(row | {"created": iso_time(created)})
        else:
            marks = ", ".join(word for word, holds in (("bot", account.bot), ("disabled", account.disabled)) if holds)
            click.echo(f"{escape_line(account.name):24} {created:%Y-%m-%d} {marks}".rstrip())
    if not accounts and not as_json:
        _report("no accounts; `relay user add NAME` makes one")


def _canonical(name: str) -> str:
    """The name as the relay keeps it; says so if it differs from what was typed."""
    from relay.protocol.addresses import RELAY, AddressError, prepare_name  # noqa: PLC0415 - 10 ms

    try:
        canonical = prepare_name(name)
    except AddressError as error:
        raise CommandError(f"{name!r} cannot be a user name: {error}", Exit.USAGE) from None
    if canonical == RELAY:
        raise CommandError(f"{RELAY!r} is the relay's own name; choose another", Exit.USAGE)
    if canonical != name:
        _report(f"{name!r} is kept as {canonical!r}")
    return canonical


def _existing(store: "SqliteStore", name: str) -> str:
    canonical = _canonical(name)
    if store.account(canonical) is None:
        raise CommandError(f"no account {canonical!r}; `relay user list` shows them all")
    return canonical


def _make_directory(data: Path) -> None:
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"cannot make the data directory {data}: {error.strerror}") from None


@contextmanager
def _store(settings: Settings, create: bool = False) -> Iterator["SqliteStore"]:
    """The store in the data directory; only with `create` one is made where there is none."""
    from relay.store.base import StoreError  # noqa: PLC0415
    from relay.store.sqlite import SqliteStore  # noqa: PLC0415 - brings apsw
    from relay.store.sqlite.database import DATABASE_FILE  # noqa: PLC0415

    if not create and DATABASE_FILE not in _names_in(settings.data):
        raise CommandError(
            f"no relay's data is in {settings.data}; name its directory with --data, or add a user first"
        )
    try:
        store = SqliteStore(settings.data)
        try:
            yield store
        finally:
            store.close()
    except StoreError as error:
        raise CommandError(str(error)) from None


def _names_in(data: Path) -> list[str]:
    try:
        return os.listdir(data)  # noqa: PTH208 - names are what is asked for
    except FileNotFoundError:
        return []
    except OSError as error:
        raise CommandError(f"the data directory {data} cannot be read: {error.strerror}") from None


def _credentials(password: str, settings: Settings) -> "Credentials":
    from relay.protocol.scram import make_credentials  # noqa: PLC0415

    try:
        return make_credentials(password, settings.scram_iterations)
    except ValueError as error:
        raise CommandError(str(error)) from None


def _confirm(question: str) -> None:
    if not sys.stdin.isatty():
        raise CommandError("there is no terminal to ask on; add --yes", Exit.USAGE)
    if not click.confirm(question, err=True):
        raise CommandError("nothing was changed")


def _report(sentence: str) -> None:
    click.echo(escape_line(sentence), err=True)


def _print_secret(secret: str) -> None:
    """The secret alone on stdout, so that a script can take it; the explanation on stderr."""
    _report("its secret, which is shown only now:")
    click.echo(secret)
