"""Commands that talk to a relay: their common options, and a logged-in client with its errors as sentences."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from relay.cli.outcome import CommandError, Exit, end_on_sigterm, log_warnings
from relay.cli.profile import DEFAULT, chosen_url, complete_profile, read_profiles

if TYPE_CHECKING:
    from relay_client import Client

# Long enough to log in nearby, short enough for somebody who pressed Tab.
_COMPLETION_TIMEOUT_S = 1.0


def connection_options(command: Callable[..., None]) -> Callable[..., None]:
    """--url and --profile; the command gets the complete `url` to use, password included."""

    @functools.wraps(command)
    def run(url: str | None, profile: str | None, **rest: Any) -> None:
        command(url=chosen_url(url, profile), **rest)

    return url_options(run)


def url_options(command: Callable[..., None]) -> Callable[..., None]:
    """--url and --profile, handed on as they are."""
    add_profile = click.option(
        "--profile", metavar="NAME", help="A profile of relay login.", shell_complete=complete_profile
    )
    return click.option(
        "--url", metavar="URL", help="relay://NAME@HOST[:PORT]. Default: RELAY_URL, then your profile."
    )(add_profile(command))


@contextmanager
def connected(url: str, device: str | None = None, timeout: float = 10, receive: bool = False) -> Iterator["Client"]:
    """A client that is logged in, closed in the end. Errors of the SDK become CommandErrors with their exit codes.

    Only with `receive` the relay keeps messages for the device.
    """
    from relay_client import Client  # noqa: PLC0415 - brings sockets, threads and the protocol

    end_on_sigterm()
    log_warnings()
    with explained(), Client(url, device=device, timeout=timeout, receive=receive) as client:
        yield client


@contextmanager
def explained() -> Iterator[None]:
    """Turn an SDK error into a CommandError."""
    from relay_client import RelayError  # noqa: PLC0415

    try:
        yield
    except RelayError as error:
        raise CommandError(_sentence(error), exit_code(error)) from error


def _sentence(error: Exception) -> str:
    """What the error says; of a refusal by the relay itself only its own sentence, which needs no method's name."""
    from relay_client.errors import CallFailed  # noqa: PLC0415

    return error.sentence if isinstance(error, CallFailed) and error.to == "relay" else str(error)


def exit_code(error: Exception) -> Exit:
    """The exit code for an error of the SDK."""
    from relay_client import errors  # noqa: PLC0415

    codes: list[tuple[tuple[type[Exception], ...], Exit]] = [
        ((errors.LoginFailed,), Exit.LOGIN_FAILED),
        ((errors.Replaced,), Exit.FAILED),
        ((errors.TimedOut,), Exit.TIMED_OUT),
        ((errors.BadUrl, errors.BadAddress, errors.BadValue), Exit.USAGE),
        (
            (errors.ConnectFailed, errors.ConnectionEnded, errors.ConnectionLost, errors.NotConnected),
            Exit.NO_CONNECTION,
        ),
    ]
    return next((code for kinds, code in codes if isinstance(error, kinds)), Exit.FAILED)


def complete_user(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Users who are online, for the shell."""
    return _complete(_users, incomplete)


def complete_room(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """One's own rooms and public ones, for the shell; without the mark unless it was typed."""
    marked = incomplete.startswith("#")
    return _complete(lambda client: [name if marked else name[1:] for name in _rooms(client, True)], incomplete)


def complete_address(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Users who are online and one's own rooms, for the shell."""
    return _complete(lambda client: [*_users(client), *_rooms(client, False)], incomplete)


def complete_file(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Ids of the latest files that one may fetch, for the shell."""
    return _complete(lambda client: [found.id for found in client.files.list(limit=20)], incomplete)


def complete_command(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """What the agent that was named offers, for the shell; nothing for further words."""
    from relay_agent.execution import offered_commands  # noqa: PLC0415

    if ctx.params.get("words"):
        return []
    return _complete(lambda client: [row["name"] for row in offered_commands(client, ctx.params["to"])], incomplete)


def _users(client: "Client") -> list[str]:
    return [online.user for online in client.who()]


def _rooms(client: "Client", everything: bool) -> list[str]:
    return [found.room for found in client.rooms.list(everything=everything)]


def _complete(names: "Callable[[Client], list[str]]", incomplete: str) -> list[CompletionItem]:
    """Asks the relay of the default profile, quietly."""
    from relay_client import Client, RelayError  # noqa: PLC0415

    try:
        if DEFAULT not in read_profiles():
            return []
        with Client(chosen_url(None, None), timeout=_COMPLETION_TIMEOUT_S, receive=False) as client:
            return [CompletionItem(name) for name in names(client) if name.startswith(incomplete)]
    except (CommandError, RelayError):
        return []
