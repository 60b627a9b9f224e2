"""`relay room`: rooms and who is in them. Each command is one call to the relay."""

from typing import Any

import click

from relay.cli.connection import complete_user, connected, connection_options
from relay.cli.display import colours_wanted, escape_line, paint, put_json, put_line
from relay.cli.outcome import examples

_room = click.argument("room_name", metavar="ROOM")
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
@connection_options
def create(room_name: str, title: str, private: bool, url: str) -> None:
    """Make a room; you are its owner."""
    _tell(_ask(url, "rooms.create", room=_marked(room_name), title=title, public=not private))


@room.command(epilog=examples("relay room join ops"))
@_room
@connection_options
def join(room_name: str, url: str) -> None:
    """Enter a public room, or one you were invited to."""
    _tell(_ask(url, "rooms.join", room=_marked(room_name)))


@room.command(epilog=examples("relay room leave ops"))
@_room
@connection_options
def leave(room_name: str, url: str) -> None:
    """Leave a room, or decline an invitation. A room ends with its last member."""
    _ask(url, "rooms.leave", room=_marked(room_name))


@room.command(epilog=examples("relay room invite secret bob"))
@_room
@_user
@connection_options
def invite(room_name: str, user: str, url: str) -> None:
    """Let somebody join a private room."""
    _ask(url, "rooms.invite", room=_marked(room_name), user=user)


@room.command(epilog=examples("relay room remove ops mallory", "relay room remove ops mallory --ban"))
@_room
@_user
@click.option("--ban", is_flag=True, help="For good: until `relay room unban`.")
@connection_options
def remove(room_name: str, user: str, ban: bool, url: str) -> None:
    """Put a member out. Owners and moderators may."""
    _ask(url, "rooms.ban" if ban else "rooms.remove", room=_marked(room_name), user=user)


@room.command(epilog=examples("relay room unban ops mallory"))
@_room
@_user
@connection_options
def unban(room_name: str, user: str, url: str) -> None:
    """Let a banned user come back."""
    _ask(url, "rooms.unban", room=_marked(room_name), user=user)


@room.command(epilog=examples("relay room role ops bob moderator"))
@_room
@_user
@click.argument("role", type=click.Choice(["owner", "moderator", "member"]))
@connection_options
def role(room_name: str, user: str, role: str, url: str) -> None:
    """Make a member owner, moderator or plain member. Owners may."""
    _ask(url, "rooms.set_role", room=_marked(room_name), user=user, role=role)


@room.command("list", epilog=examples("relay room list", "relay room list --all --json | jq -r .room"))
@click.option("--all", "everything", is_flag=True, help="Public rooms too.")
@_json
@connection_options
def list_rooms(everything: bool, as_json: bool, url: str) -> None:
    """Show the rooms you are in or invited to."""
    for found in _pages(url, "rooms.list", "rooms", "room", all=everything):
        if as_json:
            put_json(found)
        else:
            put_line(_line(found))


@room.command(epilog=examples("relay room members ops"))
@_room
@_json
@connection_options
def members(room_name: str, as_json: bool, url: str) -> None:
    """Show who is in a room."""
    colours = colours_wanted()
    for found in _pages(url, "rooms.members", "members", "user", room=_marked(room_name)):
        if as_json:
            put_json(found)
        else:
            name = escape_line(found["user"])
            put_line(f"{paint(name, colours)}{' ' * (24 - len(name))} {found['role']}")


def _ask(url: str, method: str, **arguments: Any) -> Any:
    with connected(url) as client:
        return client.call("relay", method, **arguments)


def _pages(url: str, method: str, rows: str, key: str, **arguments: Any) -> list[dict[str, Any]]:
    """All rows of a list that the relay gives in pages."""
    found: list[dict[str, Any]] = []
    with connected(url) as client:
        while True:
            page: Any = client.call("relay", method, after=found[-1][key] if found else "", **arguments)
            found += page[rows]
            if not page["more"] or not page[rows]:
                return found


def _tell(answer: dict[str, Any]) -> None:
    put_line(_line(answer["room"]))


def _line(found: dict[str, Any]) -> str:
    kind = "public" if found["public"] else "private"
    standing = f", you are {found['role']}" if found["role"] else ""
    title = f"  {escape_line(found['title'])}" if found["title"] else ""
    people = "1 member" if found["members"] == 1 else f"{found['members']} members"
    return f"{escape_line(found['room'])}  {kind}, {people}{standing}{title}"


def _marked(name: str) -> str:
    return name if name.startswith("#") else f"#{name}"
