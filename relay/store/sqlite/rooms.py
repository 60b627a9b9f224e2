"""Rooms and blocks: the writing side. What a change makes of earlier answers, the log is told to forget."""

from relay.protocol.addresses import conversation_for
from relay.store.base import NoSuchAccountError, Role, RoomExistsError
from relay.store.sqlite.database import Database
from relay.store.sqlite.log import Log
from relay.store.sqlite.schema import (
    KIND_ENDED,
    KIND_ROOM,
    ROLE_BANNED,
    ROLE_INVITED,
    ROLE_MEMBER,
    ROLE_MODERATOR,
    ROLE_OWNER,
)

ROLE_NUMBERS = {
    Role.OWNER: ROLE_OWNER,
    Role.MODERATOR: ROLE_MODERATOR,
    Role.MEMBER: ROLE_MEMBER,
    Role.INVITED: ROLE_INVITED,
    Role.BANNED: ROLE_BANNED,
}

# A member who changes her role stays where she joined; who comes from outside joins at the head.
_SET_ROLE = """
INSERT INTO members (user_id, conversation_id, role, joined) VALUES (?, ?, ?, ?)
ON CONFLICT DO UPDATE SET
    joined = CASE WHEN role < 0 AND excluded.role >= 0 THEN excluded.joined ELSE joined END,
    role = excluded.role
"""

# Cursors from an earlier membership end with it.
_DROP_CURSORS = """
DELETE FROM cursors WHERE conversation_id = ? AND device_id IN (SELECT id FROM devices WHERE user_id = ?)
"""

_LEFT_ROOMS = """
SELECT m.conversation_id FROM members m JOIN rooms r ON r.conversation_id = m.conversation_id
WHERE m.user_id = ? AND m.role >= 0
"""

# Of those inside but one: an owner, or else the moderator, or else the member who joined first.
_HEIR = """
SELECT m.user_id, m.role FROM members m JOIN users u ON u.id = m.user_id
WHERE m.conversation_id = ? AND m.role >= 0 AND m.user_id != ?
ORDER BY m.role DESC, m.joined, u.name LIMIT 1
"""


class Rooms:
    """Rooms, their members, and who blocks whom. Methods raise StoreError."""

    def __init__(self, database: Database, log: Log) -> None:
        self._database = database
        self._log = log

    def create(self, name: str, title: str, public: bool, owner: str, time_ms: int) -> None:
        """See Store.create_room."""
        execute = self._database.execute
        with self._database.change():
            user_id = self._user(owner)
            if user_id is None:
                raise NoSuchAccountError(f"there is no account {owner!r}")
            if self._room(name) is not None:
                raise RoomExistsError(f"there is a room {name} already")
            execute("INSERT INTO conversations (name, kind, created_ms) VALUES (?, ?, ?)", (name, KIND_ROOM, time_ms))
            room_id = self._database.connection.last_insert_rowid()
            execute("INSERT INTO rooms VALUES (?, ?, ?)", (room_id, title, public))
            execute(_SET_ROLE, (user_id, room_id, ROLE_OWNER, 0))

    def change(self, name: str, title: str, public: bool) -> None:
        """See Store.set_room."""
        with self._database.change():
            room_id = self._room(name)
            sql = "UPDATE rooms SET title = ?, public = ? WHERE conversation_id = ?"
            self._database.execute(sql, (title, public, room_id))

    def remove(self, name: str) -> None:
        """See Store.remove_room."""
        with self._database.change():
            room_id = self._room(name)
            if room_id is None:
                return
            end_room(self._database, room_id)
        self._log.forget_conversation(name)

    def set_role(self, name: str, user: str, role: Role | None) -> None:
        """See Store.set_role."""
        execute = self._database.execute
        with self._database.change():
            room_id, user_id = self._room(name), self._user(user)
            if room_id is None or user_id is None:
                return
            if role is None:
                execute("DELETE FROM members WHERE user_id = ? AND conversation_id = ?", (user_id, room_id))
            else:
                execute(_SET_ROLE, (user_id, room_id, ROLE_NUMBERS[role], self._log.head(room_id)))
            if role is None or not role.inside:
                execute(_DROP_CURSORS, (room_id, user_id))
        self._log.forget_sender(name, user)

    def block(self, user: str, blocked: str) -> None:
        """See Store.block."""
        sql = "INSERT OR IGNORE INTO blocks SELECT u.id, b.id FROM users u, users b WHERE u.name = ? AND b.name = ?"
        self._change_block(sql, user, blocked)

    def unblock(self, user: str, blocked: str) -> None:
        """See Store.unblock."""
        sql = (
            "DELETE FROM blocks WHERE user_id = (SELECT id FROM users WHERE name = ?) "
            "AND blocked_id = (SELECT id FROM users WHERE name = ?)"
        )
        self._change_block(sql, user, blocked)

    def _change_block(self, sql: str, user: str, blocked: str) -> None:
        with self._database.change():
            self._database.execute(sql, (user, blocked))
        self._log.forget_sender(conversation_for(user, blocked), blocked)

    def _room(self, name: str) -> int | None:
        row = self._database.row("SELECT id FROM conversations WHERE name = ? AND kind = ?", (name, KIND_ROOM))
        return row[0] if row else None

    def _user(self, name: str) -> int | None:
        row = self._database.row("SELECT id FROM users WHERE name = ?", (name,))
        return row[0] if row else None


def hand_over_rooms(database: Database, user_id: int) -> None:
    """See Store.remove_account: the user is about to leave every room; the rooms get an owner, or end."""
    for (room_id,) in database.rows(_LEFT_ROOMS, (user_id,)):
        heir = database.row(_HEIR, (room_id, user_id))
        if heir is None:
            end_room(database, room_id)
        elif heir[1] != ROLE_OWNER:
            sql = "UPDATE members SET role = ? WHERE user_id = ? AND conversation_id = ?"
            database.execute(sql, (ROLE_OWNER, heir[0], room_id))


def end_room(database: Database, room_id: int) -> None:
    """Take everybody out. The log keeps its rows until the next sweep, under a name that nobody can ask for."""
    for table in ("members", "cursors", "rooms"):
        database.execute(f"DELETE FROM {table} WHERE conversation_id = ?", (room_id,))  # noqa: S608
    sql = "UPDATE conversations SET name = name || '#' || id, kind = ? WHERE id = ?"
    database.execute(sql, (KIND_ENDED, room_id))
