"""Alt+Enter, as terminals send it. In a real one: tests/cli/test_chat.py."""

from relay_chat.keyboard import know_alt_enter
from textual._xterm_parser import XTermParser


def test_escape_and_return_are_one_key() -> None:
    know_alt_enter()
    assert [event.key for event in XTermParser().feed("a\x1b\rb\r")] == ["a", "alt+enter", "b", "enter"]  # type: ignore[attr-defined]
