"""`relay listen`: messages as they come, for people or as JSON lines."""

from typing import TYPE_CHECKING, Any

import click

from relay.cli.connection import connected, connection_options
from relay.cli.display import colours_wanted, iso_time, message_line, put_json, put_line
from relay.cli.outcome import CommandError, Exit, examples

if TYPE_CHECKING:
    from relay_client import Client
    from relay_client.received import ReceivedMessage


@click.command(
    epilog=examples(
        "relay listen",
        "relay listen --json --count 1 --timeout 30 | jq -r .body",
        "relay listen --json --device archive >> messages.jsonl",
    )
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="Leave after N messages.")
@click.option(
    "--timeout", type=click.FloatRange(min=0), metavar="S",
    help="Leave after S seconds without a message; with --count that is exit code 5 if fewer than N came.",
)  # fmt: skip
@click.option("--device", default="cli", show_default=True, metavar="NAME", help="Which of your devices this is.")
@connection_options
def listen(
    as_json: bool,
    count: int | None,
    timeout: float | None,
    device: str,
    url: str,
) -> None:
    """Show messages as they come, and those that came meanwhile.

    It begins where the device stopped listening last: each message is shown once to each device, and the relay keeps
    messages while nobody listens. Leave with Ctrl-C (exit code 130).
    """
    with connected(url, device=device) as client:
        seen = _show(client, as_json, count, timeout)
    if count is not None and seen < count:
        raise CommandError(f"{seen} of {count} messages came in time", Exit.TIMED_OUT)


def _show(client: "Client", as_json: bool, count: int | None, timeout: float | None) -> int:
    """Show messages until the end; how many. One is acknowledged when it has been written, not before."""
    client.on_event(_tell_of_return)
    colours = colours_wanted()
    seen = 0
    for message in client.messages(timeout=timeout, count=count):
        if as_json:
            put_json(message_row(message))
        else:
            put_line(message_line(message, client.user, colours))
        message.ack()
        seen += 1
    return seen


def _tell_of_return(event: object) -> None:
    """Say that the connection is there again; the SDK has logged why it was not."""
    from relay_client.events import Connected  # noqa: PLC0415

    if isinstance(event, Connected) and event.again:
        click.echo("relay: connected again", err=True)


def message_row(message: "ReceivedMessage") -> dict[str, Any]:
    """A message as the JSON object of --json; docs/cli.md lists the fields."""
    return {
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
