"""`relay history`, `conversations`, `receipts` and `device`: what is kept, and for which devices."""

from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from relay.cli.connection import complete_address, connected, connection_options
from relay.cli.display import colours_wanted, escape_line, iso_time, message_line, put_json, put_line
from relay.cli.listen import message_row
from relay.cli.outcome import CommandError, Exit, examples

if TYPE_CHECKING:
    from relay_client import Client

_conversation = click.argument("conversation", shell_complete=complete_address)
_json = click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")


@click.command(
    epilog=examples(
        "relay history bob",
        "relay history '#ops' --last 1000 --json | jq -r .body",
        "relay history bob --after 120",
    )
)
@_conversation
@click.option("--last", type=click.IntRange(min=1), default=20, show_default=True, metavar="N", help="The newest N.")
@click.option("--before", type=click.IntRange(min=0), metavar="OFFSET", help="With --last: of those below this offset.")
@click.option("--after", type=click.IntRange(min=0), metavar="OFFSET", help="Everything behind this offset instead.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, as relay listen --json.")
@connection_options
def history(conversation: str, last: int, before: int | None, after: int | None, as_json: bool, url: str) -> None:
    """Show the messages of a conversation: with a user, or in a room ('#ops').

    Nothing is marked as read or delivered by it. What was asked for and is no longer kept is named on standard error.
    """
    if after is not None and before is not None:
        raise CommandError("give either --after or --before", Exit.USAGE)
    colours, count = colours_wanted(), 0
    with connected(url) as client:
        messages = client.history(conversation, after=after, before=before)
        if after is None:
            messages = reversed(list(islice(messages, last)))
        for message in messages:
            if as_json:
                put_json(message_row(message))
            else:
                put_line(message_line(message, client.user, colours))
            count += 1
        _tell_deleted(client, conversation, after + 1 if after is not None else 1 if count < last else None, before)


def _tell_deleted(client: "Client", conversation: str, wanted: int | None, before: int | None) -> None:
    """Say on standard error which of the messages from offset `wanted` on retention has deleted."""
    if wanted is None:
        return
    place: Any = client.call("relay", "history.read", conversation=conversation, limit=1)
    last = min(place["kept"], before or place["kept"]) - 1
    if place["kept"] == place["first"] and wanted <= last:
        which = f"messages {wanted}-{last} are" if wanted < last else f"message {last} is"
        click.echo(f"{which} no longer kept", err=True)


@click.command(epilog=examples("relay conversations", "relay conversations --json | jq 'select(.unread > 0)'"))
@_json
@connection_options
def conversations(as_json: bool, url: str) -> None:
    """Show your conversations, and how much of each is unread.

    JSON: conversation, title, head and first (the last and the first offset kept), delivered, read, unread, time.
    """
    with connected(url) as client:
        for found in client.conversations.list():
            time = None if found.time is None else iso_time(found.time)
            if as_json:
                put_json(found._asdict() | {"time": time, "unread": found.unread})
            else:
                title = f"  {escape_line(found.title)}" if found.title else ""
                put_line(f"{escape_line(found.conversation):32} {found.unread} unread of {found.head}{title}")


@click.command(epilog=examples("relay receipts bob", "relay receipts '#ops' --json"))
@_conversation
@_json
@connection_options
def receipts(conversation: str, as_json: bool, url: str) -> None:
    """Show how far each device in a conversation is: up to which offset it has and has read the messages.

    JSON: user, device, delivered, read.
    """
    with connected(url) as client:
        for cursor in client.conversations.receipts(conversation):
            if as_json:
                put_json(cursor._asdict())
            else:
                address = escape_line(f"{cursor.user}/{cursor.device}")
                put_line(f"{address:32} delivered {cursor.delivered}, read {cursor.read}")


@click.group(epilog=examples("relay device list", "relay device forget old-phone"))
def device() -> None:
    """Your devices: the relay keeps messages for each until it has had them."""


@device.command("list", epilog=examples("relay device list", "relay device list --json | jq -r .device"))
@_json
@connection_options
def list_devices(as_json: bool, url: str) -> None:
    """Show your devices, and which of them are connected.

    JSON: device, created, seen (when it was connected last), online.
    """
    with connected(url) as client:
        for found in client.devices.list():
            seen = iso_time(found.seen)
            if as_json:
                put_json(found._asdict() | {"created": iso_time(found.created), "seen": seen})
            else:
                put_line(f"{escape_line(found.device):24} {'online' if found.online else f'offline, seen {seen}'}")


@device.command(epilog=examples("relay device forget old-phone"))
@click.argument("name")
@connection_options
def forget(name: str, url: str) -> None:
    """Keep nothing more for a device. If it is connected it is logged out."""
    with connected(url) as client:
        client.devices.forget(name)
