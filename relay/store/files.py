"""What the store knows of files: who sent what to whom, how much each user has, and what is still being uploaded.

The contents lie beside the database, in a directory (`relay.store.blobs`) and under their SHA-256. The rows here refer
to them; a content that no row refers to is deleted by who swept the last one.
"""

import base64
import os
from abc import ABC, abstractmethod
from collections.abc import Collection
from typing import TYPE_CHECKING, NamedTuple

from relay.protocol.codes import ErrorCode
from relay.protocol.limits import INTEGER_MAX

if TYPE_CHECKING:
    from relay.store.base import Refusal


class FileTerms(NamedTuple):
    """What users may store, and how long it is kept; 0 is no bound."""

    quota_bytes: int = 0
    file_bytes: int = 0
    keep_ms: int = 0
    unfinished_ms: int = 0

    def expires_ms(self, time_ms: int) -> int:
        """When a file that is stored now is deleted."""
        return time_ms + self.keep_ms if self.keep_ms else INTEGER_MAX


class NewUpload(NamedTuple):
    """What a user wants to store, under a name of hers for the upload. `to` is a user or a room."""

    user: str
    upload: str
    to: str
    name: str
    type: str
    size: int | None
    hash: bytes | None


class Begun(NamedTuple):
    """An upload that is not complete: the name of its partial file, and for how many bytes there is room."""

    partial: str
    reserved_bytes: int


class StoredFile(NamedTuple):
    """A file that is kept. `to` is the user or room it was sent to."""

    id: str
    name: str
    type: str
    size: int
    hash: bytes
    owner: str
    to: str
    time_ms: int
    expires_ms: int


class Content(NamedTuple):
    """What a file holds: its size, and its SHA-256."""

    size: int
    hash: bytes


class FilePage(NamedTuple):
    """Which files are asked for: at most `limit`, of one conversation or of all, behind the file `after` or from the
    newest on.
    """

    limit: int
    conversation: str | None = None
    after: str | None = None


class Swept(NamedTuple):
    """What nothing refers to any more: names of partial files, and contents. `more`: sweep again."""

    partials: list[str]
    hashes: list[bytes]
    more: bool


class FileReader(ABC):
    """The read side, a part of `Reader`. A user sees the files she sent, those sent to her, and those sent to rooms
    that she is inside. Whoever gets the name of a removed user sees nothing of that user's.
    """

    @abstractmethod
    def file(self, user: str, id: str, time_ms: int) -> StoredFile | None:
        """The file, if the user may see it and it has not expired."""

    @abstractmethod
    def files(self, user: str, page: FilePage, time_ms: int) -> list[StoredFile] | None:
        """The files the user may see, newest first. None if there is no file `after`."""

    @abstractmethod
    def file_usage(self, user: str, time_ms: int) -> int:
        """How many bytes the user's files have, and her unfinished uploads may get."""

    @abstractmethod
    def contents(self, after: bytes, limit: int) -> list[Content]:
        """The contents that files refer to, by hash, with hashes above `after`."""

    @abstractmethod
    def has_content(self, hash: bytes) -> bool:
        """Whether any file refers to this content."""

    @abstractmethod
    def partials(self) -> list[str]:
        """The partial files of all unfinished uploads."""


class FileStore(FileReader):
    """The write side, a part of `Store`: every method is one durable transaction."""

    @abstractmethod
    def begin_upload(self, new: NewUpload, terms: FileTerms, time_ms: int) -> "StoredFile | Begun | Refusal":
        """Begin an upload or go on with one. It is complete already if it was finished before under the same name, or
        if the user may see a file with the same hash, whose content the new one shares then.

        Refused with NO_SUCH_USER, NO_SUCH_ROOM and BLOCKED as messages are, with TOO_LARGE, QUOTA_EXCEEDED, and with
        ID_REUSED if another file was uploaded under this name.
        """

    @abstractmethod
    def reserve_upload(
        self, user: str, upload: str, size_bytes: int, terms: FileTerms, time_ms: int
    ) -> "Refusal | None":
        """Have room for so many bytes in all. Refused with QUOTA_EXCEEDED, TOO_LARGE, or NO_SUCH_FILE if it is gone."""

    @abstractmethod
    def touch_upload(self, partial: str, time_ms: int) -> None:
        """Somebody worked on it until now. One that does not exist is ignored."""

    @abstractmethod
    def finish_upload(
        self, user: str, upload: str, content: Content, terms: FileTerms, time_ms: int
    ) -> "StoredFile | Refusal":
        """The content is in its place: the upload becomes a file. Refused as at its beginning."""

    @abstractmethod
    def drop_upload(self, user: str, upload: str) -> None:
        """Forget an unfinished upload. One that does not exist is ignored."""

    @abstractmethod
    def remove_file(self, user: str, id: str, time_ms: int) -> bool:
        """Let a file of the user's own expire now. Returns whether she has one of this id."""

    @abstractmethod
    def sweep_files(self, terms: FileTerms, busy: Collection[str], time_ms: int, limit: int) -> Swept:
        """Forget expired files, and uploads that nobody worked on for too long; not those whose partial files are
        `busy`. At most about `limit` at once.
        """


def new_file_id() -> str:
    """12 characters of base32, at random."""
    return base64.b32encode(os.urandom(10)).decode().lower()[:12]


def new_partial() -> str:
    """The name of a partial file, at random."""
    return os.urandom(12).hex()


def over_quota(used_bytes: int, size_bytes: int, terms: FileTerms) -> tuple[ErrorCode, str] | None:
    """Why a file of this size is refused to a user whose other files have `used_bytes`."""
    if terms.file_bytes and size_bytes > terms.file_bytes:
        return ErrorCode.TOO_LARGE, f"this file has {size_bytes} bytes; the relay takes files of {terms.file_bytes}"
    if terms.quota_bytes and used_bytes + size_bytes > terms.quota_bytes:
        return ErrorCode.QUOTA_EXCEEDED, (
            f"{used_bytes} bytes of your files are kept, and this one has {size_bytes}; {terms.quota_bytes} are "
            f"allowed: remove some, or ask who runs the relay for more"
        )
    return None


def upload_gone(upload: str) -> str:
    """The sentence for an upload that is not there."""
    return f"the upload {upload!r} was given up meanwhile; begin anew"


def another_file(upload: str) -> str:
    """The sentence for an upload under a name that was taken for another file."""
    return f"another file was uploaded under the name {upload!r}; take a new name for each file"


def is_same(new: NewUpload, to: str, name: str, size: int | None, hash: bytes | None) -> bool:
    """Whether an upload is the one that was begun with these values. What was not known then need not agree."""
    return (
        (new.to, new.name) == (to, name)
        and (new.size is None or size is None or new.size == size)
        and (new.hash is None or hash is None or new.hash == hash)
    )
