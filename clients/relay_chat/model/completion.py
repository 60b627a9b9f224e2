"""What Tab makes of an unfinished word: commands at the beginning, what a command takes behind it, names anywhere."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from relay_chat.model.clean import clean_line
from relay_chat.model.commands import COMMANDS, find

CANDIDATES_MAX = 50


class Completion(NamedTuple):
    """`start`: where the word begins in the text; `candidates`: what may stand there instead, best first."""

    start: int
    candidates: tuple[str, ...]


class Words(NamedTuple):
    """Where candidates come from: users, rooms, and files that can be fetched."""

    users: Callable[[], Sequence[str]]
    rooms: Callable[[], Sequence[str]]
    files: Callable[[], Sequence[str]]


def complete(text: str, words: Words) -> Completion:
    """For the end of `text`, which is what stands before the cursor."""
    start = max(text.rfind(" "), text.rfind("\n")) + 1
    word = text[start:]
    if start == 0 and word.startswith("/"):
        return Completion(0, tuple(f"/{c.name} " for c in COMMANDS if c.name.startswith(word[1:].lower())))
    if text.startswith("/") and not text.startswith("//"):
        name, _, argument = text[1:].partition(" ")
        command = find(name)
        if command is not None and command.takes == "path":
            return Completion(len(text) - len(argument), _paths(argument))
        if command is not None and command.takes == "file":
            found = tuple(name for name in words.files() if name.lower().startswith(argument.lower()))
            return Completion(len(text) - len(argument), found[:CANDIDATES_MAX])
        if command is not None and command.takes and " " not in argument:
            return Completion(start, _argument(command.takes, word, words))
    return Completion(start, _names(word, words))


def _argument(takes: str, word: str, words: Words) -> tuple[str, ...]:
    choices: dict[str, Callable[[], Sequence[str]]] = {
        "user": words.users,
        "room": words.rooms,
        "address": lambda: [*words.users(), *words.rooms()],
        "command": lambda: [command.name for command in COMMANDS],
        "theme": lambda: ["dark", "light"],
    }
    found = choices[takes]()
    matching = [name for name in found if _matches(name, word)]
    return tuple(f"{name} " for name in matching[:CANDIDATES_MAX])


def _names(word: str, words: Words) -> tuple[str, ...]:
    if not word:
        return ()
    if word.startswith("#"):
        return tuple(f"{room} " for room in words.rooms() if room.startswith(word.lower()))[:CANDIDATES_MAX]
    mark = "@" if word.startswith("@") else ""
    prefix = word[len(mark) :].lower()
    return tuple(f"{mark}{user} " for user in words.users() if user.startswith(prefix))[:CANDIDATES_MAX]


def _matches(name: str, word: str) -> bool:
    word = word.lower()
    return name.lower().startswith(word) or name.removeprefix("#").lower().startswith(word)


def _paths(typed: str) -> tuple[str, ...]:
    """Files and directories whose path begins as typed; directories end with a slash."""
    directory, _, prefix = typed.rpartition("/")
    place = Path(directory + "/" if typed.startswith("/") and not directory else directory or ".").expanduser()
    head = typed[: len(typed) - len(prefix)]
    try:
        with os.scandir(place) as rows:
            found = [
                f"{head}{row.name}{'/' if row.is_dir() else ''}"
                for row in rows
                if row.name.startswith(prefix) and (prefix.startswith(".") or not row.name.startswith("."))
            ]
    except OSError:
        return ()
    return tuple(sorted(path for path in found if clean_line(path) == path)[:CANDIDATES_MAX])


def common_start(candidates: Sequence[str]) -> str:
    """How all of them begin."""
    first, last = min(candidates), max(candidates)
    same = (at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b)
    return first[: next(same, min(len(first), len(last)))]
