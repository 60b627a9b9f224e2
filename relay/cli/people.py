"""`relay who`, `block`, `unblock` and `blocks`: who is there, and whom one does not want to hear from."""

import queue
from typing import TYPE_CHECKING

import click

from relay.cli.connection import complete_user, connected, connection_options
from relay.cli.display import colours_wanted, escape_line, iso_time, paint, put_json, put_line
from relay.cli.outcome import examples

if TYPE_CHECKING:
    from relay_client import Client, Online, Presence

_user = click.argument("user", shell_complete=complete_user)


@click.command(epilog=examples("relay who", "relay who --json | jq -r .user", "relay who --watch"))
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line: user, sessions, bot.")
@click.option("--watch", is_flag=True, help="Show people you share a conversation with, as they come and go.")
@connection_options
def who(as_json: bool, watch: bool, url: str) -> None:
    """Show who is online now, and with which devices.

    With --watch: who of the people in your conversations is online, away or offline, then each change, until Ctrl-C;
    with --json user, state, seen.
    """
    with connected(url) as client:
        if watch:
            _watch(client, as_json)
        for online in client.who():
            _show_online(online, as_json)


def _watch(client: "Client", as_json: bool) -> None:
    from relay_client import Ended, Presence  # noqa: PLC0415

    events: queue.SimpleQueue[object] = queue.SimpleQueue()
    client.on_event(events.put)
    for presence in client.people.watch():
        _show_presence(presence, as_json)
    while True:
        match events.get():
            case Presence() as presence:
                _show_presence(presence, as_json)
            case Ended(error):
                raise error


def _show_online(online: "Online", as_json: bool) -> None:
    if as_json:
        put_json(online._asdict())
        return
    mark = " (bot)" if online.bot else ""
    name = escape_line(online.user)
    put_line(_padded(name, mark) + escape_line(", ".join(online.sessions)))


def _show_presence(presence: "Presence", as_json: bool) -> None:
    seen = None if presence.seen is None else iso_time(presence.seen)
    if as_json:
        put_json({"user": presence.user, "state": presence.state, "seen": seen})
        return
    since = f", seen {seen}" if seen and presence.state == "offline" else ""
    put_line(_padded(escape_line(presence.user)) + escape_line(presence.state) + since)


def _padded(name: str, mark: str = "") -> str:
    return f"{paint(name, colours_wanted())}{mark}{' ' * (24 - len(name + mark))} "


@click.command(epilog=examples("relay block mallory"))
@_user
@connection_options
def block(user: str, url: str) -> None:
    """Hear no more from a user: messages and calls are refused, signals dropped. Rooms are not affected."""
    with connected(url) as client:
        client.blocks.add(user)


@click.command(epilog=examples("relay unblock mallory"))
@_user
@connection_options
def unblock(user: str, url: str) -> None:
    """Hear from a blocked user again."""
    with connected(url) as client:
        client.blocks.remove(user)


@click.command(epilog=examples("relay blocks", "relay blocks --json"))
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line: user.")
@connection_options
def blocks(as_json: bool, url: str) -> None:
    """Show whom you block, one a line."""
    with connected(url) as client:
        for user in client.blocks.list():
            if as_json:
                put_json({"user": user})
            else:
                put_line(escape_line(user))
