"""Colours can be read, and stay with a person."""

import pytest
from relay_chat.view.theme import _ON_DARK, _ON_LIGHT, DARK, LIGHT, friend_colour, look_of
from textual.color import Color
from textual.theme import Theme


def contrast(one: str, other: str) -> float:
    """WCAG 2.2: from 1 to 21."""

    def luminance(colour: str) -> float:
        parts = [part / 255 for part in Color.parse(colour).rgb]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def inks(theme: Theme, palette: tuple[str, ...]) -> list[str]:
    own = [theme.primary, theme.accent, theme.error, theme.success, theme.foreground, theme.variables["quiet"]]
    return [ink for ink in (*own, *palette) if ink]


@pytest.mark.parametrize(("theme", "palette"), [(DARK, _ON_DARK), (LIGHT, _ON_LIGHT)], ids=["dark", "light"])
def test_everything_can_be_read(theme: Theme, palette: tuple[str, ...]) -> None:
    for background in (theme.background, theme.variables["selected"]):
        for ink in inks(theme, palette):
            assert contrast(ink, background or "") >= 4.5, (ink, background)


def test_a_friend_keeps_her_colour() -> None:
    assert [friend_colour("alice", True), friend_colour("alice", False)] == ["#f294ca", "#992e73"]
    assert len({friend_colour(f"user{number}", True) for number in range(200)}) == len(_ON_DARK)


def test_without_colours_the_cursor_is_reversed() -> None:
    assert look_of(DARK, colours=False).cursor.reverse and look_of(DARK, colours=False).match.reverse
