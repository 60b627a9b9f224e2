"""The messages of the open conversation: drawn line by line, scrolled back and forth, the window grows at both ends."""

import re
from collections.abc import Callable
from datetime import datetime

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.selection import Selection
from textual.strip import Strip

from relay_chat.model.conversation import Conversation
from relay_chat.model.entries import Entry, Mark
from relay_chat.view.layout import Setting, centred, message_lines, settings
from relay_chat.view.theme import Look

# Within so many screens of an end of what is in memory, more is asked for.
_NEAR_SCREENS = 2


class History(ScrollView, can_focus=False):
    """Shows one conversation. `sync` draws what has changed and keeps in place what is being read."""

    class Wanted(Message):
        """The reader comes near an end of what is in memory."""

        def __init__(self, older: bool) -> None:
            super().__init__()
            self.older = older

    class Chosen(Message):
        """Something in a message was clicked: a web address, a file, or `more`."""

        def __init__(self, what: str, value: str | int) -> None:
            super().__init__()
            self.what = what
            self.value = value

    class Moved(Message):
        """The reader is somewhere else."""

    def __init__(self, look: Callable[[], Look], progress: Callable[[Entry], str]) -> None:
        super().__init__(id="history")
        self._look = look
        self._progress = progress
        self._conversation: Conversation | None = None
        self._empty: list[tuple[str, Style]] = []
        self._blocks: dict[Entry, tuple[Setting, str, list[Strip]]] = {}
        self._lines: list[Strip] = []
        self._starts: list[tuple[int, Entry]] = []
        self._at_end = True
        self._just_opened = False  # and not shown yet
        self.found: re.Pattern[str] | None = None
        self.here: int | None = None

    @property
    def at_end(self) -> bool:
        """Whether the newest line is in view."""
        return self.scroll_offset.y >= self.max_scroll_y

    def show(self, conversation: Conversation | None, empty: list[tuple[str, Style]]) -> None:
        """Show another conversation, from its end or from the first unread message; `empty` if it has none."""
        changed = conversation is not self._conversation
        self._conversation = conversation
        self._empty = empty
        if changed:
            self.forget_drawings()
            self._at_end = self._just_opened = True
        self.sync()

    def forget_drawings(self) -> None:
        """The colours are others now."""
        self._blocks = {}

    def sync(self) -> None:
        """Draw what has changed. What is being read stays where it is; at the end, what comes is scrolled to."""
        if not self.size.width:
            return
        anchor = None if self._at_end else self._anchor()
        self._lay_out()
        height = max(1, self.size.height)
        self.virtual_size = Size(self.scrollable_content_region.width, len(self._lines))
        bottom = max(0, len(self._lines) - height)
        top = bottom if anchor is None else min(bottom, self._line_of(*anchor))
        if self._just_opened and self._starts:
            self._just_opened = False
            top = min(bottom, self._first_new(bottom))
            self._at_end = top == bottom
        if int(self.scroll_offset.y) != top:
            self.scroll_to(y=top, animate=False, immediate=True, force=True)
        self.refresh()
        self._want_more()

    def _entries(self) -> list[Entry]:
        conversation = self._conversation
        if conversation is None:
            return []
        timeline = conversation.timeline
        ends = timeline.following or not timeline.loaded
        return [*timeline.entries, *(conversation.waiting if ends else [])]

    def _lay_out(self) -> None:
        entries, look = self._entries(), self._look()
        width = max(10, self.scrollable_content_region.width)
        lines: list[Strip] = self._before_the_first(entries, look, width)
        starts: list[tuple[int, Entry]] = []
        blocks: dict[Entry, tuple[Setting, str, list[Strip]]] = {}
        for entry, setting in zip(entries, self._settings(entries, width), strict=True):
            known = self._blocks.get(entry)
            if known is None or known[0] != setting or known[1] != entry.error:
                known = (setting, entry.error, message_lines(entry, setting, look))
            blocks[entry] = known
            starts.append((len(lines), entry))
            lines += known[2]
        if not entries:
            lines = centred(self._empty, width)
            room = max(0, self.size.height - len(lines))
            lines += [Strip([])] * (room // 2)
        lines.append(Strip([]))
        missing = max(0, self.size.height - len(lines))
        self._blocks = blocks
        self._lines = [Strip([])] * missing + lines
        self._starts = [(at + missing, entry) for at, entry in starts]

    def _before_the_first(self, entries: list[Entry], look: Look, width: int) -> list[Strip]:
        """What stands above the oldest message in memory."""
        if not entries or entries[0].offset is None or self._conversation is None:
            return []
        if not self._conversation.timeline.complete:
            return [Strip([]), *centred([("…", look.quiet)], width)]
        text = "the beginning" if entries[0].offset == 1 else "nothing older is kept"
        return [Strip([]), *centred([(text, look.quiet)], width)]

    def _settings(self, entries: list[Entry], width: int):  # type: ignore[no-untyped-def]
        conversation = self._conversation
        assert conversation is not None or not entries
        return settings(
            entries,
            width=width,
            new_from=conversation.new_from if conversation else None,
            mark=conversation.mark if conversation else lambda entry: Mark.NONE,
            word=self._word,
            found=self.found,
            here=self.here,
            progress=self._progress,
        )

    def _word(self, entry: Entry, mark: Mark) -> str:
        conversation = self._conversation
        if mark is Mark.READ and conversation is not None and conversation.is_room and entry.offset is not None:
            return f"read by {conversation.readers(entry.offset)}"
        return {Mark.QUEUED: "waiting", Mark.STORED: "stored", Mark.DELIVERED: "delivered", Mark.READ: "read"}.get(
            mark, ""
        )

    # Where the reader is.

    def _anchor(self) -> tuple[Entry, int] | None:
        """The message at the top of the view, and how many of its lines are above it."""
        top = int(self.scroll_offset.y)
        found: tuple[Entry, int] | None = None
        for start, entry in self._starts:
            if start > top and found is not None:
                break
            found = (entry, top - start)
        return found

    def _first_new(self, otherwise: int) -> int:
        """The line at which the unread messages begin."""
        return next((start for start, entry in self._starts if self._blocks[entry][0].new), otherwise)

    def _line_of(self, entry: Entry, lines: int) -> int:
        for start, there in self._starts:
            if there is entry or (entry.offset is not None and there.offset == entry.offset):
                return max(0, start + lines)
        return len(self._lines)

    def scroll_to_offset(self, offset: int) -> None:
        """Bring a message into the middle of the view."""
        self._at_end = False
        self.sync()
        for start, entry in self._starts:
            if entry.offset == offset:
                self.scroll_to(y=max(0, start - self.size.height // 3), animate=False, immediate=True, force=True)
        self._at_end = self.at_end

    def scroll_to_end(self) -> None:
        """Go to the newest line in memory."""
        self._at_end = True
        self.sync()

    @property
    def first_visible(self) -> datetime | None:
        """The time of what is at the top of the view."""
        anchor = self._anchor()
        return anchor[0].time if anchor else None

    @property
    def last_visible_offset(self) -> int | None:
        """The offset of the last message that is in view, wholly or in part."""
        bottom = int(self.scroll_offset.y) + self.size.height
        offsets = [entry.offset for start, entry in self._starts if start < bottom and entry.offset is not None]
        return offsets[-1] if offsets else None

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        self._at_end = self.at_end
        self._want_more()
        self.post_message(self.Moved())

    def _want_more(self) -> None:
        if self._conversation is None or not self._conversation.timeline.loaded:
            return
        near = self.size.height * _NEAR_SCREENS
        timeline = self._conversation.timeline
        if not timeline.complete and self.scroll_offset.y <= near:
            self.post_message(self.Wanted(older=True))
        elif not timeline.following and self.scroll_offset.y >= self.max_scroll_y - near:
            self.post_message(self.Wanted(older=False))

    def on_resize(self, event: events.Resize) -> None:
        self.sync()

    # Drawing, and the mouse.

    def render_line(self, y: int) -> Strip:
        at = int(self.scroll_offset.y) + y
        width = self.scrollable_content_region.width
        base = self._look().base
        strip = self._lines[at] if at < len(self._lines) else Strip([])
        if (selection := self.text_selection) is not None and (span := selection.get_span(at)) is not None:
            strip = _selected(strip, span, self.screen.get_component_rich_style("screen--selection"))
        return strip.adjust_cell_length(width).apply_style(base).apply_offsets(0, at)

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        """The text that was marked with the mouse."""
        text = selection.extract("\n".join(line.text for line in self._lines))
        return "\n".join(line.rstrip().removeprefix(" ▎").removeprefix(" ") for line in text.split("\n")), "\n"

    def selection_updated(self, selection: Selection | None) -> None:
        self.refresh()

    def on_click(self, event: events.Click) -> None:
        meta = event.style.meta
        for what in ("url", "file", "entry"):
            if what in meta:
                event.stop()
                self.post_message(self.Chosen(what, meta[what]))
                return


def _selected(strip: Strip, span: tuple[int, int], style: Style) -> Strip:
    start, end = span
    end = len(strip.text) if end == -1 else end
    segments, at = [], 0
    for text, ink, _ in strip:
        first, last = max(0, min(len(text), start - at)), max(0, min(len(text), end - at))
        for piece, marked in ((text[:first], False), (text[first:last], True), (text[last:], False)):
            if piece:
                segments.append(Segment(piece, (ink or Style()) + style if marked else ink))
        at += len(text)
    return Strip(segments)
