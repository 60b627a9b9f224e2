"""What lies over the conversation for a moment: help, lists to choose from, a whole message."""

from collections.abc import Sequence
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from relay_chat.model.clean import clean_line
from relay_chat.model.commands import COMMANDS
from relay_chat.view.layout import wrap

KEYS = (
    ("Enter", "send"),
    ("Shift+Enter, Ctrl+J", "new line; Alt+Enter, too"),
    ("Tab", "complete a name or a command; again for the next"),
    ("Up", "what you wrote before, while nothing is written"),
    ("PageUp, PageDown", "scroll; Ctrl+Home and Ctrl+End go to the ends"),
    ("Alt+Up, Alt+Down", "the conversation above, below"),
    ("Alt+A", "the next conversation with something unread"),
    ("Ctrl+G", "go to a conversation by its name"),
    ("Ctrl+B", "the list: fold it away, or unfold it"),
    ("Ctrl+F", "search here; Enter goes back in time, Shift+Enter forth"),
    ("F1", "this page"),
    ("Ctrl+Q, /quit, Q", "leave"),
)

MARKS = (
    ("◌ waiting", "not with the relay yet; it goes out by itself"),
    ("✓ stored", "on the relay's disk"),
    ("✓✓ delivered", "on a device of somebody else"),
    ("✓✓ read", "somebody else has read it"),
)


class Panel(ModalScreen[str | None]):
    """Closed with Escape, or by a click beside it."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,f1,ctrl+q", "close", show=False)]

    def action_close(self) -> None:
        """Away with it."""
        self.dismiss(None)

    def on_click(self, event: events.Click) -> None:
        if event.widget is self:
            self.dismiss(None)


class TextPanel(Panel):
    """A title and a text to scroll through. Both are shown as they are."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter,q", "close", show=False)]

    def __init__(self, title: str, text: Content) -> None:
        super().__init__()
        self._title = clean_line(title)
        self._text = text

    def compose(self) -> ComposeResult:
        with Vertical(classes="panel") as box:
            box.border_title = Content(self._title)
            box.border_subtitle = "Esc closes"
            with VerticalScroll() as scroll:
                scroll.can_focus = True
                yield Static(self._text)

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()


class ListPanel(Panel):
    """Things to choose one from: (its id, its label, a remark), narrowed down by typing. The outcome is the id, or what
    was typed if `free` and nothing matches."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1)", show=False, priority=True),
        Binding("down", "move(1)", show=False, priority=True),
    ]

    def __init__(
        self, title: str, rows: Sequence[tuple[str, Content]], hint: str, empty: str, free: bool = False
    ) -> None:
        super().__init__()
        self._title = clean_line(title)
        self._rows = list(rows)
        self._hint = hint
        self._empty = empty
        self._free = free
        self._shown: list[str] = []

    def compose(self) -> ComposeResult:
        with Vertical(classes="panel list") as box:
            box.border_title = Content(self._title)
            box.border_subtitle = Content(self._hint)
            yield Input(placeholder="type to find", compact=True)
            yield OptionList()
            yield Static(Content(self._empty), classes="empty")

    def on_mount(self) -> None:
        self._narrow("")
        self.query_one(Input).focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        self._narrow(event.value)

    def _narrow(self, typed: str) -> None:
        word = typed.strip().lower()
        rows = [(key, label) for key, label in self._rows if word in label.plain.lower()]
        self._shown = [key for key, _ in rows]
        options = self.query_one(OptionList)
        options.clear_options()
        options.add_options([Option(label) for _, label in rows])
        options.highlighted = 0 if rows else None
        options.display = bool(rows)
        self.query_one(".empty").display = not rows

    def action_move(self, steps: int) -> None:
        """Move the cursor while one types."""
        options = self.query_one(OptionList)
        if self._shown:
            at = options.highlighted or 0
            options.highlighted = max(0, min(len(self._shown) - 1, at + steps))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        at = self.query_one(OptionList).highlighted
        if at is not None and at < len(self._shown):
            self.dismiss(self._shown[at])
        elif self._free and event.value.strip():
            self.dismiss(event.value.strip())

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._shown[event.option_index])


def help_text(name: str = "", width: int = 80) -> Content:
    """The help: all of it, or what belongs to one command; for a terminal of so many columns."""
    column = 30 if width >= 70 else 0
    room = max(20, min(84, width * 9 // 10) - 8 - column)

    def row(what: str, meaning: str) -> Content:
        lines = [meaning[start:end] for start, end in wrap(meaning, room)]
        gap = " " * (column - len(what)) if len(what) < column else f"\n{' ' * (column + 2)}  "
        indent = "\n" + " " * (column + 2) + ("" if column else "  ")
        return Content.assemble(("  " + what, "bold"), gap, (indent.join(lines) + "\n", "$quiet"))

    commands = [command for command in COMMANDS if not name or command.name == name]
    parts: list[Content] = []
    for section in dict.fromkeys(command.section for command in commands):
        parts += [Content.styled(f"{section}\n", "bold $primary")]
        for command in commands:
            if command.section == section:
                parts.append(row(f"/{command.name} {command.argument}".rstrip(), command.help))
        parts.append(Content("\n"))
    if not name:
        parts += [Content.styled("Keys\n", "bold $primary"), *(row(*key) for key in KEYS), Content("\n")]
        parts += [
            Content.styled("Your messages\n", "bold $primary"),
            *(row(*mark) for mark in MARKS),
            Content("\n"),
        ]
        last = "A message that begins with / is written with two: //like this"
        parts += [Content.styled(last[start:end] + "\n", "$quiet") for start, end in wrap(last, room + column)]
    return Content("").join(parts)
