"""Where one writes: several lines, Tab for names and commands, what was sent before on the up key."""

import re
from collections.abc import Callable
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.widgets import TextArea

from relay_chat.model.completion import Completion, Words, common_start, complete

# More than the relay takes in one message; a paste beyond it is cut, and said so.
PASTE_MAX_CHARS = 200_000

_RECALLED_MAX = 100
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_NEW_LINE = ("shift+enter", "alt+enter", "ctrl+j", "ctrl+enter")
_SCROLL = {"pageup": "page_up", "pagedown": "page_down", "ctrl+home": "home", "ctrl+end": "end"}


class Composer(TextArea):
    """Enter sends, Shift+Enter, Alt+Enter or Ctrl+J begins a line."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("ctrl+u", "clear_all", show=False)]

    class Sent(Message):
        """Enter was pressed."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class Typed(Message):
        """A person has written, or deleted, something; this stands there now."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class Offered(Message):
        """What Tab could mean here: candidates, and which of them stands there now; none when that is over."""

        def __init__(self, candidates: tuple[str, ...], chosen: int | None) -> None:
            super().__init__()
            self.candidates = candidates
            self.chosen = chosen

    class Scrolled(Message):
        """A key that scrolls the conversation: page_up, page_down, home, end."""

        def __init__(self, how: str) -> None:
            super().__init__()
            self.how = how

    class Problem(Message):
        """Something to tell."""

        def __init__(self, sentence: str) -> None:
            super().__init__()
            self.sentence = sentence

    def __init__(self, words: Callable[[], Words]) -> None:
        super().__init__(
            id="composer", soft_wrap=True, compact=True, highlight_cursor_line=False, show_line_numbers=False
        )
        self._words = words
        self._cycle: Completion | None = None
        self._at: int | None = None
        self._sent: list[str] = []
        self._filled: str | None = None  # what was put there, not written
        self._recalled: int | None = None

    def invite(self, placeholder: str) -> None:
        """What stands there while nothing is written."""
        self.placeholder = Content(placeholder)

    def fill(self, text: str) -> None:
        """Put a text there, with the cursor at its end."""
        self._filled = text
        self.text = text
        self.move_cursor(self.document.end)
        self._forget_cycle()

    def _on_key(self, event: events.Key) -> None:  # type: ignore[override]
        if event.key == "enter":
            self._take(event, self._send)
        elif event.key in _NEW_LINE:
            self._take(event, lambda: self._insert("\n"))
        elif event.key in ("tab", "shift+tab") and self.text:
            self._take(event, lambda: self._complete(1 if event.key == "tab" else -1))
            return
        elif event.key in _SCROLL:
            self._take(event, lambda: self.post_message(self.Scrolled(_SCROLL[event.key])))
        elif event.key in ("up", "down") and self._may_recall(event.key):
            self._take(event, lambda: self._recall(-1 if event.key == "up" else 1))
            return
        elif event.key == "escape" and self._cycle is not None:
            self._take(event, lambda: None)
        self._forget_cycle()
        if event.key not in ("up", "down"):
            self._recalled = None

    def _take(self, event: events.Key, act: Callable[[], object]) -> None:
        event.stop()
        event.prevent_default()
        act()

    def _insert(self, text: str) -> None:
        start, end = self.selection
        self._replace_via_keyboard(text, start, end)

    def _send(self) -> None:
        text = self.text
        if text.strip():
            self._sent = [*self._sent[-_RECALLED_MAX:], text]
            self.post_message(self.Sent(text))
        self.clear()

    def action_clear_all(self) -> None:
        """Begin anew."""
        self.clear()

    async def _on_paste(self, event: events.Paste) -> None:
        """Lines stay lines; nothing that a terminal could take for a command comes in."""
        event.stop()
        event.prevent_default()
        text = _CONTROL.sub("", event.text.replace("\r\n", "\n").replace("\r", "\n"))
        if len(text) > PASTE_MAX_CHARS:
            text = text[:PASTE_MAX_CHARS]
            self.post_message(self.Problem(f"only the first {PASTE_MAX_CHARS:,} characters were pasted; send a file"))
        self._insert(text)

    def on_text_area_changed(self) -> None:
        if self.text != self._filled:
            self._filled = None
            self.post_message(self.Typed(self.text))

    # Completion.

    def _before_cursor(self) -> str:
        return self.get_text_range((0, 0), self.cursor_location)

    def _complete(self, step: int) -> None:
        if self._cycle is not None and len(self._cycle.candidates) > 1:
            count = len(self._cycle.candidates)
            self._at = (0 if step > 0 else count - 1) if self._at is None else (self._at + step) % count
            self._put(self._cycle.candidates[self._at])
            self.post_message(self.Offered(self._cycle.candidates, self._at))
            return
        found = complete(self._before_cursor(), self._words())
        if len(found.candidates) == 1:
            self._cycle = found
            self._put(found.candidates[0])
            self._forget_cycle()
        elif found.candidates:
            self._cycle, self._at = found, None
            start = common_start([candidate.rstrip() for candidate in found.candidates])
            if len(start) > len(self._before_cursor()) - found.start:
                self._put(start)
            self.post_message(self.Offered(found.candidates, None))

    def _put(self, candidate: str) -> None:
        assert self._cycle is not None
        line = len(self._before_cursor()[: self._cycle.start].split("\n")) - 1
        column = self._cycle.start - (self._before_cursor().rfind("\n", 0, self._cycle.start) + 1)
        self.replace(candidate, (line, column), self.cursor_location)

    def _forget_cycle(self) -> None:
        if self._cycle is not None:
            self._cycle = self._at = None
            self.post_message(self.Offered((), None))

    # What was sent before.

    def _may_recall(self, key: str) -> bool:
        if self._recalled is not None:
            return True
        return key == "up" and not self.text and bool(self._sent)

    def _recall(self, step: int) -> None:
        at = (len(self._sent) if self._recalled is None else self._recalled) + step
        if at >= len(self._sent):
            self._recalled = None
            self.clear()
            return
        self._recalled = max(0, at)
        self.fill(self._sent[self._recalled])
