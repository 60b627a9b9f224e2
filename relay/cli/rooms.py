"""`relay room`: rooms and who is in them. Each command is one question to the relay."""

from typing import TYPE_CHECKING

import click

from relay.cli.connection import complete_room, complete_user, connected, connection_options
from relay.cli.display import colours_wanted, escape_line, paint, put_json, put_line
from relay.cli.outcome import CommandError, Exit, examples

if TYPE_CHECKING:
    from relay_client import Room

_room = click.argument("room_name", metavar="ROOM", shell_complete=complete_room)
_user = click.argument("user", shell_complete=complete_user)
_json = click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")


@click.group(epilog=examples("relay room create ops", "relay room join ops", "relay send '#ops' hello"))
def room() -> None:
    """Rooms: create, join, invite, list.

    A room's name begins with #, which shells take for a comment: quote it ('#ops') or leave it out (ops).
    """


@room.command(epilog=examples("relay room create ops --title Operations", "relay room create secret --private"))
@_room
@click.option("--title", default="", help="What the room is about.")
@click.option("--private", is_flag=True, help="Only for those who are invited; others cannot see that it exists.")
@_json
@connection_options
def create(room_name: str, title: str, private: bool, as_json: bool, url: str) -> None:
    """Make a room; you are its owner."""
    with connected(url) as client:
        _show(client.rooms.create(room_name, title, public=not private), as_json)


@room.command(epilog=examples("relay room join ops"))
@_room
@_json
@connection_options
def join(room_name: str, as_json: bool, url: str) -> None:
    """Enter a public room, or one you were invited to."""
    with connected(url) as client:
        _show(client.rooms.join(room_name), as_json)


@room.command(epilog=examples("relay room leave ops"))
@_room
@connection_options
def leave(room_name: str, url: str) -> None:
    """Leave a room, or decline an invitation. A room ends with its last member."""
    with connected(url) as client:
        client.rooms.leave(room_name)


@room.command(epilog=examples("relay room invite secret bob"))
@_room
@_user
@connection_options
def invite(room_name: str, user: str, url: str) -> None:
    """Let somebody join a private room."""
    with connected(url) as client:
        client.rooms.invite(room_name, user)


@room.command(epilog=examples("relay room remove ops mallory", "relay room remove ops mallory --ban"))
@_room
@_user
@click.option("--ban", "for_good", is_flag=True, help="As relay room ban.")
@connection_options
def remove(room_name: str, user: str, for_good: bool, url: str) -> None:
    """Put a member out, or take an invitation back. Owners and moderators may."""
    with connected(url) as client:
        if for_good:
            client.rooms.ban(room_name, user)
        else:
            client.rooms.remove(room_name, user)


@room.command(epilog=examples("relay room ban ops mallory"))
@_room
@_user
@connection_options
def ban(room_name: str, user: str, url: str) -> None:
    """Put somebody out for good: until `relay room unban`. Owners and moderators may."""
    with connected(url) as client:
        client.rooms.ban(room_name, user)


@room.command(epilog=examples("relay room unban ops mallory"))
@_room
@_user
@connection_options
def unban(room_name: str, user: str, url: str) -> None:
    """Let a banned user come back."""
    with connected(url) as client:
        client.rooms.unban(room_name, user)


@room.command(epilog=examples("relay room role ops bob moderator"))
@_room
@_user
@click.argument("role", type=click.Choice(["owner", "moderator", "member"]))
@connection_options
def role(room_name: str, user: str, role: str, url: str) -> None:
    """Make a member owner, moderator or plain member. Owners may."""
    with connected(url) as client:
        client.rooms.set_role(room_name, user, role)


@room.command("set", epilog=examples("relay room set ops --title 'On call'", "relay room set ops --private"))
@_room
@click.option("--title", help="What the room is about. Owners and moderators may.")
@click.option("--public/--private", "public", default=None, help="Who may enter. Owners may.")
@_json
@connection_options
def set_room(room_name: str, title: str | None, public: bool | None, as_json: bool, url: str) -> None:
    """Change a room's title, open it or close it."""
    if title is None and public is None:
        raise CommandError("nothing to change: give --title, --public or --private", Exit.USAGE)
    with connected(url) as client:
        _show(client.rooms.set(room_name, title=title, public=public), as_json)


@room.command("list", epilog=examples("relay room list", "relay room list --all --json | jq -r .room"))
@click.option("--all", "everything", is_flag=True, help="Public rooms too.")
@_json
@connection_options
def list_rooms(everything: bool, as_json: bool, url: str) -> None:
    """Show the rooms you are in or invited to."""
    with connected(url) as client:
        for found in client.rooms.list(everything=everything):
            _show(found, as_json)


@room.command(epilog=examples("relay room members ops", "relay room members ops --json | jq -r .user"))
@_room
@_json
@connection_options
def members(room_name: str, as_json: bool, url: str) -> None:
    """Show who is in a room."""
    colours = colours_wanted()
    with connected(url) as client:
        for member in client.rooms.members(room_name):
            if as_json:
                put_json(member._asdict())
            else:
                name = escape_line(member.user)
                put_line(f"{paint(name, colours)}{' ' * (24 - len(name))} {member.role}")


def _show(found: "Room", as_json: bool) -> None:
    if as_json:
        put_json(found._asdict())
        return
    kind = "public" if found.public else "private"
    standing = f", you are {found.role}" if found.role else ""
    title = f"  {escape_line(found.title)}" if found.title else ""
    people = "1 member" if found.members == 1 else f"{found.members} members"
    put_line(f"{escape_line(found.room)}  {kind}, {people}{standing}{title}")
