"""What the relay tells of the files it keeps: values without any I/O."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from relay_client.received import utc_time


class RelayFile(NamedTuple):
    """A file that the relay keeps. `conversation`: where it was sent. `hash`: the SHA-256 of its content. `expires`:
    until when it is kept; None for as long as the relay is."""

    id: str
    name: str
    size: int
    type: str
    hash: bytes
    sender: str
    conversation: str
    time: datetime
    expires: datetime | None

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "RelayFile":
        """From an answer of files.list or files.info."""
        expires = utc_time(row["expires_ms"]) if row.get("expires_ms") else None
        content = row["id"], row["name"], row["size"], row["type"], row["hash"]
        return cls(*content, row["from"], row["conversation"], utc_time(row["time_ms"]), expires)


class FileUsage(NamedTuple):
    """How many bytes the user's files take on the relay, and how many they may; 0: as many as there is room for."""

    used_bytes: int
    quota_bytes: int
