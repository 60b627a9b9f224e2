"""Alt+Enter, which most terminals send as Escape and Return: Textual's table of sequences does not have it."""

from enum import Enum
from typing import Any, cast

from textual._ansi_sequences import ANSI_SEQUENCES_KEYS


class _Key(Enum):
    ALT_ENTER = "alt+enter"


def know_alt_enter() -> None:
    """Have Textual report it as `alt+enter` instead of `enter`. Calling it again changes nothing."""
    cast(dict[str, Any], ANSI_SEQUENCES_KEYS)["\x1b\r"] = (_Key.ALT_ENTER,)
