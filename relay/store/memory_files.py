"""What the store in memory knows of files. Users and rooms are known by their objects, which no later one shares."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import dropwhile
from typing import Protocol

from relay.protocol.addresses import conversation_for
from relay.protocol.codes import ErrorCode
from relay.store.base import Refusal
from relay.store.files import (
    Begun,
    Content,
    FilePage,
    FileReader,
    FileStore,
    FileTerms,
    NewUpload,
    StoredFile,
    Swept,
    another_file,
    is_same,
    new_file_id,
    new_partial,
    over_quota,
    upload_gone,
)


class _Person(Protocol):
    """What is asked of a user: the rooms she is inside, and whom she blocks."""

    joined: dict[str, int]
    blocked: set[str]


@dataclass(slots=True)
class _Upload:
    owner: object
    new: NewUpload
    begun: Begun
    touched_ms: int


@dataclass(slots=True)
class _File:
    owner: object
    # The user or the room that it was sent to.
    audience: object
    upload: str
    stored: StoredFile


class MemoryFiles:
    """Files and uploads. The methods are those of FileStore, with shorter names."""

    def __init__(self, users: Mapping[str, _Person], rooms: Mapping[str, object]) -> None:
        self._users = users
        self._rooms = rooms
        self._files: dict[str, _File] = {}
        self._uploads: dict[str, _Upload] = {}

    def visible(self, user: str, time_ms: int) -> list[StoredFile]:
        """What a user may see, newest first."""
        person = self._users.get(user)
        if person is None:
            return []
        around = [person, *(room for name, room in list(self._rooms.items()) if name in person.joined)]
        return [
            file.stored
            for file in reversed(list(self._files.values()))
            if file.stored.expires_ms > time_ms
            and (file.owner is person or any(file.audience is one for one in around))
        ]

    def page(self, user: str, page: FilePage, time_ms: int) -> list[StoredFile] | None:
        found = self.visible(user, time_ms)
        if page.after is not None:
            if page.after not in self._files:
                return None
            found = list(dropwhile(lambda file: file.id != page.after, found))[1:]
        if page.conversation is not None:
            found = [file for file in found if conversation_for(file.owner, file.to) == page.conversation]
        return found[: page.limit]

    def usage(self, user: str, time_ms: int, but_for: str = "") -> int:
        person = self._users.get(user)
        kept = [f.stored for f in list(self._files.values()) if f.owner is person and f.stored.expires_ms > time_ms]
        uploads = [up for up in list(self._uploads.values()) if up.owner is person and up.new.upload != but_for]
        return sum(file.size for file in kept) + sum(upload.begun.reserved_bytes for upload in uploads)

    def contents(self) -> list[Content]:
        found = {Content(file.stored.size, file.stored.hash) for file in list(self._files.values())}
        return sorted(found, key=lambda content: content.hash)

    def partials(self) -> list[str]:
        return sorted(self._uploads)

    def begin(self, new: NewUpload, terms: FileTerms, time_ms: int) -> StoredFile | Begun | Refusal:
        audience = self._audience(new)
        if isinstance(audience, Refusal):
            return audience
        before = self._before(new, time_ms)
        if before is not None:
            return before
        shared = [file.size for file in self.visible(new.user, time_ms) if file.hash == new.hash]
        size = shared[0] if shared else new.size
        problem = over_quota(self.usage(new.user, time_ms), size or 0, terms)
        if problem is not None:
            return Refusal(*problem)
        if shared and new.hash is not None:
            return self._insert(new, audience, Content(shared[0], new.hash), terms.expires_ms(time_ms), time_ms)
        begun = Begun(new_partial(), size or 0)
        self._uploads[begun.partial] = _Upload(self._users[new.user], new, begun, time_ms)
        return begun

    def reserve(self, user: str, upload: str, size_bytes: int, terms: FileTerms, time_ms: int) -> Refusal | None:
        problem = over_quota(self.usage(user, time_ms, upload), size_bytes, terms)
        if problem is not None:
            return Refusal(*problem)
        found = self._find(user, upload)
        if found is None:
            return Refusal(ErrorCode.NO_SUCH_FILE, upload_gone(upload))
        found.begun = found.begun._replace(reserved_bytes=max(found.begun.reserved_bytes, size_bytes))
        found.touched_ms = time_ms
        return None

    def touch(self, partial: str, time_ms: int) -> None:
        if partial in self._uploads:
            self._uploads[partial].touched_ms = time_ms

    def finish(self, user: str, upload: str, content: Content, terms: FileTerms, time_ms: int) -> StoredFile | Refusal:
        found = self._find(user, upload)
        if found is None:
            return Refusal(ErrorCode.NO_SUCH_FILE, upload_gone(upload))
        audience = self._audience(found.new)
        if isinstance(audience, Refusal):
            return audience
        problem = over_quota(self.usage(user, time_ms, upload), content.size, terms)
        if problem is not None:
            return Refusal(*problem)
        self.drop(user, upload)
        return self._insert(found.new, audience, content, terms.expires_ms(time_ms), time_ms)

    def drop(self, user: str, upload: str) -> None:
        found = self._find(user, upload)
        if found is not None:
            del self._uploads[found.begun.partial]

    def remove(self, user: str, id: str, time_ms: int) -> bool:
        file = self._files.get(id)
        if file is None or file.owner is not self._users.get(user) or file.stored.expires_ms <= time_ms:
            return False
        file.stored = file.stored._replace(expires_ms=0)
        return True

    def forget_owner(self, user: str) -> None:
        """The account is about to be removed: the next sweep takes what was hers."""
        for file in self._files.values():
            if file.owner is self._users[user]:
                file.stored = file.stored._replace(expires_ms=0)
        for upload in self._uploads.values():
            if upload.owner is self._users[user]:
                upload.touched_ms = 0

    def sweep(self, terms: FileTerms, busy: Collection[str], time_ms: int, limit: int) -> Swept:
        unused_since_ms = time_ms - terms.unfinished_ms if terms.unfinished_ms else 0
        old = [name for name, upload in self._uploads.items() if upload.touched_ms <= unused_since_ms]
        partials = [name for name in old if name not in busy][:limit]
        expired = [file.stored for file in self._files.values() if file.stored.expires_ms <= time_ms][:limit]
        for partial in partials:
            del self._uploads[partial]
        for file in expired:
            del self._files[file.id]
        kept = {content.hash for content in self.contents()}
        hashes = [hash for hash in dict.fromkeys(file.hash for file in expired) if hash not in kept]
        return Swept(partials, hashes, len(partials) >= limit or len(expired) >= limit)

    def _before(self, new: NewUpload, time_ms: int) -> StoredFile | Begun | Refusal | None:
        """What there is under this name for an upload."""
        owner = self._users[new.user]
        for file in self._files.values():
            found = file.stored
            if file.owner is owner and file.upload == new.upload and found.expires_ms > time_ms:
                return found if is_same(new, found.to, found.name, found.size, found.hash) else _another(new)
        upload = self._find(new.user, new.upload)
        if upload is None:
            return None
        if not is_same(new, upload.new.to, upload.new.name, upload.new.size, upload.new.hash):
            return _another(new)
        upload.touched_ms = time_ms
        return upload.begun

    def _audience(self, new: NewUpload) -> object:
        """The user or room that a file goes to, or a Refusal."""
        person = self._users.get(new.user)
        if person is None:
            return Refusal(ErrorCode.NO_SUCH_USER, f"there is no user {new.user}")
        if new.to.startswith("#"):
            if new.to not in self._rooms or new.to not in person.joined:
                return Refusal(ErrorCode.NO_SUCH_ROOM, f"there is no room {new.to}, or you are not in it")
            return self._rooms[new.to]
        peer = self._users.get(new.to)
        if peer is None:
            return Refusal(ErrorCode.NO_SUCH_USER, f"there is no user {new.to}")
        if new.user in peer.blocked:
            return Refusal(ErrorCode.BLOCKED, f"{new.to} does not take files from you")
        return peer

    def _find(self, user: str, upload: str) -> _Upload | None:
        owner = self._users.get(user)
        return next((up for up in self._uploads.values() if up.owner is owner and up.new.upload == upload), None)

    def _insert(self, new: NewUpload, audience: object, content: Content, expires_ms: int, time_ms: int) -> StoredFile:
        stored = StoredFile(new_file_id(), new.name, new.type, *content, new.user, new.to, time_ms, expires_ms)
        self._files[stored.id] = _File(self._users[new.user], audience, new.upload, stored)
        return stored


def _another(new: NewUpload) -> Refusal:
    return Refusal(ErrorCode.ID_REUSED, another_file(new.upload))


class MemoryFileReader(FileReader):
    """The part of the store's reader that is about files."""

    def __init__(self, files: MemoryFiles) -> None:
        self._kept_files = files

    def file(self, user: str, id: str, time_ms: int) -> StoredFile | None:
        return next((file for file in self._kept_files.visible(user, time_ms) if file.id == id), None)

    def files(self, user: str, page: FilePage, time_ms: int) -> list[StoredFile] | None:
        return self._kept_files.page(user, page, time_ms)

    def file_usage(self, user: str, time_ms: int) -> int:
        return self._kept_files.usage(user, time_ms)

    def contents(self, after: bytes, limit: int) -> list[Content]:
        return [found for found in self._kept_files.contents() if found.hash > after][:limit]

    def has_content(self, hash: bytes) -> bool:
        return any(content.hash == hash for content in self._kept_files.contents())

    def partials(self) -> list[str]:
        return self._kept_files.partials()


class MemoryFileStore(MemoryFileReader, FileStore):
    """The part of the store that is about files."""

    def begin_upload(self, new: NewUpload, terms: FileTerms, time_ms: int) -> StoredFile | Begun | Refusal:
        return self._kept_files.begin(new, terms, time_ms)

    def reserve_upload(self, user: str, upload: str, size_bytes: int, terms: FileTerms, time_ms: int) -> Refusal | None:
        return self._kept_files.reserve(user, upload, size_bytes, terms, time_ms)

    def touch_upload(self, partial: str, time_ms: int) -> None:
        self._kept_files.touch(partial, time_ms)

    def finish_upload(
        self, user: str, upload: str, content: Content, terms: FileTerms, time_ms: int
    ) -> StoredFile | Refusal:
        return self._kept_files.finish(user, upload, content, terms, time_ms)

    def drop_upload(self, user: str, upload: str) -> None:
        self._kept_files.drop(user, upload)

    def remove_file(self, user: str, id: str, time_ms: int) -> bool:
        return self._kept_files.remove(user, id, time_ms)

    def sweep_files(self, terms: FileTerms, busy: Collection[str], time_ms: int, limit: int) -> Swept:
        return self._kept_files.sweep(terms, busy, time_ms, limit)
