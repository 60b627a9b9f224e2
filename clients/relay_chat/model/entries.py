"""One line of a conversation as a person sees it: what somebody said, cleaned, with its time and its fate."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from typing import Any

from relay_client.received import ReceivedMessage, Stored

from relay.protocol.payloads import MSGPACK, PayloadError, decode_body
from relay_chat.model.clean import clean_line, clean_text

# What is kept in memory and shown of one message; the whole of it can be opened.
SHOWN_MAX_CHARS = 4000

FILE_TYPE = "application/vnd.relay.file"


class Mark(IntEnum):
    """How far an own message is. Each includes those before it."""

    NONE = 0
    FAILED = 1
    QUEUED = 2
    STORED = 3
    DELIVERED = 4
    READ = 5


class FileNote:
    """What a message says about a file: how to get it, its name, how large it is and of what kind. All of it comes
    from somebody else; `name` is cleaned."""

    __slots__ = ("id", "kind", "name", "sha256", "size")

    def __init__(self, id_: str, name: str, size: int, kind: str, sha256: bytes) -> None:
        self.id = id_
        self.name = clean_line(name)
        self.size = size
        self.kind = clean_line(kind)
        self.sha256 = sha256


@dataclass(eq=False, slots=True)
class Entry:
    """A message in a conversation. `offset` is None while the relay has not stored it; `left_out` says how many
    characters at its end are not here."""

    sender: str
    text: str
    time: datetime
    mine: bool = False
    offset: int | None = None
    device: str = ""
    left_out: int = 0
    error: str = ""
    file: FileNote | None = None
    to: str = field(default="")

    def stored(self, stored: Stored) -> None:
        """It is on the relay's disk."""
        self.offset = stored.offset
        self.time = stored.time.astimezone()


def entry_of(message: ReceivedMessage, me: str) -> Entry:
    """A message from the relay, as `me` sees it."""
    note = file_note(message)
    text = file_text(note) if note else shown_text(message)
    clipped = clean_text(text[: SHOWN_MAX_CHARS + 1])[:SHOWN_MAX_CHARS]
    return Entry(
        sender=clean_line(message.sender),
        text=clipped,
        time=message.time.astimezone(),
        mine=message.sender == me,
        offset=message.offset,
        device=clean_line(message.sender_device),
        left_out=max(0, len(text) - SHOWN_MAX_CHARS),
        file=note,
        to=message.to,
    )


def own_entry(me: str, text: str, to: str) -> Entry:
    """What was just written, and is not stored yet."""
    return Entry(
        sender=me,
        text=clean_text(text)[:SHOWN_MAX_CHARS],
        time=datetime.now().astimezone(),
        mine=True,
        left_out=max(0, len(text) - SHOWN_MAX_CHARS),
        to=to,
    )


def shown_text(message: ReceivedMessage) -> str:
    """The body for a person: text as it is, structures as JSON, of anything else what it is. Not cleaned."""
    kind = message.content_type
    if not kind or kind.startswith("text/") or kind == "application/msgpack":
        return message.text
    return f"[{kind}, {size_text(len(message.body))}]"


def file_note(message: ReceivedMessage) -> FileNote | None:
    """What the message says about a file; None if it is about something else, or not well formed."""
    if message.content_type != FILE_TYPE:
        return None
    try:
        value: Any = decode_body(MSGPACK, message.body)
        note = FileNote(value["id"], value["name"], value["size"], value.get("type") or "", value.get("hash") or b"")
    except (PayloadError, KeyError, TypeError, AttributeError):
        return None
    return note if isinstance(note.id, str) and isinstance(note.size, int) and note.size >= 0 and note.name else None


def file_text(note: FileNote) -> str:
    """How a file is named in a conversation."""
    return f"{note.name}  {size_text(note.size)}"


def size_text(size_bytes: int) -> str:
    """A size as people say it: `312 bytes`, `4.2 MB`."""
    if size_bytes < 1000:
        return f"{size_bytes} byte{'s' * (size_bytes != 1)}"
    size = float(size_bytes)
    for unit in ("kB", "MB", "GB"):
        size /= 1000
        if size < 999.95:
            return f"{size:.1f} {unit}"
    return f"{size / 1000:,.1f} TB"


def describe_error(error: Exception) -> str:
    """Why something was not done, as one clean line."""
    return clean_line(str(getattr(error, "sentence", "") or error))
