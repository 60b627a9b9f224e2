"""`relay expose` and `relay forward`: the two ends of a tunnel."""

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NoReturn, TypeVar

import click

from relay.cli.connection import connection_options, explained
from relay.cli.display import escape_line, put_line
from relay.cli.outcome import CommandError, Exit, end_on_sigterm, examples, join, log_warnings

if TYPE_CHECKING:
    from relay_client import aio
    from relay_tunnel import Exposure, Forward

T = TypeVar("T", "Exposure", "Forward")

_verbose = click.option("--verbose", "-v", is_flag=True, help="Say on stderr what becomes of each connection.")
_device = click.option("--device", metavar="NAME", help="Which of your devices this is. Default: a new one.")


@click.command(
    epilog=examples(
        "relay expose 8080 --as web --to alice,bob   # they use: relay forward YOU/web 9090",
        "relay expose db.lan:5432 --as db --to ops",
        "relay expose unix:/run/docker.sock --as docker",
        "relay expose 22 --as ssh --to '*' -v",
    )
)
@click.argument("target")
@click.option("--as", "name", required=True, metavar="NAME", help="What others call it.")
@click.option(
    "--to", "users", multiple=True, metavar="USER,...",
    help="Who may connect; '*' is everybody. Default: only you, from your other devices.",
)  # fmt: skip
@_verbose
@_device
@connection_options
def expose(target: str, name: str, users: tuple[str, ...], verbose: bool, device: str | None, url: str) -> None:
    """Let others connect to TARGET through the relay, until Ctrl-C.

    TARGET is a port of this machine, HOST:PORT or unix:PATH. No port is opened: whoever wants to connect runs
    `relay forward`. Each connection is a stream of its own.
    """
    from relay_tunnel import Exposure, checked_name, parse_place  # noqa: PLC0415 - brings asyncio and the SDK

    with explained():
        place = parse_place(target)
        checked_name(name)
    if not place.path and not place.port:
        raise CommandError(f"{target!r} is no port to connect to; expected 1 to 65535", Exit.USAGE)
    allowed = _users(users)

    def make(client: "aio.Client") -> "Exposure":
        return Exposure(client, name, place, frozenset({client.user}) if allowed == frozenset() else allowed)

    async def tell(client: "aio.Client", exposure: "Exposure") -> None:
        to = "everybody" if allowed is None else join(sorted(allowed)) if allowed else "your other devices"
        put_line(escape_line(f"exposing {place} as {client.user}/{name} to {to}"))
        if problem := await exposure.probe():
            click.echo(f"relay: nothing answers at {place} now: {escape_line(problem)}", err=True)

    _run(url, device, verbose, make, tell)


@click.command(
    epilog=examples(
        "relay forward alice-server/web 9090         # then open http://127.0.0.1:9090",
        "relay forward alice-server/db --listen unix:/tmp/db.sock",
        "relay forward alice-server/ssh 0            # the system chooses the port",
        "relay forward alice-server/web --listen 0.0.0.0:9090   # for the whole network",
    )
)
@click.argument("tunnel", metavar="USER/NAME")
@click.argument("port", required=False)
@click.option("--listen", "place", metavar="PLACE", help="HOST:PORT or unix:PATH instead of a port of this machine.")
@_verbose
@_device
@connection_options
def forward(tunnel: str, port: str | None, place: str | None, verbose: bool, device: str | None, url: str) -> None:
    """Listen on this machine, and connect what comes with what USER exposes as NAME, until Ctrl-C.

    A PORT is one of 127.0.0.1, so only programs of this machine reach it. The file of a Unix socket is for you alone.
    USER/DEVICE/NAME means what is exposed by that device.
    """
    from relay_tunnel import Forward, parse_place, parse_tunnel  # noqa: PLC0415 - brings asyncio and the SDK

    if (port is None) == (place is None):
        raise CommandError("give a port, or --listen with HOST:PORT or unix:PATH", Exit.USAGE)
    with explained():
        to = parse_tunnel(tunnel)
        where = parse_place(port or place or "")

    async def tell(client: "aio.Client", forward: "Forward") -> None:
        put_line(escape_line(f"listening on {forward.place} for {to}"))

    _run(url, device, verbose, lambda client: Forward(client, to, where), tell)


def _users(words: tuple[str, ...]) -> frozenset[str] | None:
    """Who is named by --to: None for everybody, empty if nobody was."""
    from relay.protocol.addresses import AddressError, prepare_name  # noqa: PLC0415

    names = [name for word in words for name in word.split(",") if name]
    if "*" in names:
        return None
    try:
        return frozenset(map(prepare_name, names))
    except AddressError as error:
        raise CommandError(f"--to: {error}", Exit.USAGE) from None


def _run(
    url: str,
    device: str | None,
    verbose: bool,
    make: Callable[["aio.Client"], T],
    tell: Callable[["aio.Client", T], Awaitable[None]],
) -> NoReturn:
    """Run one end of a tunnel until a signal comes, or the relay wants us no more, and exit. `tell` says that it
    works."""
    end_on_sigterm()
    log_warnings()
    if verbose:
        logging.getLogger("relay_tunnel").setLevel(logging.INFO)
    with explained():
        raise SystemExit(asyncio.run(_keep(url, device, make, tell)))


async def _keep(
    url: str,
    device: str | None,
    make: Callable[["aio.Client"], T],
    tell: Callable[["aio.Client", T], Awaitable[None]],
) -> int:
    from relay_client import aio  # noqa: PLC0415
    from relay_client.events import Connected, Ended, Event  # noqa: PLC0415

    end: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def notice(event: Event) -> None:
        if isinstance(event, Connected) and event.again:
            click.echo("relay: connected again", err=True)
        elif isinstance(event, Ended) and not end.done():
            end.set_exception(event.error)

    client = aio.Client(url, device=device, receive=False)
    client.on_event(notice)
    async with client:
        for number, code in ((signal.SIGINT, Exit.INTERRUPTED), (signal.SIGTERM, Exit.TERMINATED)):
            asyncio.get_running_loop().add_signal_handler(number, _settle, end, code)
        tunnel = make(client)
        try:
            await tunnel.start()
            await tell(client, tunnel)
            return await end
        finally:
            await tunnel.close()


def _settle(end: "asyncio.Future[int]", code: int) -> None:
    if not end.done():
        end.set_result(code)
