"""Lines of cells: wrapping, links, what is drawn for a message."""

import re
import unicodedata
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from relay_chat.model.clean import clean_text
from relay_chat.model.entries import Entry, Mark, entry_of
from relay_chat.view.layout import (
    Setting,
    clip,
    day_text,
    links,
    message_lines,
    settings,
    since_text,
    wrap,
)
from relay_chat.view.theme import DARK, look_of
from relay_client.received import ReceivedMessage
from rich.cells import cell_len
from rich.console import Console

from relay.protocol import packets

LOOK = look_of(DARK)
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)

texts = st.text(st.sampled_from("ab cd \n你好👍\u0301שלo"), max_size=80).map(clean_text)


def lines(text: str, width: int) -> list[str]:
    return [text[start:end] for start, end in wrap(text, width)]


@given(texts, st.integers(2, 30))
def test_no_line_is_too_wide_and_nothing_but_spaces_is_lost(text: str, width: int) -> None:
    wrapped = lines(text, width)
    assert all(cell_len(line) <= width for line in wrapped)
    assert "".join("".join(wrapped).split()) == "".join(text.split())


@pytest.mark.parametrize(
    ("text", "wrapped"),
    [
        ("one two three", ["one two", "three"]),
        ("one\n\ntwo", ["one", "", "two"]),
        ("", [""]),
        ("abcdefghijklmnop", ["abcdefgh", "ijklmnop"]),
        ("你好世界你好", ["你好世界", "你好"]),
        ("  indented code", ["indented", "code"]),
    ],
)
def test_wrapping(text: str, wrapped: list[str]) -> None:
    assert lines(text, 8) == wrapped


@given(texts, st.integers(0, 20))
def test_clipping(text: str, width: int) -> None:
    assert cell_len(clip(text.replace("\n", ""), width)) <= width


@pytest.mark.parametrize(
    ("text", "urls"),
    [
        ("see https://a.example/b?c=d#e.", ["https://a.example/b?c=d#e"]),
        ("(https://a.example/x_(y))", ["https://a.example/x_(y)"]),
        ("HTTP://A.EXAMPLE, http://b", ["HTTP://A.EXAMPLE", "http://b"]),
        ("https://a.example/ü", ["https://a.example/%C3%BC"]),
        ("javascript:alert(1) file:///etc ftp://x", []),
        ("https://a\x1b]8;;evil", ["https://a"]),
    ],
)
def test_links(text: str, urls: list[str]) -> None:
    assert [url for _, _, url in links(clean_text(text))] == urls


@given(st.text(max_size=40))
def test_what_links_lead_to_is_plain_ascii(text: str) -> None:
    for _, _, url in links(clean_text(f"https://{text}")):
        assert all("!" <= character <= "~" for character in url)


def entry(text: str = "hello", sender: str = "bob", minutes: float = 0, **more: object) -> Entry:
    return Entry(sender, text, NOON + timedelta(minutes=minutes), **{"offset": 1, **more})  # type: ignore[arg-type]


def setting(**changes: object) -> Setting:
    plain = Setting(40, day=False, new=False, head=False, mark=Mark.NONE, word="", found=None, here=False)
    return plain._replace(**changes)  # type: ignore[arg-type]


def drawn(found: Entry, how: Setting) -> list[str]:
    return [line.text.rstrip() for line in message_lines(found, how, LOOK)]


def test_a_message() -> None:
    assert drawn(entry(), setting()) == [" ▎ hello"]
    assert drawn(entry(), setting(head=True))[:2] == ["", " bob  12:00"]
    assert drawn(entry(mine=True), setting(mark=Mark.READ, word="read")) == [" ▎ hello  ✓✓ read"]
    assert drawn(entry(mine=True, error="no"), setting(mark=Mark.FAILED)) == [" ▎ hello", " ▎ ✗ no"]


@given(texts, st.sampled_from(Mark), st.integers(12, 60))
def test_lines_fit(text: str, mark: Mark, width: int) -> None:
    own = entry(text, mine=mark is not Mark.NONE, error="a long reason " * 3 if mark is Mark.FAILED else "", left_out=9)
    how = setting(width=width, mark=mark, word="delivered", head=True, day=True, new=True, progress="x" * 80)
    assert all(line.cell_length <= width for line in message_lines(own, how, LOOK))


def test_a_link_is_one_in_the_terminal_and_for_the_mouse() -> None:
    strip = message_lines(entry("see https://a.example"), setting(), LOOK)[0]
    styles = [segment.style for segment in strip if segment.text.startswith("https")]
    assert [(style.link, style.meta) for style in styles if style] == [
        ("https://a.example", {"url": "https://a.example"})
    ]


def test_a_wall_of_lines_is_cut() -> None:
    assert drawn(entry("x\n" * 500), setting())[-1] == " ▎ … more: click to open"


def placed(*entries: Entry, new_from: int | None = None) -> list[Setting]:
    marks = {0: Mark.STORED, 1: Mark.READ}
    return list(
        settings(
            entries,
            width=40,
            new_from=new_from,
            mark=lambda found: marks[found.offset or 0] if found.mine else Mark.NONE,
            word=lambda found, mark: mark.name.lower(),
            found=None,
            here=None,
            progress=lambda found: "",
        )
    )


def test_what_belongs_together_stands_under_one_name() -> None:
    placed_ = placed(entry(), entry(minutes=1), entry(sender="carol", minutes=2), entry(sender="carol", minutes=60))
    assert [(how.day, how.head) for how in placed_] == [(True, True), (False, False), (False, True), (False, True)]
    assert [how.day for how in placed(entry(), entry(minutes=60 * 24))] == [True, True]


def test_where_the_unread_begin() -> None:
    found = placed(entry(offset=5), entry(offset=6), entry(offset=7), new_from=6)
    assert [how.new for how in found] == [False, True, False]
    assert [how.new for how in placed(entry(offset=6), entry(offset=7), new_from=6)] == [True, False]
    assert [how.new for how in placed(entry(offset=8), entry(offset=9), new_from=6)] == [False, False]


def test_the_fate_is_said_in_words_where_it_changes() -> None:
    own = [entry(mine=True, offset=at) for at in (1, 1, 0, 0)]
    assert [how.word for how in placed(*own)] == ["", "read", "", "stored"]


def test_days_and_times_as_people_say_them() -> None:
    today = date(2026, 1, 2)
    assert day_text(NOON.replace(day=2), today) == "Today"
    assert day_text(NOON, today) == "Yesterday"
    assert day_text(NOON, date(2026, 3, 1)) == "Thursday, 1 January"
    assert day_text(NOON, date(2027, 3, 1)) == "Thursday, 1 January 2026"
    later = [timedelta(seconds=5), timedelta(minutes=5), timedelta(hours=5), timedelta(days=1)]
    assert [since_text(NOON, NOON + gap) for gap in later] == ["just now", "5 min ago", "5 h ago", "Yesterday"]


# What our own drawing sends to a terminal: colours and attributes, and web addresses.
_OURS = re.compile(r"\x1b\[[0-9;]*m|\x1b\]8;(id=[0-9-]+;https?://[!-~]*?|;)\x1b\\", re.IGNORECASE)


@given(
    st.text(
        st.one_of(
            st.sampled_from("\x1b\x9b\x07\\[]();:/\u202e\u2066\u200d\ud800\r\n\t"),
            st.sampled_from("https://a.b "),
            st.characters(codec=None),
        ),
        max_size=60,
    ),
    st.sampled_from(Mark),
    st.integers(12, 50),
)
def test_nothing_that_somebody_wrote_reaches_the_terminal_as_a_command(text: str, mark: Mark, width: int) -> None:
    wild = f"https://{text}"
    packet = packets.Message(f"b{text}/phone", "alice", 1, "text/plain", wild.encode("utf-8", "replace"))
    found = entry_of(ReceivedMessage("alice@bob", 1, 0, packet), "alice")
    found.error = clean_text(text)
    how = setting(width=width, mark=mark, head=True, day=True, new=True)
    console = Console(color_system="truecolor", force_terminal=True, legacy_windows=False)
    sent = "".join(line.render(console) for line in message_lines(found, how, LOOK))
    rest = _OURS.sub("", sent)
    assert not [character for character in rest if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")], sent
    assert "\u202e" not in rest and "\u2066" not in rest
