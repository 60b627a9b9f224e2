"""The lines around the conversation: its title, what is going on, and at the bottom how it stands with the relay."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from relay_chat.model.book import Book
from relay_chat.model.clean import clean_line
from relay_chat.model.conversation import Conversation
from relay_chat.view.layout import clip, since_text
from relay_chat.view.theme import Look

Piece = tuple[str, Style]


class Bar(Widget):
    """One line: pieces from the left, pieces at the right. What has no room is left out from the right's beginning."""

    class Pressed(Message):
        """A piece with an action was clicked."""

        def __init__(self, what: str) -> None:
            super().__init__()
            self.what = what

    def __init__(self, look: Callable[[], Look], id: str) -> None:
        super().__init__(id=id)
        self._look = look
        self._left: list[Piece] = []
        self._right: list[Piece] = []

    def put(self, left: Sequence[Piece], right: Sequence[Piece] = ()) -> None:
        """Show these."""
        if (list(left), list(right)) != (self._left, self._right):
            self._left, self._right = list(left), list(right)
            self.refresh()

    @property
    def shown(self) -> str:
        """The text of the line, for tests and screen readers."""
        return "".join(text for text, _ in [*self._left, *self._right])

    def render_line(self, y: int) -> Strip:
        width, base = self.size.width, self._look().base
        if y != (1 if self.size.height > 1 else 0):
            return Strip.blank(width, base)
        right = list(self._right)
        needed = sum(cell_len(text) for text, _ in self._left[:2])
        while right and needed + sum(cell_len(text) for text, _ in right) + 2 > width:
            right.pop(0)
        room = width - sum(cell_len(text) for text, _ in right) - 1
        segments, used = [Segment(" ")], 1
        for text, style in self._left:
            piece = clip(text, room - used)
            segments.append(Segment(piece, style))
            used += cell_len(piece)
        segments.append(Segment(" " * max(0, room - used)))
        segments += [Segment(text, style) for text, style in right]
        return Strip(segments).adjust_cell_length(width).apply_style(base)

    def on_click(self, event: events.Click) -> None:
        if what := event.style.meta.get("press"):
            self.post_message(self.Pressed(what))


def press(what: str) -> Style:
    """A piece that can be clicked."""
    return Style(meta={"press": what})


def title_pieces(
    conversation: Conversation | None, book: Book, look: Look, folded: bool
) -> tuple[list[Piece], list[Piece]]:
    """The line above a conversation: with whom, and whether they are there."""
    left: list[Piece] = []
    if folded:
        count = book.unread - (conversation.unread if conversation else 0)
        left.append((f"≡{f' {count}' if count else ''}  ", look.accent + Style(bold=True) + press("list")))
    if conversation is None:
        return [*left, ("Relay", Style(bold=True))], []
    bold = Style(bold=True)
    if conversation.is_room:
        left.append((conversation.label, look.primary + bold))
        if conversation.title:
            left.append((f"  {clean_line(conversation.title)}", look.quiet))
        return left, [(_members(conversation, book), look.quiet + press("members"))]
    left.append((conversation.label, look.friend(conversation.address) + bold))
    return left, [(presence_text(book, conversation.address), look.quiet)]


def _members(conversation: Conversation, book: Book) -> str:
    if conversation.is_invitation:
        return "you are invited "
    count = conversation.members
    here = sum(1 for user in conversation.member_names if user == book.me or book.state(user) in ("online", "away"))
    online = f", {here} online" if conversation.member_names else ""
    return f"{count} member{'s' * (count != 1)}{online} "


def presence_text(book: Book, user: str) -> str:
    """Whether somebody is there, or when she was."""
    known = book.presence.get(user)
    if user == book.me:
        return "only you read this "
    if known is None:
        return ""
    if known.state == "offline" and known.seen is not None:
        return f"last seen {since_text(known.seen, datetime.now(UTC))} "
    return f"{known.state} "


def typing_text(names: Sequence[str]) -> str:
    """Who is typing."""
    shown = [clean_line(name) for name in names[:3]]
    if len(names) > 3:
        return f"{', '.join(shown)} and others are typing …"
    if len(names) > 1:
        return f"{', '.join(shown[:-1])} and {shown[-1]} are typing …"
    return f"{shown[0]} is typing …" if names else ""
