"""Colours: two themes, and one colour for each friend, the same on every day and machine.

The friends' colours are twelve hues of equal lightness; each has a contrast of at least 4.5 to 1 (WCAG AA) on the
backgrounds of its theme. Hues of a person are the same in both.
"""

import zlib
from typing import NamedTuple

from rich.style import Style
from textual.theme import Theme

DARK = Theme(
    name="relay-dark",
    primary="#87bafd",
    secondary="#6b8db8",
    accent="#e8aa4e",
    warning="#e8aa4e",
    error="#fd959e",
    success="#7fcf8a",
    foreground="#d9dee6",
    background="#14171c",
    surface="#181c22",
    panel="#262c35",
    dark=True,
    variables={"quiet": "#8b95a3", "faint": "#4a5361", "selected": "#232a35", "cursor": "#334a68"},
)
LIGHT = Theme(
    name="relay-light",
    primary="#1467c2",
    secondary="#4f7096",
    accent="#805506",
    warning="#805506",
    error="#a62941",
    success="#2a6f35",
    foreground="#1f252d",
    background="#fbfbfb",
    surface="#f3f4f6",
    panel="#e1e4e8",
    dark=False,
    variables={"quiet": "#5f6976", "faint": "#b4bbc5", "selected": "#e2e9f3", "cursor": "#c6daf4"},
)

_ON_DARK = (
    "#fd959e", "#fc9b6f", "#e8aa4e", "#c4bc4f", "#93ca73", "#56d1a3",
    "#1ad1d1", "#41c8f6", "#87bafd", "#b0adfe", "#d79df0", "#f294ca",
)  # fmt: skip
_ON_LIGHT = (
    "#a62941", "#9a3f07", "#805506", "#686108", "#386f03", "#077051",
    "#0c6d6d", "#076985", "#085db4", "#594bb4", "#803b9c", "#992e73",
)  # fmt: skip


def friend_colour(name: str, dark: bool) -> str:
    """The colour of a user, as `#rrggbb`."""
    palette = _ON_DARK if dark else _ON_LIGHT
    return palette[zlib.crc32(name.encode()) % len(palette)]


class Look(NamedTuple):
    """The styles of what is drawn line by line."""

    dark: bool
    base: Style
    quiet: Style
    faint: Style
    accent: Style
    primary: Style
    error: Style
    success: Style
    match: Style
    chosen: Style
    cursor: Style

    def friend(self, name: str) -> Style:
        """The colour of a user."""
        return Style(color=friend_colour(name, self.dark))


def look_of(theme: Theme, colours: bool = True) -> Look:
    """The styles of a theme. Without colours the cursor and what was found are told by reversing them."""

    def ink(colour: str | None, **more: bool) -> Style:
        return Style(color=colour, **more)  # type: ignore[arg-type]

    return Look(
        dark=theme.dark,
        base=Style(color=theme.foreground, bgcolor=theme.background),
        quiet=ink(theme.variables["quiet"]),
        faint=ink(theme.variables["faint"]),
        accent=ink(theme.accent),
        primary=ink(theme.primary),
        error=ink(theme.error),
        success=ink(theme.success),
        match=Style(color=theme.background, bgcolor=theme.accent) if colours else Style(reverse=True),
        chosen=Style(bgcolor=theme.variables["selected"], bold=True),
        cursor=Style(bgcolor=theme.variables["cursor"]) if colours else Style(reverse=True),
    )
