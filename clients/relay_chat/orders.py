"""What each command does. The app hands over a command and its argument; errors of the relay become sentences."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from relay_client.errors import RelayError
from relay_client.files.rows import RelayFile
from textual.content import Content

from relay.protocol.addresses import AddressError
from relay_chat.model.clean import clean_line
from relay_chat.model.commands import find
from relay_chat.model.conversation import Conversation
from relay_chat.model.entries import Entry, describe_error, size_text
from relay_chat.view.layout import day_text
from relay_chat.view.panels import ListPanel, TextPanel, help_text

if TYPE_CHECKING:
    from relay_chat.app import ChatApp

# What `/get` shows to choose from: the newest.
FILES_LISTED = 100


class OrderError(Exception):
    """The command cannot be carried out: a sentence for the person."""


class Orders:
    """One method for each command, by its name."""

    def __init__(self, app: "ChatApp") -> None:
        self._app = app
        self._desk = app.desk

    async def run(self, command: str, argument: str) -> None:
        """Carry out a command. What goes wrong is told, never raised."""
        method: Callable[[str], Awaitable[None]] = getattr(self, f"_{command}")
        try:
            await method(argument)
        except (RelayError, AddressError, OrderError) as error:
            self._app.tell(describe_error(error), True)

    # People and rooms.

    async def _msg(self, argument: str) -> None:
        name, _, text = argument.partition(" ")
        conversation_name = self._desk.book.named(name)
        if conversation_name.startswith("#") and conversation_name not in self._desk.book.conversations:
            raise OrderError(f"you are not in {conversation_name}; /join {conversation_name} enters it")
        conversation = await self._app.open(conversation_name)
        if text.strip():
            self._desk.send(conversation, text.strip())

    async def _join(self, argument: str) -> None:
        await self._app.open((await self._desk.join(argument.split(maxsplit=1)[0])).name)

    async def _create(self, argument: str) -> None:
        await self._make(argument, public=True)

    async def _private(self, argument: str) -> None:
        await self._make(argument, public=False)

    async def _make(self, argument: str, public: bool) -> None:
        room, _, title = argument.partition(" ")
        conversation = await self._desk.create(room, title.strip(), public)
        await self._app.open(conversation.name)
        self._app.tell(f"{conversation.name} is yours; /invite NAME lets others in")

    async def _leave(self, argument: str) -> None:
        conversation = self._room(argument)
        await self._desk.leave(conversation)
        self._app.left(conversation)
        self._app.tell(f"you have left {conversation.name}")

    async def _invite(self, argument: str) -> None:
        room = self._room("")
        name = _name(argument)
        await self._desk.client.rooms.invite(room.name, name)
        self._app.tell(f"{clean_line(name)} may enter {room.name} now")

    async def _remove(self, argument: str) -> None:
        room, name = self._room(""), _name(argument)
        await self._desk.client.rooms.remove(room.name, name)
        self._app.tell(f"{clean_line(name)} is out of {room.name}")

    async def _block(self, argument: str) -> None:
        await self._desk.client.blocks.add(_name(argument))
        self._app.tell(f"you hear no more from {clean_line(_name(argument))}; /unblock takes it back")

    async def _unblock(self, argument: str) -> None:
        await self._desk.client.blocks.remove(_name(argument))
        self._app.tell(f"you hear from {clean_line(_name(argument))} again")

    async def _title(self, argument: str) -> None:
        room = self._room("")
        self._desk.book.update_room(await self._desk.client.rooms.set(room.name, title=argument))
        self._app.redraw()

    async def _members(self, argument: str) -> None:
        room = self._room("")
        members = await self._desk.client.rooms.members(room.name)
        rows = [
            (member.user, self._person(member.user, "" if member.role == "member" else member.role))
            for member in members
        ]
        self._choose(f"members of {room.name}", rows)

    async def _who(self, argument: str) -> None:
        online = await self._desk.client.who()
        self._desk.book.online = frozenset(found.user for found in online)
        rows = [
            (found.user, self._person(found.user, f"{'bot, ' if found.bot else ''}{', '.join(found.sessions)}"))
            for found in online
        ]
        self._choose("online now", rows)

    def _person(self, name: str, remark: str) -> Content:
        colour = self._app.look.friend(name).color
        ink = f"bold {colour.name}" if colour else "bold"
        return Content.assemble((clean_line(name), ink), (f"  {clean_line(remark)}" if remark else "", "$quiet"))

    def _choose(self, title: str, rows: list[tuple[str, Content]]) -> None:
        self._app.push_screen(ListPanel(title, rows, "Enter writes to one", "nobody"), self._app.write_to)

    def _room(self, name: str) -> Conversation:
        if name.strip():
            full = self._desk.book.named("#" + name.strip().removeprefix("#"))
            if full not in self._desk.book.conversations:
                raise OrderError(f"you are not in {full}")
            return self._desk.book.get(full)
        current = self._desk.current
        if current is None or not current.is_room:
            raise OrderError("this is not a room; open one first")
        return current

    # Here.

    async def _file(self, argument: str) -> None:
        current = self._open()
        path = _path(argument)
        try:
            await self._desk.send_file(current, path)
        except OSError as error:
            raise OrderError(f"{path}: {error.strerror or error}") from None
        await self._app.to_newest()

    async def _get(self, argument: str) -> None:
        current = self._open()
        if not argument:
            rows = [_file_row(file) for file in await self._desk.client.files.list(current.address, limit=FILES_LISTED)]
            await self._app.push_screen(
                ListPanel("files here", rows, "Enter fetches it", "none yet"), self._fetch_chosen
            )
            return
        for entry in reversed(current.timeline.entries):
            if entry.file is not None and entry.file.id and argument in (entry.file.name, entry.file.id):
                self.fetch(entry)
                return
        await self._fetch_id(argument)

    def _fetch_chosen(self, file: str | None) -> None:
        if file is not None:
            self._app.run_worker(self.run("get", file))

    async def _fetch_id(self, file: str) -> None:
        """A file whose message is not in memory: it is fetched, and a line tells."""
        found = await self._desk.client.files.info(file)
        self._app.tell(f"fetching {clean_line(found.name)} …")
        got = await self._desk.client.files.get(file, self._app.downloads, numbered=True, patience_s=None)
        self._app.tell(f"saved as {got.path}")

    def fetch(self, entry: Entry) -> None:
        """Fetch the file that a message tells of."""
        if entry.file is not None and not entry.file.id:
            self._app.tell("this file went directly to a device; the relay does not have it", True)
        elif entry.file is not None:
            self._desk.fetch_file(self._open(), entry, self._app.downloads)

    def _open(self) -> Conversation:
        current = self._desk.current
        if current is None or current.is_invitation:
            raise OrderError("open a conversation first: /msg NAME, or choose one from the list")
        return current

    async def _search(self, argument: str) -> None:
        self._app.open_search(argument)

    async def _theme(self, argument: str) -> None:
        if argument not in ("dark", "light"):
            raise OrderError("there are two: /theme dark and /theme light")
        self._app.use_theme(argument == "dark")

    async def _help(self, argument: str) -> None:
        command = find(argument) if argument else None
        if argument and command is None:
            raise OrderError(f"there is no command {argument}; /help shows them all")
        self._app.push_screen(TextPanel("Relay chat", help_text(command.name if command else "", self._app.size.width)))

    async def _quit(self, argument: str) -> None:
        await self._app.action_quit()


def _name(argument: str) -> str:
    return argument.split(maxsplit=1)[0].removeprefix("@")


def _file_row(file: RelayFile) -> tuple[str, Content]:
    remark = f"  {size_text(file.size)}, {clean_line(file.sender)}, {day_text(file.time.astimezone())}"
    return file.id, Content.assemble((clean_line(file.name), "bold"), (remark, "$quiet"))


def _path(typed: str) -> Path:
    """A path as it is typed, or as terminals paste one that is dropped on them: in quotes, or with `\\ ` for spaces."""
    quoted = len(typed) > 1 and typed[0] == typed[-1] and typed[0] in "\"'"
    return Path(typed[1:-1] if quoted else typed.replace("\\ ", " ")).expanduser()
