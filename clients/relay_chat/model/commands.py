"""What is typed after a slash: the commands there are, and what a line means.

A line that begins with two slashes is a message that begins with one. `Q` alone leaves.
"""

import difflib
from typing import NamedTuple


class Command(NamedTuple):
    """`argument`: how it is shown in the help; `takes`: what Tab completes there (`room`, `user`, `address`, `path`,
    `file`, `command`, `theme`, or nothing)."""

    name: str
    argument: str
    help: str
    takes: str = ""
    section: str = "Here"


COMMANDS = (
    Command("msg", "NAME [TEXT]", "Write to somebody, or to a room (#ops).", "address", "People and rooms"),
    Command("join", "ROOM", "Enter a room.", "room", "People and rooms"),
    Command("create", "ROOM [TITLE]", "Make a room that everybody may enter.", "", "People and rooms"),
    Command("private", "ROOM [TITLE]", "Make a room for those you invite.", "", "People and rooms"),
    Command("invite", "NAME", "Let somebody into this room.", "user", "People and rooms"),
    Command("leave", "[ROOM]", "Leave this room, or another; decline an invitation.", "room", "People and rooms"),
    Command("title", "TEXT", "Give this room a title.", "", "People and rooms"),
    Command("members", "", "Who is in this room.", "", "People and rooms"),
    Command("remove", "NAME", "Put somebody out of this room.", "user", "People and rooms"),
    Command("block", "NAME", "Hear no more from somebody.", "user", "People and rooms"),
    Command("unblock", "NAME", "Hear from her again.", "user", "People and rooms"),
    Command("who", "", "Who is online.", "", "People and rooms"),
    Command("file", "PATH", "Send a file to this conversation.", "path", "Here"),
    Command("get", "[FILE]", "Fetch a file; without a name: choose one.", "file", "Here"),
    Command("search", "TEXT", "Look for something in this conversation.", "", "Here"),
    Command("theme", "dark|light", "Change the colours.", "theme", "Here"),
    Command("help", "[COMMAND]", "This page.", "command", "Here"),
    Command("quit", "", "Leave; Q alone does the same.", "", "Here"),
)

_BY_NAME = {command.name: command for command in COMMANDS}

# What people type who come from elsewhere.
_ALIASES = {
    "exit": "quit", "q": "quit", "m": "msg", "dm": "msg", "query": "msg", "part": "leave", "topic": "title",
    "j": "join", "names": "members", "kick": "remove", "ignore": "block", "unignore": "unblock",
    "find": "search", "?": "help", "h": "help", "users": "who", "w": "who",
}  # fmt: skip


class Line(NamedTuple):
    """What a line means: a message (`text`), a command with its `argument`, or a `problem` with what to do."""

    text: str = ""
    command: str = ""
    argument: str = ""
    problem: str = ""


def parse(typed: str) -> Line:
    """What was meant by what was typed."""
    if typed.strip() == "Q":
        return Line(command="quit")
    if not typed.startswith("/"):
        return Line(text=typed.strip("\n"))
    if typed.startswith("//"):
        return Line(text=typed[1:].strip("\n"))
    word, _, argument = typed[1:].partition(" ")
    first, newline, rest = word.partition("\n")
    name = _ALIASES.get(first.lower(), first.lower())
    argument = f"{newline}{rest} {argument}".strip() if newline else argument.strip()
    if name not in _BY_NAME:
        return Line(problem=_unknown(first))
    if _BY_NAME[name].argument[:1].isupper() and not argument:
        return Line(problem=f"/{name} needs a word behind it: /{name} {_BY_NAME[name].argument}")
    return Line(command=name, argument=argument)


def find(name: str) -> Command | None:
    """The command of this name, or alias."""
    name = name.removeprefix("/").lower()
    return _BY_NAME.get(_ALIASES.get(name, name))


def _unknown(name: str) -> str:
    close = difflib.get_close_matches(name.lower(), [*_BY_NAME, *_ALIASES], n=1, cutoff=0.5)
    if not close:
        close = sorted(known for known in _BY_NAME if known.startswith(name[:2].lower()))[:1]
    guess = f"; did you mean /{_ALIASES.get(close[0], close[0])}?" if close and name else ""
    return f"there is no command /{name}{guess or '; /help shows them all'}"
