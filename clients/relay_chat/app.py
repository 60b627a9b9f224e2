"""The program: a desk, the widgets that show it, and what keys and clicks do."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from relay_client.aio import Client
from relay_client.errors import RelayError
from rich.style import Style
from textual import on
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.events import Event, InputEvent
from textual.filter import LineFilter, NoColor
from textual.widget import Widget

from relay_chat.keyboard import know_alt_enter
from relay_chat.model.clean import clean_line
from relay_chat.model.commands import parse
from relay_chat.model.completion import Words
from relay_chat.model.conversation import Conversation
from relay_chat.model.desk import Desk
from relay_chat.model.entries import Entry, describe_error
from relay_chat.orders import Orders
from relay_chat.searching import Searching
from relay_chat.view.bars import Bar, Piece, press, title_pieces, typing_text
from relay_chat.view.composer import Composer
from relay_chat.view.history import History
from relay_chat.view.panels import ListPanel, TextPanel, help_text
from relay_chat.view.search_bar import SearchBar
from relay_chat.view.sidebar import Sidebar
from relay_chat.view.standing import empty_lines, messages_text, status_pieces
from relay_chat.view.theme import DARK, LIGHT, Look, look_of

# With fewer columns the list folds away.
NARROW_COLUMNS = 72

# After so long without a key the others see that one is away.
AWAY_S = 600.0

# With so many messages on the way out, leaving asks first.
_LEAVE_S = 5.0


class ChatApp(App[None]):
    """`client_of` makes a client that is not connected; `place` is what the status line calls the relay.

    Fetched files go to `downloads`."""

    CSS_PATH = "chat.tcss"
    TITLE = "Relay"
    ENABLE_COMMAND_PALETTE = False
    HORIZONTAL_BREAKPOINTS = [  # noqa: RUF012 - as Textual declares it
        (0, "-narrow"),
        (NARROW_COLUMNS, "-wide"),
    ]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+q", "quit", show=False, priority=True),
        Binding("ctrl+f", "search", show=False, priority=True),
        Binding("ctrl+g", "go", show=False, priority=True),
        Binding("ctrl+b", "fold", show=False, priority=True),
        Binding("f1", "help", show=False, priority=True),
        Binding("alt+up", "neighbour(-1)", show=False, priority=True),
        Binding("alt+down", "neighbour(1)", show=False, priority=True),
        Binding("alt+a", "next_unread", show=False, priority=True),
    ]

    def __init__(
        self, client_of: Callable[[], Client], place: str, dark: bool = True, downloads: Path | None = None
    ) -> None:
        super().__init__()
        know_alt_enter()
        self.register_theme(DARK)
        self.register_theme(LIGHT)
        self.theme = (DARK if dark else LIGHT).name
        self._client_of = client_of
        self._place = clean_line(place)
        self._dark = dark
        self.downloads = downloads or downloads_directory()
        self._notice: tuple[str, bool] | None = None
        self._offered: tuple[tuple[str, ...], int | None] = ((), None)
        self._repaint_due = False
        self._folded: bool | None = None  # by the person; None: as there is room
        self._look: Look | None = None
        self._leaving = False
        self._touched_at = time.monotonic()
        self._away = False
        self.failure: RelayError | None = None  # why the chat ended by itself
        self.unsent = 0  # messages that were not stored when it ended

    # Its life.

    def compose(self) -> ComposeResult:
        with Horizontal(id="body"):
            yield Sidebar(lambda: self.look)
            with Vertical(id="main"):
                yield Bar(lambda: self.look, "title")
                yield SearchBar()
                yield History(lambda: self.look, self._progress)
                yield Bar(lambda: self.look, "notice")
                yield Composer(self._words)
        yield Bar(lambda: self.look, "status")

    def on_mount(self) -> None:
        self.desk = Desk(self._client_of(), self._on_changed, self.tell)
        self.orders = Orders(self)
        self.searching = Searching(self.desk, self.query_one(History), self.query_one(SearchBar), self.redraw)
        self.query_one(SearchBar).close()
        self._focus(self.query_one(Composer))
        self.set_interval(1.0, self._tick)
        self.redraw()
        self.run_worker(self._live(), exit_on_error=True)
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            for number, code in ((signal.SIGTERM, 143), (signal.SIGHUP, 129)):
                asyncio.get_running_loop().add_signal_handler(number, self.exit, None, code)

    async def _live(self) -> None:
        try:
            await self.desk.start()
        except RelayError as error:
            self._end(error)

    def _end(self, error: RelayError) -> None:
        self.failure = error
        self.exit(return_code=1)

    async def action_quit(self) -> None:
        """Leave: wait for what is under way, and say goodbye. A second time leaves at once."""
        if self._leaving or not self.desk.unsent:
            await self._leave()
            return
        self._leaving = True
        self.tell(f"{messages_text(self.desk.unsent)} not sent yet. Wait, or leave once more to give them up.", True)

    async def _leave(self) -> None:
        self.unsent = self.desk.unsent
        with contextlib.suppress(RelayError):
            await self.desk.stop(_LEAVE_S if self.desk.connected else 0.5)
        self.exit()

    def _focus(self, widget: Widget) -> None:
        """At once: what is typed next is for it."""
        self.screen_stack[0].set_focus(widget)

    # Colours.

    @property
    def look(self) -> Look:
        """The styles of the theme."""
        if self._look is None:
            self._look = look_of(DARK if self._dark else LIGHT, not self.no_color)
        return self._look

    def use_theme(self, dark: bool) -> None:
        """Dark or light."""
        self._dark, self._look = dark, None
        self.theme = (DARK if dark else LIGHT).name
        self.query_one(History).forget_drawings()
        self.redraw()

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """Colours of ours that Textual's own themes lack."""
        return DARK.variables

    def get_line_filters(self) -> Sequence[LineFilter]:
        """With NO_COLOR there is none at all, not even a grey."""
        return [NoColor()] if self.no_color else super().get_line_filters()

    # Drawing.

    def _on_changed(self, name: str | None) -> None:
        if not self._repaint_due:
            self._repaint_due = True
            self.set_timer(0.02, self.redraw)

    @property
    def _is_drawn(self) -> bool:
        """Whether there is something to draw on: not yet at the beginning, no longer at the end."""
        return self.is_running and hasattr(self, "desk") and bool(self.query("#status"))

    def redraw(self) -> None:
        """Show how it stands."""
        self._repaint_due = False
        if not self._is_drawn:
            return
        if self.desk.error is not None and not self._leaving:
            self._end(self.desk.error)
            return
        current = self.desk.current
        if current is None and self.desk.ready and (there := self.desk.book.in_order()):
            self.run_worker(self.open(there[0].name))
        self.query_one(Sidebar).sync(self.desk.book, current, self.desk.ready)
        self._draw_title()
        self.query_one(History).show(current, empty_lines(self.desk, self._place, self.look))
        self.query_one(Composer).invite(_invitation(current))
        self._draw_notice()
        self._draw_status()
        self._note_seen()

    def _tick(self) -> None:
        """What changes by itself: who types, how long ago somebody was there, when the next attempt is."""
        if not self._is_drawn:
            return
        self._draw_title()
        self._draw_notice()
        self._draw_status()
        away = time.monotonic() - self._touched_at > AWAY_S
        if away is not self._away and self.desk.connected:
            self._away = away
            self.run_worker(self._ask(lambda: self.desk.client.people.set_away(away)))

    def on_event(self, event: Event) -> Any:
        """Every key and click says that somebody is there."""
        if isinstance(event, InputEvent):
            self._touched_at = time.monotonic()
        return super().on_event(event)

    def _draw_title(self) -> None:
        pieces = title_pieces(self.desk.current, self.desk.book, self.look, self._is_folded)
        self.query_one("#title", Bar).put(*pieces)

    def _draw_notice(self) -> None:
        bar, look = self.query_one("#notice", Bar), self.look
        candidates, chosen = self._offered
        current = self.desk.current
        if candidates:
            bar.put([piece for at, name in enumerate(candidates) for piece in _offer(name, at == chosen, look)])
        elif self._notice is not None:
            text, is_problem = self._notice
            bar.put([(text, look.error if is_problem else look.quiet)])
        elif current is not None and (typers := current.typers(time.monotonic())):
            bar.put([(typing_text(typers), look.quiet + Style(italic=True))])
        else:
            bar.put([], self._below())

    def _below(self) -> list[Piece]:
        """What is further down than the reader is."""
        current, history = self.desk.current, self.query_one(History)
        if current is None or (history.at_end and current.timeline.following) or not current.timeline.loaded:
            return []
        count = f"{current.unread} new " if current.unread else ""
        return [(f"↓ {count}to the newest: Ctrl+End ", self.look.accent + press("end"))]

    def _draw_status(self) -> None:
        look, left = self.look, status_pieces(self.desk, self._place, self.look)
        keys = [_key(name, what, action, look) for name, what, action in (_KEYS if self.desk.connected else _KEYS[:1])]
        self.query_one("#status", Bar).put(left, [piece for pieces in keys for piece in pieces])

    def _progress(self, entry: Entry) -> str:
        transfer = self.desk.transfers.get(entry)
        return transfer.text() if transfer is not None else ""

    def _note_seen(self) -> None:
        """What a person has in front of her is read: not while another window has the focus."""
        current = self.desk.current
        seen = self.query_one(History).last_visible_offset
        if current is not None and seen is not None and self.app_focus and not self._is_list_over:
            self.desk.seen(current, seen)

    def tell(self, sentence: str, is_problem: bool = False) -> None:
        """Say something in the line above the one for writing, until something is written."""
        self._notice = (clean_line(sentence), is_problem)
        self._on_changed(None)

    # Conversations.

    async def open(self, name: str) -> Conversation:
        """Show a conversation. What was being written in the other one stays there."""
        composer, before = self.query_one(Composer), self.desk.current
        conversation = self.desk.book.get(name)
        if before is not conversation:
            if before is not None:
                before.draft = composer.text
            composer.fill(conversation.draft)
            self._close_search()
            self._notice = None
        if self._is_list_over:
            self._folded = None
            self._fold()
        self._focus(composer)
        try:
            await self.desk.open(name)
        except RelayError as error:
            self.tell(describe_error(error), True)
        self.redraw()
        return conversation

    def left(self, conversation: Conversation) -> None:
        """A room is ours no longer."""
        if self.desk.current is conversation:
            self.desk.current = None
        self.redraw()

    def write_to(self, name: str | None) -> None:
        """Open the conversation with somebody, or a room, that was chosen from a list."""
        if name is not None:
            self.run_worker(self.orders.run("msg", name))

    @on(Sidebar.Chosen)
    def _on_chosen(self, event: Sidebar.Chosen) -> None:
        self.run_worker(self.open(event.name))

    @on(Sidebar.Left)
    def _on_list_left(self) -> None:
        if self._is_list_over:
            self.action_fold()
        self._focus(self.query_one(Composer))

    def action_neighbour(self, step: int) -> None:
        """The conversation above or below in the list."""
        there = self.desk.book.in_order()
        if there:
            at = there.index(self.desk.current) + step if self.desk.current in there else 0
            self.run_worker(self.open(there[at % len(there)].name))

    def action_next_unread(self) -> None:
        """The next conversation with something unread."""
        there = [c for c in self.desk.book.in_order() if c.unread and c is not self.desk.current]
        if there:
            self.run_worker(self.open(there[0].name))

    def action_go(self) -> None:
        """Choose a conversation by its name."""
        rows = []
        for conversation in self.desk.book.in_order():
            ink = "bold" if conversation.unread else ""
            remark = f"  {conversation.unread} unread" if conversation.unread else ""
            label = Content.assemble(
                (conversation.label, ink), (f"  {clean_line(conversation.title)}", "$quiet"), (remark, "$accent")
            )
            rows.append((conversation.address, label))
        self.push_screen(
            ListPanel("go to", rows, "Enter goes there", "Enter writes to somebody new", True), self.write_to
        )

    # The list at the side.

    @property
    def _is_narrow(self) -> bool:
        return self.size.width < NARROW_COLUMNS

    @property
    def _is_folded(self) -> bool:
        return self._is_narrow if self._folded is None else self._folded

    @property
    def _is_list_over(self) -> bool:
        """Whether the list covers the conversation."""
        return self._is_narrow and not self._is_folded

    def action_fold(self) -> None:
        """Fold the list away, or unfold it."""
        self._folded = not self._is_folded
        self._fold()
        self._focus(self.query_one(Sidebar if self._is_list_over else Composer))
        self.redraw()

    def _fold(self) -> None:
        self.query_one(Sidebar).display = not self._is_folded
        self.query_one("#main").display = not self._is_list_over

    def on_resize(self) -> None:
        self.call_after_refresh(self._fold_as_fits)

    def _fold_as_fits(self) -> None:
        self._folded = None
        self._fold()
        self.redraw()

    # Writing.

    @on(Composer.Sent)
    async def _on_sent(self, event: Composer.Sent) -> None:
        self._notice = None
        current = self.desk.current
        bare_join = current is not None and current.is_invitation and event.text.strip() == "/join"
        line = parse(f"/join {current.name}" if current is not None and bare_join else event.text)
        if line.problem:
            self.tell(line.problem, True)
            self.query_one(Composer).fill(event.text)
        elif line.command:
            self.run_worker(self.orders.run(line.command, line.argument))
        elif current is None or current.is_invitation:
            self.tell("open a conversation first: /msg NAME, or choose one from the list", True)
            self.query_one(Composer).fill(event.text)
        else:
            self.desk.send(current, line.text)
            await self.to_newest()

    @on(Composer.Typed)
    async def _on_typed(self, event: Composer.Typed) -> None:
        text, current = event.text, self.desk.current
        if text:
            self._notice = None
            self._leaving = False
        if text and not text.startswith("/") and current is not None and current.address != current.me:
            await self.desk.typing(current)
        self._draw_notice()

    @on(Composer.Offered)
    def _on_offered(self, event: Composer.Offered) -> None:
        self._offered = (event.candidates, event.chosen)
        self._draw_notice()

    @on(Composer.Problem)
    def _on_problem(self, event: Composer.Problem) -> None:
        self.tell(event.sentence, True)

    @on(Composer.Scrolled)
    async def _on_scrolled(self, event: Composer.Scrolled) -> None:
        history = self.query_one(History)
        if event.how == "end":
            await self.to_newest()
        elif event.how == "home":
            history.scroll_home(animate=False)
        else:
            (history.scroll_page_up if event.how == "page_up" else history.scroll_page_down)(animate=False)

    async def to_newest(self) -> None:
        """Show the end of the conversation."""
        current = self.desk.current
        if current is not None and not current.timeline.following and current.timeline.loaded:
            await self._ask(lambda: self.desk.load_newest(current))
        self.query_one(History).scroll_to_end()
        self.redraw()

    def _words(self) -> Words:
        book = self.desk.book
        here = self.desk.current.member_names if self.desk.current else ()
        people = [*here, *(name for name in book.known_people() if name not in here)]
        rooms = [conversation.name for conversation in book.rooms()]
        return Words(
            lambda: [clean_line(name) for name in people if name != book.me],
            lambda: [clean_line(name) for name in (*rooms, *sorted(book.public - set(rooms)))],
            self._files,
        )

    def _files(self) -> list[str]:
        """The names of files that can be fetched here, the newest first."""
        entries = self.desk.current.timeline.entries if self.desk.current else []
        names = [entry.file.name for entry in reversed(entries) if entry.file is not None and entry.file.id]
        return list(dict.fromkeys(names))

    # Reading.

    @on(History.Wanted)
    async def _on_wanted(self, event: History.Wanted) -> None:
        current = self.desk.current
        if current is not None and not self.desk.is_loading(current):
            load = self.desk.load_older if event.older else self.desk.load_newer
            self.run_worker(self._ask(lambda: load(current)))

    @on(History.Moved)
    def _on_moved(self) -> None:
        self._on_changed(None)

    @on(Bar.Pressed)
    async def _on_pressed(self, event: Bar.Pressed) -> None:
        actions: dict[str, Callable[[], Any]] = {
            "list": self.action_fold, "help": self.action_help, "search": self.action_search, "go": self.action_go,
        }  # fmt: skip
        if event.what == "end":
            await self.to_newest()
        elif event.what == "members":
            await self.orders.run("members", "")
        else:
            actions[event.what]()

    @on(History.Chosen)
    async def _on_picked(self, event: History.Chosen) -> None:
        if event.what == "url":
            self._follow_link(str(event.value))
        elif event.what == "file":
            self._fetch(int(event.value))
        elif event.what == "entry" and self.desk.current is not None:
            await self._ask(lambda: self._open_whole(int(event.value)))

    def _fetch(self, offset: int) -> None:
        entries = self.desk.current.timeline.entries if self.desk.current else []
        for entry in entries:
            if entry.offset == offset:
                self.orders.fetch(entry)

    def _follow_link(self, url: str) -> None:
        """A browser on this machine, if there is a screen for it; the clipboard anywhere else."""
        if sys.platform in ("darwin", "win32") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
            self.open_url(url)
            self.tell(f"opened {url}")
        else:
            self.copy_to_clipboard(url)
            self.tell(f"copied {url}")

    async def _open_whole(self, offset: int) -> None:
        current = self.desk.current
        assert current is not None
        sender, text = await self.desk.whole(current, offset)
        self.push_screen(TextPanel(sender, Content(text)))

    async def _ask(self, work: Callable[[], Any]) -> None:
        """Ask the relay; what goes wrong is told."""
        try:
            await work()
        except RelayError as error:
            self.tell(describe_error(error), True)

    def action_help(self) -> None:
        """The help page."""
        if len(self.screen_stack) == 1:
            self.push_screen(TextPanel("Relay chat", help_text("", self.size.width)))

    # Searching.

    def action_search(self) -> None:
        """Search the open conversation."""
        self.open_search("")

    def open_search(self, text: str) -> None:
        """Search for a text, or ask for one."""
        if self.desk.current is None:
            self.tell("open a conversation first", True)
        else:
            self.query_one(SearchBar).open(text)

    @on(SearchBar.Closed)
    def _on_search_closed(self) -> None:
        self._close_search()
        self._focus(self.query_one(Composer))

    def _close_search(self) -> None:
        self.searching.stop()
        self.query_one(SearchBar).close()
        self.redraw()

    @on(SearchBar.Asked)
    def _on_asked(self, event: SearchBar.Asked) -> None:
        if self.desk.current is not None:
            self.searching.start(self.desk.current, event)


_KEYS = (("F1", "help", "help"), ("^F", "search", "search"), ("^G", "go to", "go"), ("^B", "list", "list"))


def downloads_directory() -> Path:
    """Where fetched files go: the usual place, or here if there is none."""
    usual = Path.home() / "Downloads"
    return usual if usual.is_dir() else Path.cwd()


def _key(name: str, what: str, action: str, look: Look) -> list[Piece]:
    return [(f"  {name} ", look.primary + Style(bold=True) + press(action)), (what + " ", look.quiet + press(action))]


def _offer(name: str, chosen: bool, look: Look) -> list[Piece]:
    text = clean_line(name)
    return [(text, look.primary + Style(reverse=True, bold=True) if chosen else look.primary), ("  ", look.quiet)]


def _invitation(conversation: Conversation | None) -> str:
    if conversation is None:
        return "/msg NAME, /join ROOM or /help"
    return "/join or /leave" if conversation.is_invitation else f"Write to {conversation.label}"


__all__ = ["ChatApp"]
