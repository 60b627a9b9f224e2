"""Files and unfinished uploads in the database. Users and rooms are known by their ids, which are never used again."""

from collections.abc import Callable, Collection
from typing import Any

from relay.protocol.addresses import conversation_members
from relay.protocol.codes import ErrorCode
from relay.store.base import Refusal
from relay.store.files import (
    Begun,
    Content,
    FilePage,
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
from relay.store.sqlite.database import Database

Rows = Callable[[str, tuple[Any, ...]], list[tuple[Any, ...]]]

_FILE = """
SELECT f.id, f.name, f.type, f.size, f.hash, coalesce(o.name, ''), f.recipient, f.time_ms, f.expires_ms
FROM files f LEFT JOIN users o ON o.id = f.owner_id
"""

# Whom the user is, and what she may see.
_VISIBLE = """
(f.owner_id = ?1 OR f.peer_id = ?1
 OR f.conversation_id IN (SELECT conversation_id FROM members WHERE user_id = ?1 AND role >= 0))
"""

_USAGE = """
SELECT (SELECT coalesce(sum(size), 0) FROM files WHERE owner_id = ?1 AND expires_ms > ?2)
     + (SELECT coalesce(sum(reserved), 0) FROM uploads WHERE user_id = ?1 AND upload != ?3)
"""

_FINISHED = """
SELECT recipient, name, size, hash, id FROM files WHERE owner_id = ? AND upload = ? AND expires_ms > ?
"""

_UNFINISHED = "SELECT recipient, name, size, hash, partial, reserved FROM uploads WHERE user_id = ? AND upload = ?"

_MEMBER_OF = """
SELECT c.id FROM conversations c JOIN rooms r ON r.conversation_id = c.id
JOIN members m ON m.conversation_id = c.id AND m.role >= 0 AND m.user_id = ?
WHERE c.name = ?
"""

_INSERT = """
INSERT INTO files
    (id, owner_id, peer_id, conversation_id, upload, recipient, name, type, size, hash, time_ms, expires_ms)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""

# Files of a direct conversation: user, other.
_BETWEEN = "((f.owner_id = ?1 AND f.peer_id = ?4) OR (f.owner_id = ?4 AND f.peer_id = ?1))"


def find_file(rows: Rows, user: str, id: str, time_ms: int) -> StoredFile | None:
    """See FileReader.file."""
    user_id = _user_id(rows, user)
    sql = f"{_FILE} WHERE f.id = ?2 AND f.expires_ms > ?3 AND {_VISIBLE}"
    found = rows(sql, (user_id, id, time_ms)) if user_id else []
    return StoredFile(*found[0]) if found else None


def list_files(rows: Rows, user: str, page: FilePage, time_ms: int) -> list[StoredFile] | None:
    """See FileReader.files."""
    before: tuple[Any, ...] = (1 << 62,)
    if page.after is not None:
        found = rows("SELECT seq FROM files WHERE id = ?", (page.after,))
        if not found:
            return None
        before = found[0]
    user_id = _user_id(rows, user)
    if not user_id:
        return []
    only, other = _only(rows, user, page.conversation)
    sql = f"{_FILE} WHERE f.seq < ?2 AND f.expires_ms > ?3 AND {_VISIBLE} AND {only} ORDER BY f.seq DESC LIMIT ?5"
    return [StoredFile(*row) for row in rows(sql, (user_id, *before, time_ms, other, page.limit))]


def usage(rows: Rows, user: str, time_ms: int, but_for: str = "") -> int:
    """See FileReader.file_usage; without the upload `but_for`."""
    user_id = _user_id(rows, user)
    return int(rows(_USAGE, (user_id, time_ms, but_for))[0][0]) if user_id else 0


def _user_id(rows: Rows, user: str) -> int | None:
    found = rows("SELECT id FROM users WHERE name = ?", (user,))
    return found[0][0] if found else None


def _only(rows: Rows, user: str, conversation: str | None) -> tuple[str, int | None]:
    """The condition for the files of one conversation, and the id that it needs as its fourth value."""
    if conversation is None:
        return "?4 IS NULL", None
    members = conversation_members(conversation)
    if members is None:
        found = rows("SELECT id FROM conversations WHERE name = ?", (conversation,))
        return "f.conversation_id = ?4", found[0][0] if found else None
    return _BETWEEN, _user_id(rows, members[0] if members[1] == user else members[1])


class Files:
    """The writing side. Methods raise StoreError."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._rows = database.rows

    def begin(self, new: NewUpload, terms: FileTerms, time_ms: int) -> StoredFile | Begun | Refusal:
        """See FileStore.begin_upload."""
        with self._database.change():
            user_id = _user_id(self._rows, new.user)
            target = self._target(user_id, new.user, new.to)
            if isinstance(target, Refusal):
                return target
            finished = self._database.row(_FINISHED, (user_id, new.upload, time_ms))
            if finished is not None:
                return self._again(new, finished) or self._file(new.user, finished[4], time_ms)
            unfinished = self._database.row(_UNFINISHED, (user_id, new.upload))
            if unfinished is not None:
                return self._again(new, unfinished) or self._go_on(Begun(*unfinished[4:]), time_ms)
            shared = self._shared(user_id, new.hash, time_ms)
            size = shared if shared is not None else new.size
            problem = over_quota(usage(self._rows, new.user, time_ms), size or 0, terms)
            if problem is not None:
                return Refusal(*problem)
            if shared is not None and new.hash is not None:
                content = Content(shared, new.hash)
                return self._insert((user_id, *target), new, content, terms.expires_ms(time_ms), time_ms)
            values = (user_id, new.upload, new_partial(), new.to, new.name, new.type, size, new.hash, size or 0)
            self._database.execute("INSERT INTO uploads VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (*values, time_ms))
            return Begun(values[2], size or 0)

    def reserve(self, user: str, upload: str, size_bytes: int, terms: FileTerms, time_ms: int) -> Refusal | None:
        """See FileStore.reserve_upload."""
        with self._database.change():
            problem = over_quota(usage(self._rows, user, time_ms, upload), size_bytes, terms)
            if problem is not None:
                return Refusal(*problem)
            sql = "UPDATE uploads SET reserved = max(reserved, ?), touched_ms = ? WHERE user_id = ? AND upload = ?"
            self._database.execute(sql, (size_bytes, time_ms, _user_id(self._rows, user), upload))
            return None if self._database.connection.changes() else _upload_gone(upload)

    def touch(self, partial: str, time_ms: int) -> None:
        """See FileStore.touch_upload."""
        with self._database.change():
            self._database.execute("UPDATE uploads SET touched_ms = ? WHERE partial = ?", (time_ms, partial))

    def finish(self, user: str, upload: str, content: Content, terms: FileTerms, time_ms: int) -> StoredFile | Refusal:
        """See FileStore.finish_upload."""
        with self._database.change():
            user_id = _user_id(self._rows, user)
            sql = "SELECT recipient, name, type FROM uploads WHERE user_id = ? AND upload = ?"
            found = self._database.row(sql, (user_id, upload))
            if found is None:
                return _upload_gone(upload)
            to, name, kind = found
            new = NewUpload(user, upload, to, name, kind, *content)
            target = self._target(user_id, user, new.to)
            if isinstance(target, Refusal):
                return target
            problem = over_quota(usage(self._rows, user, time_ms, upload), content.size, terms)
            if problem is not None:
                return Refusal(*problem)
            self.drop(user, upload)
            return self._insert((user_id, *target), new, content, terms.expires_ms(time_ms), time_ms)

    def drop(self, user: str, upload: str) -> None:
        """See FileStore.drop_upload."""
        with self._database.change():
            sql = "DELETE FROM uploads WHERE user_id = ? AND upload = ?"
            self._database.execute(sql, (_user_id(self._rows, user), upload))

    def remove(self, user: str, id: str, time_ms: int) -> bool:
        """See FileStore.remove_file."""
        with self._database.change():
            sql = "UPDATE files SET expires_ms = 0 WHERE id = ? AND owner_id = ? AND expires_ms > ?"
            self._database.execute(sql, (id, _user_id(self._rows, user), time_ms))
            return self._database.connection.changes() > 0

    def sweep(self, terms: FileTerms, busy: Collection[str], time_ms: int, limit: int) -> Swept:
        """See FileStore.sweep_files."""
        unused_since_ms = time_ms - terms.unfinished_ms if terms.unfinished_ms else 0
        old = "SELECT partial FROM uploads WHERE touched_ms <= ? ORDER BY touched_ms LIMIT ?"
        partials = [name for (name,) in self._rows(old, (unused_since_ms, limit + len(busy))) if name not in busy]
        expired = self._rows("SELECT seq, hash FROM files WHERE expires_ms <= ? LIMIT ?", (time_ms, limit))
        if not partials and not expired:
            return Swept([], [], False)
        with self._database.change():
            for partial in partials:
                self._database.execute("DELETE FROM uploads WHERE partial = ?", (partial,))
            for seq, _ in expired:
                self._database.execute("DELETE FROM files WHERE seq = ?", (seq,))
            hashes = [hash for hash in dict.fromkeys(hash for _, hash in expired) if not self._is_kept(hash)]
        return Swept(partials, hashes, len(partials) >= limit or len(expired) >= limit)

    def _is_kept(self, hash: bytes) -> bool:
        return self._database.row("SELECT 1 FROM files WHERE hash = ? LIMIT 1", (hash,)) is not None

    def _target(self, user_id: int | None, user: str, to: str) -> tuple[int | None, int | None] | Refusal:
        """The ids of the user and of the room that may see the file, one of which is None."""
        if user_id is None:
            return Refusal(ErrorCode.NO_SUCH_USER, f"there is no user {user}")
        if to.startswith("#"):
            room = self._database.row(_MEMBER_OF, (user_id, to))
            if room is None:
                return Refusal(ErrorCode.NO_SUCH_ROOM, f"there is no room {to}, or you are not in it")
            return None, room[0]
        peer_id = _user_id(self._rows, to)
        if peer_id is None:
            return Refusal(ErrorCode.NO_SUCH_USER, f"there is no user {to}")
        if self._database.row("SELECT 1 FROM blocks WHERE user_id = ? AND blocked_id = ?", (peer_id, user_id)):
            return Refusal(ErrorCode.BLOCKED, f"{to} does not take files from you")
        return peer_id, None

    def _again(self, new: NewUpload, begun: tuple[Any, ...]) -> Refusal | None:
        """The refusal of another file under a name that was used."""
        return None if is_same(new, *begun[:4]) else Refusal(ErrorCode.ID_REUSED, another_file(new.upload))

    def _go_on(self, begun: Begun, time_ms: int) -> Begun:
        self._database.execute("UPDATE uploads SET touched_ms = ? WHERE partial = ?", (time_ms, begun.partial))
        return begun

    def _shared(self, user_id: int | None, hash: bytes | None, time_ms: int) -> int | None:
        """The size of a content that the user may see already; None without one."""
        sql = f"SELECT f.size FROM files f WHERE f.hash = ?2 AND f.expires_ms > ?3 AND {_VISIBLE} LIMIT 1"  # noqa: S608
        found = self._database.row(sql, (user_id, hash, time_ms)) if hash is not None else None
        return found[0] if found else None

    def _insert(
        self, ids: tuple[int | None, ...], new: NewUpload, content: Content, expires_ms: int, time_ms: int
    ) -> StoredFile:
        """Add a file; `ids` are those of its owner, and of the user or room it is for."""
        # One of the same name may have expired, and not be swept yet.
        self._database.execute("UPDATE files SET upload = NULL WHERE owner_id = ? AND upload = ?", (ids[0], new.upload))
        id = new_file_id()
        values = (id, *ids, new.upload, new.to, new.name, new.type, *content, time_ms, expires_ms)
        self._database.execute(_INSERT, values)
        return self._file(new.user, id, time_ms)

    def _file(self, user: str, id: str, time_ms: int) -> StoredFile:
        found = find_file(self._rows, user, id, time_ms)
        assert found is not None
        return found


def _upload_gone(upload: str) -> Refusal:
    return Refusal(ErrorCode.NO_SUCH_FILE, upload_gone(upload))
