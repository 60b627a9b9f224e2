"""The list at the side: people with their presence, rooms, and how much of each is unread."""

from collections.abc import Callable
from typing import ClassVar, NamedTuple

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from relay_chat.model.book import Book
from relay_chat.model.conversation import Conversation
from relay_chat.view.layout import clip
from relay_chat.view.theme import Look

_DOTS = {"online": "●", "away": "◐", "offline": "○"}


class Row(NamedTuple):
    """A line of the list: a heading, a hint, or a conversation."""

    text: str = ""
    conversation: Conversation | None = None


class Sidebar(ScrollView, can_focus=True):
    """`marked` is where the cursor stands while the list has the focus."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1)", show=False),
        Binding("down", "move(1)", show=False),
        Binding("home", "move(-10000)", show=False),
        Binding("end", "move(10000)", show=False),
        Binding("enter,right", "choose", show=False),
        Binding("escape", "leave", show=False),
    ]

    class Chosen(Message):
        """A conversation is to be opened."""

        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

    class Left(Message):
        """Back to writing."""

    def __init__(self, look: Callable[[], Look]) -> None:
        super().__init__(id="sidebar")
        self._look = look
        self._rows: list[Row] = []
        self._book: Book | None = None
        self._current: Conversation | None = None
        self.marked: Conversation | None = None

    def sync(self, book: Book, current: Conversation | None, ready: bool) -> None:
        """Draw the list anew."""
        self._book, self._current = book, current
        people, rooms = book.people(), book.rooms()
        rows = [Row(), Row("people"), *(Row(conversation=c) for c in people)]
        if not people:
            rows.append(Row("  /msg NAME writes to one" if ready else "  …"))
        rows += [Row(), Row("rooms"), *(Row(conversation=c) for c in rooms)]
        if not rooms:
            rows.append(Row("  /join or /create one" if ready else "  …"))
        self._rows = rows
        self.virtual_size = Size(self.size.width, len(rows))
        self.refresh()

    def render_line(self, y: int) -> Strip:
        look, width = self._look(), self.size.width
        at = int(self.scroll_offset.y) + y
        row = self._rows[at] if at < len(self._rows) else Row()
        strip = Strip(self._segments(row, look, width)).adjust_cell_length(width)
        return strip.apply_style(look.base)

    def _segments(self, row: Row, look: Look, width: int) -> list[Segment]:
        conversation = row.conversation
        if conversation is None:
            return [Segment(clip(f" {row.text}", width), look.quiet)]
        over = Style()
        if conversation is self._current:
            over = look.chosen
        if self.has_focus and conversation is self._marked():
            over += look.cursor
        count = _count(conversation)
        dot = self._dot(conversation, look)
        room = width - 3 - dot.cell_length
        name = clip(conversation.label, room - (cell_len(count) + 1 if count else 0))
        gap = max(0, room - cell_len(name) - cell_len(count))
        meta = Style(meta={"conversation": conversation.name})
        ink = self._ink(conversation, look)
        parts = [
            Segment(" ▌" if conversation is self._current else "  ", look.primary),
            dot,
            Segment(name, ink + Style(bold=bool(count) or None)),
            Segment(" " * gap, Style()),
            Segment(count, look.accent + Style(bold=True)),
            Segment(" ", Style()),
        ]
        return [Segment(text, (style or Style()) + over + meta) for text, style, _ in parts]

    def _ink(self, conversation: Conversation, look: Look) -> Style:
        if conversation.is_room:
            return look.accent if conversation.is_invitation else Style()
        state = self._book.state(conversation.address) if self._book else ""
        return look.friend(conversation.address) if state in ("online", "away") else look.quiet

    def _dot(self, conversation: Conversation, look: Look) -> Segment:
        if conversation.is_room:
            return Segment("", look.quiet)
        state = self._book.state(conversation.address) if self._book else ""
        inks = {"online": look.success, "away": look.accent}
        return Segment(f"{_DOTS.get(state, '○')} ", inks.get(state, look.faint))

    def _marked(self) -> Conversation | None:
        there = [row.conversation for row in self._rows if row.conversation is not None]
        return (
            self.marked
            if self.marked in there
            else self._current
            if self._current in there
            else next(iter(there), None)
        )

    def action_move(self, steps: int) -> None:
        """Move the cursor."""
        there = [row.conversation for row in self._rows if row.conversation is not None]
        marked = self._marked()
        if marked is not None:
            self.marked = there[max(0, min(len(there) - 1, there.index(marked) + steps))]
            line = next(at for at, row in enumerate(self._rows) if row.conversation is self.marked)
            if not self.scroll_offset.y <= line < self.scroll_offset.y + self.size.height:
                self.scroll_to(y=max(0, line - self.size.height // 2), animate=False)
        self.refresh()

    def action_choose(self) -> None:
        """Open what the cursor stands on."""
        if (marked := self._marked()) is not None:
            self.post_message(self.Chosen(marked.name))

    def action_leave(self) -> None:
        """Back to writing."""
        self.post_message(self.Left())

    def on_click(self, event: events.Click) -> None:
        if name := event.style.meta.get("conversation"):
            self.post_message(self.Chosen(name))

    def on_focus(self) -> None:
        self.marked = None
        self.refresh()

    def on_blur(self) -> None:
        self.refresh()


def _count(conversation: Conversation) -> str:
    if conversation.is_invitation:
        return "invited"
    if any(entry.error for entry in conversation.waiting):
        return "!"
    unread = conversation.unread
    return "" if not unread else str(unread) if unread < 1000 else "999+"
