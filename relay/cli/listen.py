"""`relay listen`: messages as they come, for people or as JSON lines."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from relay.cli.connection import complete_address, connected, connection_options
from relay.cli.display import colours_wanted, escape_line, iso_time, message_line, put_json, put_line
from relay.cli.outcome import CommandError, Exit, examples

if TYPE_CHECKING:
    from relay_client import Client, Message
    from relay_client.received import ReceivedMessage


@click.command(
    epilog=examples(
        "relay listen",
        "relay listen '#ops' bob",
        "relay listen --count 1 --timeout 30 | jq -r .body",
        "relay listen --receipts                     # and how far others are with what you sent",
        "relay listen --device archive >> messages.jsonl",
    )
)
@click.argument("conversations", nargs=-1, metavar="[CONVERSATION]...", shell_complete=complete_address)
@click.option(
    "--json/--text", "as_json", default=None,
    help="One JSON object a line, or lines for people. Default: text on a terminal, JSON anywhere else.",
)  # fmt: skip
@click.option("--receipts", is_flag=True, help="Show how far others are, too: what they have and have read.")
@click.option("--mark-read", is_flag=True, help="Tell the others that you have read what is shown.")
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="Leave after N messages.")
@click.option(
    "--timeout", type=click.FloatRange(min=0), metavar="S",
    help="Leave after S seconds without a message; with --count that is exit code 5 if fewer than N came.",
)  # fmt: skip
@click.option("--device", metavar="NAME", help="Which of your devices this is. Default: cli, see below.")
@connection_options
def listen(
    conversations: tuple[str, ...],
    as_json: bool | None,
    receipts: bool,
    mark_read: bool,
    count: int | None,
    timeout: float | None,
    device: str | None,
    url: str,
) -> None:
    """Show messages as they come, and those that came meanwhile: all, or those of a user or a room ('#ops').

    It begins where the device stopped listening last: each message is shown once to each device, and the relay keeps
    messages while nobody listens. With conversations named, messages of others are passed over for good by this device;
    so it is one of its own then (cli-ops, cli-bob), unless --device says otherwise. Leave with Ctrl-C (exit code 130).
    """
    as_json = not sys.stdout.isatty() if as_json is None else as_json
    with connected(url, device=device or _device_for(conversations), receive=True) as client:
        show = _shower(client, as_json)
        wanted = {_conversation(client, name) for name in conversations}
        _warn_of_strange_rooms(client, wanted)
        client.on_event(lambda event: _tell(event, wanted, as_json, receipts))
        if receipts:
            client.conversations.watch_receipts()
        seen = 0
        for message in client.messages(timeout=timeout):
            if not wanted or message.conversation in wanted:
                show(message)
                if mark_read:
                    message.mark_read()
                seen += 1
            message.ack()  # when it has been written, not before
            if seen == count:
                break
    if count is not None and seen < count:
        raise CommandError(f"{seen} of {count} messages came in time", Exit.TIMED_OUT)


def _device_for(conversations: tuple[str, ...]) -> str:
    return "-".join(["cli", *(name.removeprefix("#").replace("@", "-") for name in sorted(conversations))])


def _conversation(client: "Client", name: str) -> str:
    """The full name of a conversation that is named by a user, a room, or in full."""
    from relay.protocol.addresses import AddressError, conversation_for, prepare_name  # noqa: PLC0415

    first, at, second = name.removeprefix("#").partition("@")
    try:
        if name.startswith("#"):
            return "#" + prepare_name(first)
        return (
            conversation_for(prepare_name(first), prepare_name(second))
            if at
            else conversation_for(client.user, prepare_name(first))
        )
    except AddressError as error:
        raise CommandError(f"{name!r} is neither a user nor a room: {error}", Exit.USAGE) from None


def _warn_of_strange_rooms(client: "Client", wanted: set[str]) -> None:
    """Nothing comes from a room that one is not in, and that looks like a quiet one."""
    rooms = sorted(name for name in wanted if name.startswith("#"))
    inside = {room.room for room in client.rooms.list() if room.role != "invited"} if rooms else set()
    for room in rooms:
        if room not in inside:
            click.echo(escape_line(f"relay: you are not in {room}; nothing comes from it until you join"), err=True)


def _shower(client: "Client", as_json: bool) -> Callable[["Message"], None]:
    colours = colours_wanted()
    if as_json:
        return lambda message: put_json(message_row(message))
    return lambda message: put_line(message_line(message, client.user, colours))


def _tell(event: object, wanted: set[str], as_json: bool, receipts: bool) -> None:
    """Say that the connection is there again (the SDK has logged why it was not), and how far others are."""
    from relay_client.events import Connected, Receipt  # noqa: PLC0415

    if isinstance(event, Connected) and event.again:
        click.echo("relay: connected again", err=True)
    if receipts and isinstance(event, Receipt) and (not wanted or event.conversation in wanted):
        if as_json:
            put_json({"event": "receipt"} | event._asdict())
        else:
            devices = ", ".join(f"{device} has {offset}" for device, offset in sorted(event.devices.items()))
            read = f", read up to {event.read}" if event.read else ""
            put_line(escape_line(f"-- {event.conversation}: {event.user} ({devices}{read})"))


def message_row(message: "ReceivedMessage") -> dict[str, Any]:
    """A message as the JSON object of --json; docs/cli.md lists the fields."""
    file = message.file
    about = {"file": file._asdict() | {"hash": file.hash.hex()}} if file is not None else {}
    return about | {
        "conversation": message.conversation,
        "offset": message.offset,
        "id": message.id,
        "from": message.sender,
        "device": message.sender_device,
        "to": message.to,
        "time": iso_time(message.time),
        "content_type": message.content_type,
        "body": _body(message),
    }


def _body(message: "ReceivedMessage") -> object:
    """The value; the bytes if they are not what the sender says they are."""
    from relay_client import BadValue  # noqa: PLC0415

    try:
        return message.value
    except BadValue:
        return message.body
