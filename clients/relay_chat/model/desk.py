"""What a person does, on a client: open a conversation, write, scroll back, join. Keeps the book right meanwhile.

It lives as long as the program, over any number of connections. `changed` is called when something is to be drawn
anew: with the name of a conversation, or None for everything.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from relay_client.aio import Client, Message, Posted, Signal
from relay_client.answers import Page, Presence, Room
from relay_client.errors import CallFailed, ConnectionLost, NotConnected, RelayError, TimedOut
from relay_client.events import Connected, Disconnected, Ended, Event, GapNoticed, Receipt, RoomChanged
from relay_client.received import Stored

from relay_chat.model.book import Book
from relay_chat.model.clean import clean_line, clean_text
from relay_chat.model.conversation import Conversation
from relay_chat.model.entries import Entry, describe_error, entry_of, own_entry, own_file_entry, shown_text
from relay_chat.model.timeline import PAGE, Timeline
from relay_chat.model.transfers import Transfer, TransferState

log = logging.getLogger("relay_chat")

# Somebody who types says so at most this often; see conversation.TYPING_S.
TYPING_EVERY_S = 3.0

# Conversations with unread messages, of which it is looked up at the start which of those are one's own.
_LOOKED_UP_MAX = 50

# A message whose predecessor has not come: how long to wait before asking the relay for it.
_HOLE_S = 1.0

# Conversations whose messages are in memory.
VISITED_MAX = 20

# After the relay failed to give messages, before it is asked again while one scrolls.
RETRY_S = 3.0

# What a panel shows of one message.
WHOLE_MAX_CHARS = 50_000


class Desk:
    """`client` is not connected yet. `tell` gets sentences for the person, True if something failed."""

    def __init__(
        self, client: Client, changed: Callable[[str | None], None], tell: Callable[[str, bool], None]
    ) -> None:
        self.client = client
        self.me = client.user
        self.book = Book(self.me)
        self.connected = False
        self.reason = ""  # why there is no connection
        self.retry_at = 0.0  # when the next attempt is, time.monotonic()
        self.error: RelayError | None = None  # why there never will be one again
        self.ready = False  # whether the list of conversations has been read once
        self.current: Conversation | None = None
        self.transfers: dict[Entry, Transfer] = {}
        self._changed = changed
        self._tell = tell
        self._outgoing: asyncio.Queue[tuple[Conversation, Entry, str]] = asyncio.Queue()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._loading: set[str] = set()
        self._failed_at: dict[str, float] = {}
        self._visited: list[Conversation] = []
        self._typed_at: dict[str, float] = {}

    # Its life.

    async def start(self) -> None:
        """Connect, however long that takes, and read how it stands. Raises LoginFailed and other ends of a client."""
        self.client.on_event(self._on_event)
        self.client.on_signal(self._on_signal)
        self._spawn(self._send_all())
        await self.client.connect()
        await self._patiently(lambda: self.client.on_message(self._on_message))
        await self._patiently(self.client.conversations.watch_receipts)

    async def stop(self, timeout_s: float = 5.0) -> None:
        """Wait for what is under way, and say goodbye. Raises TimedOut if some of it may not be stored."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=1.0)  # a file that is written to is closed
        await self.client.close(timeout_s)

    @property
    def unsent(self) -> int:
        """How many own messages the relay has not stored."""
        conversations = self.book.conversations.values()
        return sum(1 for conversation in conversations for entry in conversation.waiting if not entry.error)

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            if not isinstance(error, RelayError):
                log.error("this is a bug", exc_info=error)
                self._tell(f"this is a bug of the chat: {error!r}", True)
            elif not isinstance(error, ConnectionLost | TimedOut | NotConnected):
                self._tell(describe_error(error), True)

    async def _patiently(self, ask: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        """What the client goes on asking for by itself: a first answer that is late does no harm."""
        try:
            await ask()
        except (TimedOut, ConnectionLost):
            return

    async def refresh(self) -> None:
        """Read anew which conversations there are, and who is there."""
        heads = {conversation.name: conversation.head for conversation in self.book.conversations.values()}
        rows = await self.client.conversations.list()
        for row in rows:
            if row.head < heads.get(row.conversation, 0):
                self.book.get(row.conversation).begin_anew()  # the relay was restored from a backup
        everything = await self.client.rooms.list(everything=True)
        self.book.public = frozenset(room.room for room in everything if room.role is None)
        self.book.update(rows, [room for room in everything if room.role is not None])
        self.ready = True
        self._changed(None)
        await self.refresh_people()
        await self._look_up_own()
        if self.current is not None and not self.current.timeline.loaded:
            await self.load_newest(self.current)

    async def refresh_people(self) -> None:
        """Be told who comes and goes, of those one shares a conversation with."""
        for presence in await self.client.people.watch():
            self.book.presence[presence.user] = presence
        self._changed(None)

    async def _look_up_own(self) -> None:
        """Own messages, sent by other programs of one's own, stand behind what was read and are not unread."""
        unread = [conversation for conversation in self.book.in_order() if 0 < conversation.unread <= PAGE]
        for conversation in unread[:_LOOKED_UP_MAX]:
            page = await self.client.conversations.read(conversation.name, limit=conversation.unread)
            for message in page.messages:
                if message.sender == self.me:
                    conversation.own_at(message.offset)
            self._mark_own(conversation)
        self._changed(None)

    # What comes.

    def _on_event(self, event: Event) -> None:
        match event:
            case Connected():
                self.connected, self.reason = True, ""
                self._spawn(self.refresh())
            case Disconnected(reason, retry_s):
                self.connected, self.reason = False, reason
                self.retry_at = time.monotonic() + retry_s
            case Ended(error):
                self.connected, self.error = False, error
            case Presence():
                self.book.presence[event.user] = event
            case Receipt(conversation, user, _, read, devices):
                self._take_receipt(conversation, user, read, dict(devices))
            case RoomChanged():
                self._spawn(self._room_changed(event))
            case GapNoticed(conversation):
                self._spawn(self._reload(conversation))
        self._changed(None)

    def _take_receipt(self, name: str, user: str, read: int | None, devices: dict[str, int]) -> None:
        conversation = self.book.conversations.get(name)
        if conversation is None:
            return
        conversation.moved(user, devices, read)
        if user == self.me and read:
            conversation.read_to(read)

    async def _room_changed(self, event: RoomChanged) -> None:
        mine = event.user == self.me
        if mine and event.what in ("left", "removed", "banned") and (gone := self.book.conversations.get(event.room)):
            gone.role = None
            self._changed(None)
        rooms = {room.room: room for room in await self.client.rooms.list()}
        if room := rooms.get(event.room):
            conversation = self.book.update_room(room)
            if conversation.member_names and room.role not in (None, "invited"):
                await self.load_members(conversation)
        if mine and event.what == "invited":
            self._tell(f"{event.by} invites you to {event.room}", False)
        elif mine and event.what in ("removed", "banned"):
            self._tell(f"{event.by} put you out of {event.room}", False)
        elif event.by != self.me and self.current is not None and event.room == self.current.name:
            self._tell(_room_news(event), False)
        await self.refresh_people()

    def _on_message(self, message: Message) -> None:
        conversation = self.book.get(message.conversation)
        entry = entry_of(message, self.me)
        conversation.stopped_typing(message.sender)
        self._arrived(conversation, entry)

    def _arrived(self, conversation: Conversation, entry: Entry) -> None:
        assert entry.offset is not None
        conversation.reached(entry.offset, entry.time.timestamp())
        if entry.mine:
            conversation.own_at(entry.offset)
            self._mark_own(conversation)
        conversation.timeline.add(entry)
        if conversation.timeline.has_hole:
            self._spawn(self._fill(conversation))
        if entry.offset == 1 or (not conversation.is_room and conversation.address not in self.book.presence):
            self._spawn(self.refresh_people())
        self._changed(conversation.name)

    async def _fill(self, conversation: Conversation) -> None:
        """Ask for what is missing in front of a message that came."""
        await asyncio.sleep(_HOLE_S)
        if conversation.timeline.has_hole:
            await self.load_newer(conversation)

    def _on_signal(self, signal: Signal) -> None:
        if not signal.is_typing or signal.sender == self.me:
            return
        name = signal.to if signal.to.startswith("#") else self.book.named(signal.sender)
        if (conversation := self.book.conversations.get(name)) is not None:
            conversation.typed(signal.sender, time.monotonic())
            self._changed(name)

    # Reading.

    async def open(self, name: str) -> Conversation:
        """Make a conversation the current one, and read its newest messages if it has none in memory."""
        before, conversation = self.current, self.book.get(name)
        self._remember(conversation)
        if before is not None and before is not conversation:
            before.new_from = None
            self.discard_failed(before)  # it was seen why
        self.current = conversation
        conversation.new_from = max(conversation.read + 1, conversation.first) if conversation.unread else None
        self._changed(None)
        if conversation.is_invitation:
            return conversation
        timeline = conversation.timeline
        is_far_back = timeline.low > (conversation.new_from or 0) if timeline.loaded else conversation.unread > PAGE
        if conversation.new_from and is_far_back:
            await self.show(conversation, conversation.new_from)
        elif not timeline.loaded:
            await self.load_newest(conversation)
        self._spawn(self._learn(conversation))
        return conversation

    def _remember(self, conversation: Conversation) -> None:
        """Messages of conversations that were not looked at for long leave memory."""
        self._visited = [other for other in self._visited if other is not conversation][-VISITED_MAX + 1 :]
        self._visited.append(conversation)
        for other in self.book.conversations.values():
            if other.timeline.loaded and other not in self._visited:
                other.timeline = Timeline()

    async def _learn(self, conversation: Conversation) -> None:
        """How far the others are, and who is in the room."""
        try:
            for cursor in await self.client.conversations.receipts(conversation.name):
                conversation.moved(cursor.user, {cursor.device: cursor.delivered}, cursor.read)
            if conversation.is_room:
                await self.load_members(conversation)
        except CallFailed:
            return  # nothing was said here yet
        self._changed(conversation.name)

    async def load_members(self, conversation: Conversation) -> None:
        """Who is in a room."""
        members = await self.client.rooms.members(conversation.name)
        conversation.member_names = tuple(member.user for member in members if member.role != "invited")
        conversation.members = len(conversation.member_names)
        self._changed(conversation.name)

    async def load_newest(self, conversation: Conversation) -> None:
        """Begin at the end."""
        await self._load(conversation, None, None, lambda page, entries: self._show(conversation, page, entries))

    async def load_older(self, conversation: Conversation) -> None:
        """A page more at the beginning."""
        timeline = conversation.timeline
        if timeline.loaded and not timeline.complete:
            await self._load(
                conversation, None, timeline.low, lambda page, entries: timeline.add_older(entries, page.first)
            )

    async def load_newer(self, conversation: Conversation) -> None:
        """A page more at the end."""
        timeline = conversation.timeline
        if timeline.loaded and (not timeline.following or timeline.has_hole):
            await self._load(
                conversation, timeline.high, None, lambda page, entries: timeline.add_newer(entries, page.head)
            )

    async def show(self, conversation: Conversation, offset: int) -> None:
        """See to it that the message at this offset, and what stands around it, is in memory."""
        if conversation.timeline.index_of(offset) is None:
            before = offset + PAGE // 2
            await self._load(conversation, None, before, lambda page, entries: self._show(conversation, page, entries))

    def _show(self, conversation: Conversation, page: Page, entries: list[Entry]) -> None:
        conversation.first = page.first
        conversation.reached(page.head, 0.0)
        conversation.timeline.show(entries, page.first, page.head)

    async def _load(
        self,
        conversation: Conversation,
        after: int | None,
        before: int | None,
        take: Callable[[Page, list[Entry]], None],
    ) -> None:
        if conversation.name in self._loading:
            return
        self._loading.add(conversation.name)
        try:
            page = await self.read_page(conversation, after, before)
            take(page, [entry_of(message, self.me) for message in page.messages])
        except RelayError:
            self._failed_at[conversation.name] = time.monotonic()
            raise
        finally:
            self._loading.discard(conversation.name)
            self._changed(conversation.name)

    async def read_page(
        self, conversation: Conversation, after: int | None, before: int | None, limit: int = PAGE
    ) -> Page:
        """A page of the relay's. A conversation in which nothing was said yet is an empty one."""
        try:
            return await self.client.conversations.read(conversation.name, after=after, before=before, limit=limit)
        except CallFailed:
            if conversation.head or conversation.is_room:
                raise
            return Page(conversation.name, 1, 0, ())

    async def whole(self, conversation: Conversation, offset: int) -> tuple[str, str]:
        """Who wrote a message, and all of it (of a very long one its beginning), cleaned."""
        page = await self.read_page(conversation, offset - 1, None, 1)
        if not page.messages or page.messages[0].offset != offset:
            return "", "this message is no longer kept"
        text = clean_text(shown_text(page.messages[0]))
        cut = f"\n\n… {len(text) - WHOLE_MAX_CHARS:,} more characters" if len(text) > WHOLE_MAX_CHARS else ""
        return clean_line(page.messages[0].sender), text[:WHOLE_MAX_CHARS] + cut

    async def _reload(self, name: str) -> None:
        if (conversation := self.book.conversations.get(name)) and conversation.timeline.loaded:
            await self.load_newest(conversation)

    def is_loading(self, conversation: Conversation) -> bool:
        """Whether the relay has been asked for messages of it, or has just failed to give some."""
        just_failed = time.monotonic() - self._failed_at.get(conversation.name, -RETRY_S) < RETRY_S
        return conversation.name in self._loading or just_failed

    def seen(self, conversation: Conversation, offset: int) -> None:
        """A person has the conversation up to this offset before her eyes."""
        if offset > conversation.read:
            self._mark_read(conversation, offset)
            self._changed(None)

    def _mark_own(self, conversation: Conversation) -> None:
        """Own messages do not count as unread: with nothing else in front of them, they are read."""
        if conversation.unread == 0 and conversation.head > conversation.read:
            self._mark_read(conversation, conversation.head)

    def _mark_read(self, conversation: Conversation, offset: int) -> None:
        if conversation.read_to(offset) and self.error is None:
            self.client.mark_read(Stored(0, conversation.name, offset, datetime.now(UTC)))

    # Writing.

    def send(self, conversation: Conversation, text: str) -> Entry:
        """Send a message, now or once there is a connection, in the order in which they were written."""
        entry = own_entry(self.me, text, conversation.address)
        conversation.waiting.append(entry)
        conversation.new_from = None
        conversation.last_at = time.time()
        self._outgoing.put_nowait((conversation, entry, text))
        self._changed(conversation.name)
        return entry

    async def _send_all(self) -> None:
        while True:
            conversation, entry, text = await self._outgoing.get()
            try:
                posted = await self._post(conversation.address, text)
            except RelayError as error:
                self._failed(conversation, entry, error)
            else:
                self._spawn(self._follow(conversation, entry, posted))

    async def _post(self, to: str, text: str) -> Posted:
        """Waits while as much as may be under way is."""
        while True:
            try:
                return await self.client.post(to, text)
            except TimedOut:
                continue

    async def _follow(self, conversation: Conversation, entry: Entry, posted: Posted) -> None:
        while True:
            try:
                stored = await posted.wait()
            except TimedOut:
                continue
            except RelayError as error:
                self._failed(conversation, entry, error)
                return
            break
        entry.stored(stored)
        conversation.waiting.remove(entry)
        self._arrived(conversation, entry)

    def _failed(self, conversation: Conversation, entry: Entry, error: Exception) -> None:
        entry.error = describe_error(error)
        self._changed(conversation.name)

    def discard_failed(self, conversation: Conversation) -> None:
        """Take away what the relay refused."""
        conversation.waiting = [entry for entry in conversation.waiting if not entry.error]
        self._changed(conversation.name)

    # Files.

    async def send_file(self, conversation: Conversation, path: Path) -> Entry:
        """Send a file, over cuts and restarts, for as long as the program runs. Raises OSError if there is none."""
        size = (await asyncio.to_thread(path.stat)).st_size
        entry = own_file_entry(self.me, path.name, size, conversation.address)
        self.transfers[entry] = Transfer("sending", size)
        conversation.waiting.append(entry)
        conversation.last_at = time.time()
        self._spawn(self._send_file(conversation, entry, path))
        self._changed(conversation.name)
        return entry

    async def _send_file(self, conversation: Conversation, entry: Entry, path: Path) -> None:
        transfer = self.transfers[entry]
        try:
            sent = await self.client.files.send(
                path, conversation.address, progress=self._progress_of(conversation, transfer), patience_s=None
            )
        except (RelayError, OSError) as error:
            del self.transfers[entry]
            self._failed(conversation, entry, error)
            return
        del self.transfers[entry]
        if entry.file is not None:
            entry.file = entry.file._replace(id=sent.id, size=sent.size, hash=sent.hash)
        entry.stored(sent.stored)
        conversation.waiting.remove(entry)
        self._arrived(conversation, entry)

    def fetch_file(self, conversation: Conversation, entry: Entry, directory: Path) -> None:
        """Fetch the file that a message tells of, into a directory, under its name or that with a number."""
        known = self.transfers.get(entry)
        if entry.file is None or (known is not None and known.state is TransferState.UNDER_WAY):
            return
        self.transfers[entry] = Transfer("fetching", entry.file.size)
        self._spawn(self._fetch_file(conversation, entry, entry.file.id, directory))
        self._changed(conversation.name)

    async def _fetch_file(self, conversation: Conversation, entry: Entry, file: str, directory: Path) -> None:
        transfer = self.transfers[entry]
        progress = self._progress_of(conversation, transfer)
        try:
            got = await self.client.files.get(file, directory, numbered=True, progress=progress, patience_s=None)
        except (RelayError, OSError) as error:
            transfer.end(f"not fetched: {describe_error(error)}", failed=True)
            self._tell(f"{entry.file.name if entry.file else file}: {describe_error(error)}", True)
        else:
            transfer.end(clean_line(f"saved as {got.path}"))
        self._changed(conversation.name)

    def _progress_of(self, conversation: Conversation, transfer: Transfer) -> Callable[[int, int | None], None]:
        def progress(done: int, size: int | None) -> None:
            if transfer.move(done, size, time.monotonic()):
                self._changed(conversation.name)

        return progress

    async def typing(self, conversation: Conversation) -> None:
        """Tell the others that somebody types here; not more often than they need to hear it."""
        now = time.monotonic()
        if not self.connected or now - self._typed_at.get(conversation.name, -TYPING_EVERY_S) < TYPING_EVERY_S:
            return
        self._typed_at[conversation.name] = now
        try:
            await self.client.typing(conversation.address)
        except (NotConnected, TimedOut):
            return

    # Rooms.

    async def join(self, room: str) -> Conversation:
        """Enter a room."""
        return self._entered(await self.client.rooms.join(room))

    async def create(self, room: str, title: str, public: bool) -> Conversation:
        """Make a room."""
        return self._entered(await self.client.rooms.create(room, title, public=public))

    def _entered(self, room: Room) -> Conversation:
        conversation = self.book.update_room(room)
        conversation.reached(room.head, time.time())
        conversation.read_to(room.head)
        return conversation

    async def leave(self, conversation: Conversation) -> None:
        """Leave a room, or decline an invitation."""
        await self.client.rooms.leave(conversation.name)
        conversation.role = None
        self._changed(None)


def _room_news(event: RoomChanged) -> str:
    """What happened in the room that is open, for those inside."""
    by = event.by
    news = {
        "joined": f"{event.user} has joined",
        "left": f"{event.user} has left",
        "invited": f"{by} has invited {event.user}",
        "removed": f"{by} has put {event.user} out",
        "banned": f"{by} has put {event.user} out for good",
        "role": f"{by} has made {event.user} {event.role}",
    }
    return news.get(event.what, f"{by} has changed {event.room}")
