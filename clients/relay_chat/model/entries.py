"""One line of a conversation as a person sees it: what somebody said, cleaned, with its time and its fate."""

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import IntEnum

from relay_client.received import Announced, ReceivedMessage, Stored

from relay_chat.model.clean import clean_line, clean_text

# What is kept in memory and shown of one message; the whole of it can be opened.
SHOWN_MAX_CHARS = 4000


class Mark(IntEnum):
    """How far an own message is. Each includes those before it."""

    NONE = 0
    FAILED = 1
    QUEUED = 2
    STORED = 3
    DELIVERED = 4
    READ = 5


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
    file: Announced | None = None
    to: str = field(default="")

    def stored(self, stored: Stored) -> None:
        """It is on the relay's disk."""
        self.offset = stored.offset
        self.time = stored.time.astimezone()


def entry_of(message: ReceivedMessage, me: str) -> Entry:
    """A message from the relay, as `me` sees it."""
    note = _cleaned(message.file)
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


def _cleaned(file: Announced | None) -> Announced | None:
    """What a message says about a file, fit to be shown; None if it has no name to be shown by."""
    if file is None or not clean_line(file.name):
        return None
    return file._replace(name=clean_line(file.name), type=clean_line(file.type))


def own_file_entry(me: str, name: str, size: int, to: str) -> Entry:
    """A file that is on its way to the relay."""
    file = Announced("", clean_line(name), size, b"", "")
    return replace(own_entry(me, file_text(file), to), file=file)


def file_text(note: Announced) -> str:
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
