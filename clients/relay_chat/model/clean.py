"""Untrusted text, made fit for a terminal. Everything that others wrote goes through here before it is shown.

The result has no character that a terminal could take for a command, none that reorders what stands around it, and
none whose width terminals disagree about by so much that a line could overflow. What is left out for good manners
(joiners, presentation selectors) is left out of what is shown only; the message itself stays as it came.
"""

import re
import unicodedata
from functools import lru_cache

from rich.cells import get_character_cell_size

# Terminals do not agree whether these join or widen what stands before them: emoji are shown one by one instead.
# Zero width joiner, both presentation selectors, skin tones, soft hyphen, byte order mark.
_LEFT_OUT = re.compile("[\u200d\ufe0e\ufe0f\U0001f3fb-\U0001f3ff\xad\ufeff]")

# C0 but tab and line feed, DEL, C1; bidirectional embeddings, overrides, isolates and marks; line and paragraph
# separators; deprecated and interlinear format characters; lone surrogates; tags.
_FORBIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff"
    "\ufff0-\ufffb\ufffe\uffff\U000e0000-\U000e0fff]"
)

# Marks that stand on one letter: no living script needs more, and a pile of them covers other lines.
MARKS_MAX = 4
_ZWNJ = "\u200c"  # Persian needs it

_BAD = "\ufffd"
_TAB = "    "
_PLAIN = re.compile(r"[\n -~]*")


def clean_text(text: str) -> str:
    """The text in lines: `\\n` is the only control character left in it. Cleaning again changes nothing."""
    if _PLAIN.fullmatch(text):
        return text
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\t", _TAB)
    text = _FORBIDDEN.sub(lambda match: _picture(match[0]), _LEFT_OUT.sub("", text))
    return "".join(_without_piles(unicodedata.normalize("NFC", text)))


@lru_cache(maxsize=4096)
def clean_line(text: str) -> str:
    """As `clean_text`, and in one line, without space around it: for names and titles."""
    return clean_text(clean_text(text).replace("\n", "\u240a").strip())


def _picture(character: str) -> str:
    """A control character as the picture Unicode has for it, so that one sees that something was there."""
    code = ord(character)
    return chr(0x2400 + code) if code < 0x20 else "\u2421" if code == 0x7F else _BAD


def _without_piles(text: str) -> "list[str]":
    """Characters that take no room stand on one that does, and only so many."""
    kept: list[str] = []
    marks = MARKS_MAX  # nothing to stand on at the beginning
    for character in text:
        if character == "\n":
            kept.append(character)
            marks = MARKS_MAX
        elif get_character_cell_size(character) > 0:
            kept.append(character)
            marks = 0
        elif marks < MARKS_MAX and (character == _ZWNJ or unicodedata.category(character) in ("Mn", "Me", "Mc")):
            kept.append(character)
            marks += 1
        elif not kept or kept[-1] != _BAD:
            kept.append(_BAD)
            marks = MARKS_MAX
    return kept
