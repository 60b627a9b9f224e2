"""`relay history` and `relay device`: what is kept, and for which devices."""

from typing import TYPE_CHECKING, Any

import click

from relay.cli.connection import complete_user, connected, connection_options
from relay.cli.display import colours_wanted, message_line, put_json, put_line
from relay.cli.listen import message_row
from relay.cli.outcome import examples

if TYPE_CHECKING:
    from relay_client import Client
    from relay_client.received import ReceivedMessage

_PAGE = 500


@click.command(
    epilog=examples(
        "relay history bob",
        "relay history '#ops' --last 1000 --json | jq -r .body",
        "relay history bob --after 120",
    )
)
@click.argument("conversation", shell_complete=complete_user)
@click.option("--last", type=click.IntRange(min=1), default=20, show_default=True, metavar="N", help="The newest N.")
@click.option("--after", type=click.IntRange(min=0), metavar="OFFSET", help="Everything behind this offset instead.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, as relay listen --json.")
@connection_options
def history(conversation: str, last: int, after: int | None, as_json: bool, url: str) -> None:
    """Show the messages of a conversation: with a user, or in a room ('#ops').

    Nothing is marked as read or delivered by it.
    """
    colours = colours_wanted()
    with connected(url) as client:
        for message in _newest(client, conversation, last) if after is None else _behind(client, conversation, after):
            if as_json:
                put_json(message_row(message))
            else:
                put_line(message_line(message, client.user, colours))


def _newest(client: "Client", conversation: str, count: int) -> "list[ReceivedMessage]":
    found: list[ReceivedMessage] = []
    before = None
    while len(found) < count:
        page = _read(client, conversation, before=before, limit=min(count - len(found), _PAGE))
        if not page:
            break
        found = page + found
        before = found[0].offset
    return found


def _behind(client: "Client", conversation: str, after: int) -> "list[ReceivedMessage]":
    found: list[ReceivedMessage] = []
    while page := _read(client, conversation, after=found[-1].offset if found else after, limit=_PAGE):
        found += page
    return found


def _read(client: "Client", conversation: str, **place: int | None) -> "list[ReceivedMessage]":
    from relay_client.received import stored_message  # noqa: PLC0415

    given = {name: value for name, value in place.items() if value is not None}
    page: Any = client.call("relay", "history.read", conversation=conversation, **given)
    return [stored_message(page["conversation"], row) for row in page["messages"]]


@click.group(epilog=examples("relay device list", "relay device forget old-phone"))
def device() -> None:
    """Your devices: the relay keeps messages for each until it has had them."""


@device.command("list", epilog=examples("relay device list"))
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@connection_options
def list_devices(as_json: bool, url: str) -> None:
    """Show your devices, and which of them are connected."""
    with connected(url) as client:
        answer: Any = client.call("relay", "devices.list")
    for found in answer["devices"]:
        if as_json:
            put_json(found)
        else:
            put_line(f"{found['device']:24} {'online' if found['online'] else 'offline'}")


@device.command(epilog=examples("relay device forget old-phone"))
@click.argument("name")
@connection_options
def forget(name: str, url: str) -> None:
    """Keep nothing more for a device. If it is connected it is logged out."""
    with connected(url) as client:
        client.call("relay", "devices.forget", device=name)
