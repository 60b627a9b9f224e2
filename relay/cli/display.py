"""What people and scripts see: escaped text, a stable colour for each friend, messages as lines or as JSON.

Everything that comes from others is untrusted: no byte of it may reach a terminal as a control sequence.
"""

import base64
import json
import math
import os
import re
import sys
import time
import zlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from relay_client.received import Announced, ReceivedMessage

# C0 but tab and line feed, DEL, C1; bidirectional overrides and isolates, which reorder what stands around them;
# line and paragraph separators; lone surrogates.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

# Readable on light and on dark backgrounds, and told apart by people who do not see red and green.
_PALETTE = (31, 32, 33, 34, 35, 36, 91, 92, 94, 95, 96)


def escape(text: str) -> str:
    """The text with control characters made visible (`\\x1b`). Tabs and line feeds stay."""
    return _CONTROL.sub(lambda match: _spell(ord(match[0])), text)


def escape_line(text: str) -> str:
    """As `escape`, and line feeds and tabs too: the result is one line."""
    return escape(text).replace("\n", "\\n").replace("\t", "\\t")


def _spell(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def colours_wanted() -> bool:
    """Whether stdout is a terminal that shows colours. NO_COLOR (https://no-color.org) turns them off."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(name: str, wanted: bool) -> str:
    """The name in its own colour, the same on every day and machine."""
    if not wanted:
        return name
    return f"\x1b[{_PALETTE[zlib.crc32(name.encode()) % len(_PALETTE)]}m{name}\x1b[0m"


def human_size(size: float) -> str:
    """`999 B`, `1.2 MB`, `20 GB`: two digits at least, powers of 1,000."""
    if size < 1000:
        return f"{round(size)} B"
    for unit in ("kB", "MB", "GB", "TB", "PB"):
        size /= 1000
        if size < 999.5 or unit == "PB":
            break
    return f"{size:.1f} {unit}" if size < 9.95 else f"{size:.0f} {unit}"


def message_line(message: "ReceivedMessage", me: str, colours: bool) -> str:
    """`HH:MM sender: text` in local time; `HH:MM sender to somebody: text` for what did not come to `me`.

    Further lines of the text are indented, so that they cannot pass for messages of somebody else.
    """
    if (file := message.file) is not None:
        return _file_line(message, file, me, colours)
    clock = time.strftime("%H:%M", time.localtime(message.time_ms / 1000))
    sender = escape_line(message.sender)
    to = "" if message.to == me else f" to {escape_line(message.to)}"
    indent = "\n" + " " * len(f"{clock} {sender}{to}: ")
    return f"{clock} {paint(sender, colours)}{to}: {escape(message.text).replace(chr(10), indent)}"


def _file_line(message: "ReceivedMessage", file: "Announced", me: str, colours: bool) -> str:
    """`HH:MM sender sent NAME (SIZE): relay file get ID`."""
    clock = time.strftime("%H:%M", time.localtime(message.time_ms / 1000))
    to = "" if message.to == me else f" to {escape_line(message.to)}"
    place = f": relay file get {escape_line(file.id)}" if file.id else ", directly"
    what = f"{escape_line(file.name)} ({human_size(file.size)}){place}"
    return f"{clock} {paint(escape_line(message.sender), colours)} sent{to} {what}"


def plain(value: object) -> str:
    """A value as text: strings as they are, bytes described, everything else as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return f"[{len(value)} bytes]"
    return json_text(value)


def json_text(value: object) -> str:
    """One line of JSON, with control characters escaped and other text left readable.

    What JSON cannot say: bytes become {"base64": "..."}, and NaN and the infinities become strings.
    """
    text = json.dumps(_jsonable(value), ensure_ascii=False, allow_nan=False, separators=(", ", ": "))
    return _CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _jsonable(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    if isinstance(value, float) and not math.isfinite(value):
        return {math.inf: "Infinity", -math.inf: "-Infinity"}.get(value, "NaN")
    if isinstance(value, Mapping):
        return {key if isinstance(key, str) else plain(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_jsonable(item) for item in value]
    return value


def put_json(value: object) -> None:
    """One JSON line on stdout, in UTF-8 whatever the locale says, flushed."""
    click.echo(json_text(value).encode())


def put_line(text: str) -> None:
    """One line on stdout, flushed. Characters that the terminal's encoding lacks are spelt out."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    click.echo(text.encode(encoding, "backslashreplace"))


def iso_time(moment: datetime) -> str:
    """RFC 3339 in UTC with milliseconds: sorts as text."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
