"""From text to lines of cells: wrapping by width, links, and what is drawn for one message.

Text goes into segments as it is, never through markup; it was cleaned when it became an Entry. Wide characters take
two cells, marks none.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import NamedTuple
from urllib.parse import quote

from rich.cells import cell_len, split_graphemes
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from relay_chat.model.entries import Entry, Mark, size_text
from relay_chat.view.theme import Look

# Messages of one sender stand under one name while they follow each other within this time.
GROUP_S = 300

# A message shows this many lines; the rest of it can be opened.
LINES_MAX = 60

_WORD = re.compile(r"\S+|\s+")
_URL = re.compile(r"https?://[^\s<>\"\u2018-\u201f\u2400-\u2426]+", re.IGNORECASE)
_URL_SAFE = "!#$%&'()*+,-./:;=?@[]_~"

Span = tuple[int, int, Style]


def wrap(text: str, width: int) -> Iterator[tuple[int, int]]:
    """Where the lines of the text begin and end. Breaks at spaces, and inside words that are longer than a line."""
    width = max(2, width)
    at = 0
    for paragraph in text.split("\n"):
        yield from _wrap_paragraph(text, at, at + len(paragraph), width)
        at += len(paragraph) + 1


def _wrap_paragraph(text: str, start: int, end: int, width: int) -> Iterator[tuple[int, int]]:
    if cell_len(text[start:end]) <= width:
        yield start, end
        return
    line, used = start, 0
    for match in _WORD.finditer(text, start, end):
        size = cell_len(match[0])
        if used + size <= width:
            used += size
        elif match[0].isspace():
            yield line, match.start()
            line, used = match.end(), 0
        else:
            if text[line : match.start()].strip():
                yield line, _without_spaces(text, line, match.start())
            line, used = match.start(), 0
            while size > width:
                cut = line + _fitting(text[line : match.end()], width)
                yield line, cut
                line = cut
                size = cell_len(text[line : match.end()])
            used = size
    if line < end:
        yield line, end


def _without_spaces(text: str, start: int, end: int) -> int:
    while end > start and text[end - 1] == " ":
        end -= 1
    return end


def _fitting(text: str, width: int) -> int:
    """How many characters of the text fit, at least one."""
    used = 0
    for start, end, size in split_graphemes(text)[0]:
        if used + size > width and start > 0:
            return start
        used += size
        if used > width:
            return end
    return len(text)


def clip(text: str, width: int) -> str:
    """The text in at most `width` cells, with an ellipsis if it had more."""
    if cell_len(text) <= width:
        return text
    used, kept = 0, 0
    for _, end, size in split_graphemes(text)[0]:
        used += size
        if used > width - 1:
            break
        kept = end
    return text[:kept] + "…" if width > 0 else ""


def links(text: str) -> Iterator[tuple[int, int, str]]:
    """Where web addresses stand in the text, and what they lead to: ASCII, nothing that ends a terminal's sequence."""
    for match in _URL.finditer(text):
        url = match[0].rstrip(".,;:!?'*_")
        while url.endswith(")") and url.count("(") < url.count(")"):
            url = url[:-1]
        yield match.start(), match.start() + len(url), quote(url, safe=_URL_SAFE)


def draw(text: str, start: int, end: int, style: Style, spans: Sequence[Span]) -> list[Segment]:
    """A piece of the text; later spans lie over earlier ones."""
    edges = {start, end}
    for first, last, _ in spans:
        edges.update((max(start, min(end, first)), max(start, min(end, last))))
    ordered = sorted(edges)
    segments = []
    for first, last in pairwise(ordered):
        mixed = style
        for begin, finish, over in spans:
            if begin <= first and last <= finish:
                mixed += over
        segments.append(Segment(text[first:last], mixed))
    return segments


class Setting(NamedTuple):
    """What the drawing of a message depends on beside the message: what is drawn before it and what its fate is.

    `day`: begins a day. `new`: the first unread one. `head`: shows the sender. `found`: search, and whether it is the
    match that was jumped to.
    """

    width: int
    day: bool
    new: bool
    head: bool
    mark: Mark
    word: str
    found: re.Pattern[str] | None
    here: bool
    progress: str = ""


def settings(  # noqa: PLR0913 - each is one thing that a drawing depends on
    entries: Sequence[Entry],
    *,
    width: int,
    new_from: int | None,
    mark: Callable[[Entry], Mark],
    word: Callable[[Entry, Mark], str],
    found: re.Pattern[str] | None,
    here: int | None,
    progress: Callable[[Entry], str],
) -> Iterator[Setting]:
    """How each of the messages, in their order, is to be drawn."""
    marks = [mark(entry) for entry in entries]
    following: Mark | None = None  # of the next own message
    words: list[str] = [""] * len(entries)
    for at in range(len(entries) - 1, -1, -1):
        if marks[at] is not Mark.NONE:
            words[at] = word(entries[at], marks[at]) if marks[at] is not following else ""
            following = marks[at]
    before: Entry | None = None
    for entry, own, text in zip(entries, marks, words, strict=True):
        day = before is None or before.time.date() != entry.time.date()
        first_new = new_from is not None and entry.offset is not None and entry.offset >= new_from
        new = first_new and (entry.offset == new_from if before is None else (before.offset or 0) < (new_from or 0))
        head = day or new or before is None or before.sender != entry.sender or _is_apart(before, entry)
        yield Setting(
            width, day, new, head, own, text, found, entry.offset is not None and entry.offset == here, progress(entry)
        )
        before = entry


def _is_apart(before: Entry, entry: Entry) -> bool:
    return (entry.time - before.time).total_seconds() > GROUP_S


def message_lines(entry: Entry, setting: Setting, look: Look) -> list[Strip]:
    """What is drawn for a message."""
    lines: list[list[Segment]] = []
    if setting.day:
        lines += [[], _rule(day_text(entry.time), setting.width, look.quiet, look.faint)]
    if setting.new:
        lines += [_rule("new", setting.width, look.accent + Style(bold=True), look.accent)]
    if setting.head:
        lines += [[], _header(entry, setting.width, look)]
    lines += _body(entry, setting, look)
    return [Strip(line) for line in lines]


def _rule(text: str, width: int, ink: Style, line: Style) -> list[Segment]:
    text = clip(text, width - 4)
    room = max(0, width - cell_len(text) - 4)
    left = room // 2
    return [Segment(" " + "─" * left, line), Segment(f" {text} ", ink), Segment("─" * (room - left), line)]


def _header(entry: Entry, width: int, look: Look) -> list[Segment]:
    name = "you" if entry.mine else clip(entry.sender, max(1, width - 8))
    ink = look.friend(entry.sender) + Style(bold=True)
    return [Segment(" "), Segment(name, ink), Segment(f"  {entry.time:%H:%M}", look.quiet)]


def _body(entry: Entry, setting: Setting, look: Look) -> list[list[Segment]]:
    bar = Segment(" ▎", look.friend(entry.sender) if not setting.here else look.accent)
    text, width = entry.text, setting.width - (4 if setting.mark is Mark.NONE else 8)
    spans = _spans(entry, setting, look)
    ink = look.quiet if setting.mark is Mark.QUEUED else Style()
    if entry.file is not None:
        ink += Style(bold=True)
    lines = []
    for count, (start, end) in enumerate(wrap(text, width)):
        if count == LINES_MAX:
            break
        lines.append([bar, Segment(" "), *draw(text, start, end, ink, spans)])
    rest = _rest(entry, len(lines) >= LINES_MAX)
    if rest:
        lines.append([bar, Segment(f" {clip(rest, width)}", look.primary + Style(meta={"entry": entry.offset or 0}))])
    if setting.progress:
        lines.append([bar, Segment(" "), *_progress(clip(setting.progress, width), look)])
    if not (setting.progress and setting.mark is Mark.QUEUED):
        _append_mark(lines, bar, entry, setting, look)
    return lines


def _progress(text: str, look: Look) -> list[Segment]:
    """A line about a transfer: what is done of the bar in colour."""
    done = len(text) - len(text.lstrip("━"))
    todo = len(text[done:]) - len(text[done:].lstrip("─"))
    pieces = [(text[:done], look.primary), (text[done : done + todo], look.faint), (text[done + todo :], look.quiet)]
    return [Segment(piece, ink) for piece, ink in pieces if piece]


def _rest(entry: Entry, cut: bool) -> str:
    if entry.left_out:
        return f"… {entry.left_out:,} more characters: click to open"
    return "… more: click to open" if cut else ""


def _spans(entry: Entry, setting: Setting, look: Look) -> list[Span]:
    if entry.file is not None:
        meta = Style(meta={"file": entry.offset or 0})
        name = len(entry.file.name)
        found: list[Span] = [(0, len(entry.text), meta), (0, name, look.primary), (name, len(entry.text), _REMARK)]
    else:
        found = [
            (start, end, look.primary + Style(underline=True, link=url, meta={"url": url}))
            for start, end, url in links(entry.text)
        ]
    if setting.found is not None:
        found += [(match.start(), match.end(), look.match) for match in setting.found.finditer(entry.text)]
    return found


_REMARK = Style(bold=False, dim=True)
_GLYPHS = {Mark.FAILED: "✗", Mark.QUEUED: "◌", Mark.STORED: "✓", Mark.DELIVERED: "✓✓", Mark.READ: "✓✓"}


def _append_mark(lines: list[list[Segment]], bar: Segment, entry: Entry, setting: Setting, look: Look) -> None:
    mark = setting.mark
    if mark is Mark.NONE:
        return
    if mark is Mark.FAILED:
        for start, end in wrap(entry.error, setting.width - 6):
            lines.append([bar, Segment(f" {'✗' if start == 0 else ' '} {entry.error[start:end]}", look.error)])
        return
    text = f"{_GLYPHS[mark]} {setting.word}".rstrip()
    ink = look.success if mark is Mark.READ else look.quiet
    used = sum(segment.cell_length for segment in lines[-1])
    room = setting.width - used - 2
    lines[-1].append(Segment(f"  {text if cell_len(text) <= room else _GLYPHS[mark]}", ink))


def day_text(moment: datetime, today: date | None = None) -> str:
    """A day as people say it."""
    today = today or datetime.now().astimezone().date()
    day = moment.date()
    if day == today:
        return "Today"
    if day == today - timedelta(days=1):
        return "Yesterday"
    year = f" {day.year}" if day.year != today.year else ""
    return f"{day:%A}, {day.day} {day:%B}{year}"


def since_text(moment: datetime, now: datetime) -> str:
    """How long ago something was, roughly."""
    seconds = max(0, int((now - moment).total_seconds()))
    if seconds < 60:
        return "just now"
    if seconds < 3600:
        return f"{seconds // 60} min ago"
    if seconds < 86400:
        return f"{seconds // 3600} h ago"
    return day_text(moment.astimezone(), now.astimezone().date())


def centred(lines: Iterable[tuple[str, Style]], width: int) -> list[Strip]:
    """Short texts in the middle, for what is empty."""
    drawn = []
    for text, style in lines:
        for start, end in wrap(text, max(8, width - 4)):
            piece = text[start:end]
            drawn.append(Strip([Segment(" " * max(0, (width - cell_len(piece)) // 2)), Segment(piece, style)]))
    return drawn


__all__ = ["Setting", "centred", "clip", "draw", "links", "message_lines", "settings", "size_text", "wrap"]
