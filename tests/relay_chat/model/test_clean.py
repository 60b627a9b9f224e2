"""Untrusted text on its way to a terminal."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from relay_chat.model.clean import MARKS_MAX, clean_line, clean_text
from rich.cells import cell_len, get_character_cell_size

_BIDI = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}

anything = st.text(st.characters(codec=None), max_size=60)
nasty = st.text(
    st.sampled_from(
        "\x1b\x9b\x07\x00\r\n\t\x7f\x85\u202e\u2066\u2069\u200d\u200c\ufe0f\u0301\u0489\u115f\u1160\ud800"
        "\U0001f3fd\U0001f468\U000e0041ab[]m;\\ \u2028\u061c\u3042\u05d0"
    ),
    max_size=60,
)
hostile = st.one_of(anything, nasty)


@given(hostile)
def test_nothing_is_left_that_a_terminal_obeys(text: str) -> None:
    for character in clean_text(text):
        assert character == "\n" or unicodedata.category(character) not in ("Cc", "Cs", "Zl", "Zp"), repr(character)
        assert unicodedata.bidirectional(character) not in _BIDI


@given(hostile)
def test_cleaning_again_changes_nothing(text: str) -> None:
    assert clean_text(clean_text(text)) == clean_text(text)
    assert clean_line(clean_line(text)) == clean_line(text)


@given(hostile)
def test_a_line_is_one_line(text: str) -> None:
    assert "\n" not in clean_line(text)


@given(hostile)
def test_every_character_takes_the_room_that_is_counted(text: str) -> None:
    """The width of a line is the sum of its characters' widths: none joins its neighbours, none widens them."""
    for line in clean_text(text).split("\n"):
        assert cell_len(line) == sum(get_character_cell_size(character) for character in line)


@given(hostile)
def test_marks_stand_on_something_and_do_not_pile_up(text: str) -> None:
    marks = MARKS_MAX
    for character in clean_text(text):
        marks = MARKS_MAX if character == "\n" else 0 if get_character_cell_size(character) else marks + 1
        assert marks <= MARKS_MAX


@pytest.mark.parametrize(
    "text",
    [
        "hello",
        "two\nlines",
        "Grüße, Zoë",
        "你好，明天见",
        "שלום עולם",
        "مرحبا بالعالم",
        "नमस्ते",
        "สวัสดีครับ",
        "👍🎉",
        "می‌خواهم",
        "[bold]x[/]",
    ],
)
def test_what_people_write_stays_as_it_is(text: str) -> None:
    assert clean_text(text) == unicodedata.normalize("NFC", text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;title\x07", "␛]0;title␇"),
        ("a\x9b31mb", "a�31mb"),
        ("report\u202efdp.exe", "report�fdp.exe"),
        ("one\r\ntwo\rthree", "one\ntwo\nthree"),
        ("\U0001f468\u200d\U0001f469", "\U0001f468\U0001f469"),
        ("❤\ufe0f", "❤"),
        ("\u0301x", "�x"),
    ],
)
def test_what_is_dangerous_is_shown_as_what_it_is(text: str, shown: str) -> None:
    assert clean_text(text) == shown


def test_a_name_with_a_line_end_stays_a_line() -> None:
    assert clean_line(" a\nb ") == "a␊b"
