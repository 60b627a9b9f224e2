"""The tables, and how a database of an earlier version becomes one of this version.

The version is SQLite's `user_version`. Each migration leads from its number to the next, all of them in one
transaction. A published migration is never changed: a new one is added.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw

from relay.store.base import StoreError
from relay.store.lock import DataLock, holder
from relay.store.sqlite.checksum import message_checksum
from relay.store.sqlite.database import Database

# Marks the file as a relay's: "Rely" in ASCII.
APPLICATION_ID = 0x52656C79

KIND_DIRECT = 0
KIND_ROOM = 1
# A room that ended: retention deletes its messages, and then its row.
KIND_ENDED = 2

# Roles below 0 are outside: they get no messages.
ROLE_MEMBER = 0
ROLE_MODERATOR = 1
ROLE_OWNER = 2
ROLE_INVITED = -1
ROLE_BANNED = -2

# AUTOINCREMENT: an id is never used again, so that what a removed user, device or conversation left behind can never
# be taken for another's.
_VERSION_1 = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value ANY) STRICT, WITHOUT ROWID;

CREATE TABLE users (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    salt BLOB NOT NULL,
    iterations INTEGER NOT NULL,
    stored_key BLOB NOT NULL,
    server_key BLOB NOT NULL,
    bot INTEGER NOT NULL,
    disabled INTEGER NOT NULL,
    created_ms INTEGER NOT NULL
) STRICT;

-- Who was changed, disabled or removed, for a relay that runs meanwhile. Only the latest rows are kept.
CREATE TABLE account_changes (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL) STRICT;

CREATE TABLE conversations (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    kind INTEGER NOT NULL,
    created_ms INTEGER NOT NULL
) STRICT;

-- joined: the member may read what has a higher offset.
CREATE TABLE members (
    user_id INTEGER NOT NULL,
    conversation_id INTEGER NOT NULL,
    role INTEGER NOT NULL,
    joined INTEGER NOT NULL,
    PRIMARY KEY (user_id, conversation_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX members_of_conversation ON members (conversation_id, user_id);

-- opened: 0 while the device has only sent messages; it has no backlog then.
CREATE TABLE devices (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    user_id INTEGER NOT NULL,
    name TEXT NOT NULL,
    temporary INTEGER NOT NULL,
    opened INTEGER NOT NULL,
    seen_ms INTEGER NOT NULL,
    UNIQUE (user_id, name)
) STRICT;
CREATE INDEX temporary_devices ON devices (seen_ms) WHERE temporary;

-- No row: the device has processed nothing since its user joined the conversation.
CREATE TABLE cursors (
    device_id INTEGER NOT NULL,
    conversation_id INTEGER NOT NULL,
    delivered INTEGER NOT NULL,
    read INTEGER NOT NULL,
    PRIMARY KEY (device_id, conversation_id)
) STRICT, WITHOUT ROWID;

-- The messages, in the order in which they were stored. Rows are only ever added at the end: this is all that happens
-- before a message is acknowledged.
CREATE TABLE log (
    seq INTEGER PRIMARY KEY,
    conversation_id INTEGER NOT NULL,
    "offset" INTEGER NOT NULL,
    time_ms INTEGER NOT NULL,
    device_id INTEGER NOT NULL,
    message_id INTEGER NOT NULL,
    packet BLOB NOT NULL
) STRICT;

-- The index of the log, complete up to the fact `indexed_seq`: the seqs (8 bytes each, little-endian) of a run of
-- offsets that begins at first_offset. The last run of a conversation tells its head, and must never be deleted.
CREATE TABLE runs (
    conversation_id INTEGER NOT NULL,
    first_offset INTEGER NOT NULL,
    seqs BLOB NOT NULL,
    PRIMARY KEY (conversation_id, first_offset)
) STRICT, WITHOUT ROWID;

-- The latest message ids of a device, complete up to `indexed_seq`, in blocks of pairs (message id, seq; 8 bytes each,
-- little-endian). last_id is the device's highest id up to this block, last_seq the latest seq in it.
CREATE TABLE sent (
    device_id INTEGER NOT NULL,
    last_seq INTEGER NOT NULL,
    last_id INTEGER NOT NULL,
    time_ms INTEGER NOT NULL,
    pairs BLOB NOT NULL,
    PRIMARY KEY (device_id, last_seq)
) STRICT, WITHOUT ROWID;

INSERT INTO facts VALUES ('indexed_seq', 0);
"""


_VERSION_2 = """
CREATE TABLE rooms (
    conversation_id INTEGER PRIMARY KEY,
    title TEXT NOT NULL,
    public INTEGER NOT NULL
) STRICT;

CREATE TABLE blocks (
    user_id INTEGER NOT NULL,
    blocked_id INTEGER NOT NULL,
    PRIMARY KEY (user_id, blocked_id)
) STRICT, WITHOUT ROWID;

-- Offsets below first_kept are gone (retention).
ALTER TABLE conversations ADD COLUMN first_kept INTEGER NOT NULL DEFAULT 1;
ALTER TABLE devices ADD COLUMN created_ms INTEGER NOT NULL DEFAULT 0;

-- See `checksum`.
ALTER TABLE log ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0;
UPDATE log SET checksum = message_checksum(conversation_id, "offset", time_ms, device_id, message_id, packet);
"""

_VERSION_4 = """
-- A row may be a run of messages: `total` of them, with offsets, message ids and seqs from the row's own on. `packet`
-- is then their frames, one behind the other and all of one size; of a single message it is the payload alone.
ALTER TABLE log ADD COLUMN total INTEGER NOT NULL DEFAULT 1;
"""

# The one ticket of a device that is good, by a hash of its random part.
_VERSION_5 = """
CREATE TABLE tickets (
    user_id INTEGER NOT NULL,
    device TEXT NOT NULL,
    mark BLOB NOT NULL,
    until_ms INTEGER NOT NULL,
    PRIMARY KEY (user_id, device)
) STRICT, WITHOUT ROWID;
"""


_VERSION_6 = """
-- kept_bytes: packets of the messages from first_kept on, as far as they are counted.
ALTER TABLE conversations ADD COLUMN kept_bytes INTEGER NOT NULL DEFAULT 0;
UPDATE conversations SET kind = 2 WHERE kind = 1 AND id NOT IN (SELECT conversation_id FROM rooms);
CREATE INDEX ended_conversations ON conversations (id) WHERE kind = 2;

-- Kept packets that a device has sent, as far as they are counted. The row outlives the device until they are deleted.
CREATE TABLE usage (device_id INTEGER PRIMARY KEY, user_id INTEGER NOT NULL, bytes INTEGER NOT NULL) STRICT;
CREATE INDEX usage_of_user ON usage (user_id);

-- Up to which row of the log bytes are counted, and the highest row that retention has deleted.
INSERT INTO facts VALUES ('counted_seq', 0), ('deleted_seq', 0);
"""

_VERSION_7 = """
-- Files that are kept. peer_id: the user it was sent to; conversation_id: the room. The content is a file beside the
-- database under its hash. A row that has expired (0: was removed) is seen by nobody, and swept soon.
CREATE TABLE files (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    owner_id INTEGER NOT NULL,
    peer_id INTEGER,
    conversation_id INTEGER,
    upload TEXT,
    recipient TEXT NOT NULL,
    name TEXT NOT NULL,
    type TEXT NOT NULL,
    size INTEGER NOT NULL,
    hash BLOB NOT NULL,
    time_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX files_of_owner ON files (owner_id, upload);
CREATE INDEX files_to_peer ON files (peer_id) WHERE peer_id IS NOT NULL;
CREATE INDEX files_in_room ON files (conversation_id) WHERE conversation_id IS NOT NULL;
CREATE INDEX files_of_content ON files (hash, size);
CREATE INDEX files_by_expiry ON files (expires_ms);

-- Uploads that are not complete. `reserved` counts towards the user's quota.
CREATE TABLE uploads (
    user_id INTEGER NOT NULL,
    upload TEXT NOT NULL,
    partial TEXT NOT NULL UNIQUE,
    recipient TEXT NOT NULL,
    name TEXT NOT NULL,
    type TEXT NOT NULL,
    size INTEGER,
    hash BLOB,
    reserved INTEGER NOT NULL,
    touched_ms INTEGER NOT NULL,
    PRIMARY KEY (user_id, upload)
) STRICT, WITHOUT ROWID;
CREATE INDEX uploads_by_age ON uploads (touched_ms);
"""


def _create(database: Database) -> None:
    database.execute(_VERSION_1)
    database.execute("INSERT INTO facts VALUES ('secret', ?)", (os.urandom(32),))
    database.execute(f"PRAGMA application_id = {APPLICATION_ID}")


def _checksum(*columns: Any) -> int:
    return message_checksum(*columns)


def _add_rooms(database: Database) -> None:
    database.connection.create_scalar_function("message_checksum", _checksum, 6, deterministic=True)
    database.execute(_VERSION_2)


def _name_generation(database: Database) -> None:
    database.execute("INSERT INTO facts VALUES ('generation', ?)", (new_generation(),))


def new_generation() -> str:
    """See Store.generation."""
    return os.urandom(8).hex()


def _add_runs(database: Database) -> None:
    database.execute(_VERSION_4)


def _add_tickets(database: Database) -> None:
    database.execute(_VERSION_5)


def _add_retention(database: Database) -> None:
    database.execute(_VERSION_6)


def _add_files(database: Database) -> None:
    database.execute(_VERSION_7)


# Entry n leads from version n to n + 1.
MIGRATIONS: list[Callable[[Database], None]] = [
    _create,
    _add_rooms,
    _name_generation,
    _add_runs,
    _add_tickets,
    _add_retention,
    _add_files,
]


def prepare(database: Database, migrations: list[Callable[[Database], None]] = MIGRATIONS) -> None:
    """Bring the database to this version. Raises StoreError for a file that is not a relay's, or of a later version."""
    try:
        found = version(database)
        if found > len(migrations):
            raise StoreError(
                f"{database.path} was written by a newer relay (schema {found}, this one knows {len(migrations)}); "
                f"install that version again, or choose another directory with --data"
            )
        database.configure()
        if found < len(migrations):
            _migrate(database, migrations)
    except apsw.Error as error:
        raise database.explain(error) from error


def _migrate(database: Database, migrations: list[Callable[[Database], None]]) -> None:
    lock = _lock_out_others(database.path.parent)
    try:
        with database.change():
            for migration in migrations[version(database) :]:
                migration(database)
            database.execute(f"PRAGMA user_version = {len(migrations)}")
    finally:
        if lock:
            lock.release()


def _lock_out_others(directory: Path) -> DataLock | None:
    """Make sure that no other relay, perhaps of an older version, works on the database while its tables change."""
    if holder(directory) == os.getpid():
        return None
    return DataLock(directory)


def version(database: Database) -> int:
    """The version of the tables, 0 for a new file. Raises StoreError for another program's database, or apsw.Error."""
    found = database.connection.pragma("user_version")
    mark = database.connection.pragma("application_id")
    tables = database.row("SELECT count(*) FROM sqlite_schema")
    if mark != APPLICATION_ID and (found or (tables and tables[0])):
        raise StoreError(
            f"{database.path} is a database of another program; move it away, or choose another directory with --data"
        )
    return int(found)
