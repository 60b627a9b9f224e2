"""The line in which one searches the open conversation."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, Static


class SearchBar(Horizontal):
    """Enter looks further back, Shift+Enter, Ctrl+N or Down further forth, Escape ends it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close", show=False, priority=True),
        Binding("up,ctrl+p", "go(True)", show=False),
        Binding("down,shift+enter,ctrl+n", "go(False)", show=False),
    ]

    class Asked(Message):
        """Look for this: again from the newest, or from the last match on (`again`), back or forth (`older`)."""

        def __init__(self, text: str, again: bool, older: bool) -> None:
            super().__init__()
            self.text = text
            self.again = again
            self.older = older

    class Closed(Message):
        """The search is over."""

    def __init__(self) -> None:
        super().__init__(id="search")
        self._looked_for = ""

    def compose(self) -> ComposeResult:
        yield Static(Content("⌕ "), id="search-sign")
        yield Input(placeholder="Search in this conversation", id="search-text", compact=True)
        yield Static("", id="search-answer")

    def open(self, text: str = "") -> None:
        """Begin."""
        self.display = True
        box = self.query_one(Input)
        box.value = text or box.value
        self.screen.set_focus(box)  # at once: what is typed next is for it
        box.select_all()
        self.answer("")
        self._looked_for = ""
        if text:
            self._ask(True)

    def close(self) -> None:
        """End."""
        self.display = False

    def answer(self, text: str) -> None:
        """What came of it."""
        self.query_one("#search-answer", Static).update(Content(text))

    @property
    def answered(self) -> str:
        """What is said to the search."""
        return str(self.query_one("#search-answer", Static).content)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self._ask(True)

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()

    def action_go(self, older: bool) -> None:
        """The next match."""
        self._ask(older)

    def action_close(self) -> None:
        """End."""
        self.post_message(self.Closed())

    def _ask(self, older: bool) -> None:
        text = self.query_one(Input).value
        if text.strip():
            again, self._looked_for = text == self._looked_for, text
            self.post_message(self.Asked(text, again, older))
