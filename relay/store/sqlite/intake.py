"""A new database from the records of an export, exactly: the same offsets, cursors, message ids and packets.

It is made aside, in a few large transactions without a sync, then verified, synced and put in place as a whole. What is
wrong with a record is told with its number; nothing is left of an import that fails.
"""

import base64
import binascii
import os
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw

from relay.protocol.addresses import conversation_members, is_name, is_temporary
from relay.protocol.packets import Message, encode_payload
from relay.store.base import Append, Appended, Refusal, Role, StoreError
from relay.store.lock import DataLock
from relay.store.sqlite import schema
from relay.store.sqlite.backup import OnProgress, ignore_progress, put_in_place, refuse_database, staging
from relay.store.sqlite.database import DATABASE_FILE, Database
from relay.store.sqlite.export import FORMAT, Record
from relay.store.sqlite.index import INDEX_EVERY, indexed_head
from relay.store.sqlite.log import Conversation, Log
from relay.store.sqlite.rooms import ROLE_NUMBERS
from relay.store.sqlite.schema import KIND_DIRECT, KIND_ROOM
from relay.store.sqlite.verify import verify
from relay.store.sqlite.window import Window, encode_integers

_COMMIT_EVERY = 5_000

# The largest integer that a database holds.
_INTEGER_MAX = 2**63 - 1


class BadRecordError(StoreError):
    """The record cannot be taken; the text says why."""


def take_in(lines: Iterable[Any], directory: Path, on_progress: OnProgress = ignore_progress) -> int:
    """Make a database in `directory`, which must not have one, of records as `export` gives them. Returns how many.

    `lines` gives records, or raises ValueError in the place of one that could not be read. Raises StoreError.
    """
    refuse_database(directory)
    lock = DataLock(directory)
    try:
        refuse_database(directory)
        with staging(directory) as made:
            count = _fill(made, lines)
            report = verify(made / DATABASE_FILE, on_progress)
            if report.findings:
                raise StoreError(f"the records do not agree with each other: {report.findings[0].sentence}")
        put_in_place(directory)
        return count
    except OSError as error:
        raise StoreError(f"the data directory {directory} cannot be written: {error.strerror or error}") from None
    finally:
        lock.release()


def _fill(directory: Path, lines: Iterable[Any]) -> int:
    database = Database(directory)
    with closing(database):
        schema.prepare(database)
        database.connection.pragma("synchronous", 0)
        intake = _Intake(database)
        number, records = 0, iter(lines)
        try:
            while True:
                number += 1
                try:
                    record = next(records)
                except StopIteration:
                    break
                intake.take(record)
            number -= 1
            intake.finish()
        except (BadRecordError, ValueError) as error:
            raise BadRecordError(f"line {number}: {error}; nothing was imported") from None
        except apsw.ConstraintError:
            raise BadRecordError(f"line {number}: this was there before; nothing was imported") from None
        except apsw.Error as error:
            raise database.explain(error) from error
        return number


class _CopiedLog(Log):
    """A log for messages that were accepted once: whoever sent them may have left since, or be gone."""

    def _check_sender(self, key: tuple[str, str]) -> bool:
        return True

    def _find_conversation(self, name: str) -> Conversation:
        row = self._database.row("SELECT id, first_kept FROM conversations WHERE name = ?", (name,))
        if row is None:
            raise BadRecordError(f"there is no conversation {name!r} so far")
        return Conversation(row[0], max(self._full_head(row[0]), row[1] - 1))

    def _find_window(self, key: tuple[str, str]) -> Window:
        if not key[0]:  # a device that was forgotten: no row has its number, and nothing is asked of its ids
            return Window(-1)
        window = super()._find_window(key)
        if not window.device_id:
            raise BadRecordError(f"there is no device {'/'.join(key)!r} so far")
        return window


class _Intake:
    """Takes record after record. Raises BadRecordError, apsw.Error."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._log = _CopiedLog(database, INDEX_EVERY)
        self._log.load()
        self._count = 0
        self._ended = False
        self._takers: dict[str, Callable[[Record], None]] = {
            "relay": self._begin, "user": self._user, "conversation": self._conversation, "member": self._member,
            "device": self._device, "cursor": self._cursor, "block": self._block, "message": self._message,
            "end": self._end,
        }  # fmt: skip
        database.execute("CREATE TEMP TABLE heads (id INTEGER PRIMARY KEY, head INTEGER)")

    def take(self, record: Any) -> None:
        """Take one record."""
        if not isinstance(record, dict) or record.get("type") not in self._takers:
            raise BadRecordError(f"not a record of an export (its type is one of {', '.join(self._takers)})")
        if self._ended:
            raise BadRecordError("there must be nothing behind the end")
        if bool(self._count) == (record["type"] == "relay"):
            raise BadRecordError("an export begins with the type relay")
        self._database.ensure_begun()
        self._takers[record["type"]](record)
        self._count += 1
        if self._count % _COMMIT_EVERY == 0:
            self._commit()

    def finish(self) -> None:
        """Everything was taken. The database can be closed after that."""
        if not self._ended:
            raise BadRecordError("the export is cut off: its last line has the type end")
        self._commit()
        self._log.index.finish()
        for conversation_id, head in self._database.rows("SELECT id, head FROM heads"):
            found = indexed_head(self._database.connection, conversation_id)
            if found != head:
                (name,) = self._database.rows("SELECT name FROM conversations WHERE id = ?", (conversation_id,))[0]
                raise BadRecordError(f"{name} ends at {found} and not at {head}: messages are missing")

    def _commit(self) -> None:
        self._database.commit()
        self._log.confirm()
        while self._log.index.maintain(False):
            pass

    def _begin(self, record: Record) -> None:
        if _get(record, "format", int) != FORMAT:
            raise BadRecordError(f"it is of another version of the relay (format {record['format']}, known: {FORMAT})")

    def _end(self, record: Record) -> None:
        if _get(record, "records", int) != self._count:
            raise BadRecordError(f"the export had {record['records']} records and not {self._count}")
        self._ended = True

    def _user(self, record: Record) -> None:
        # Without keys nobody can log in until a password is set.
        keys = ("salt", "stored_key", "server_key")
        salt, stored, server = (_bytes(record, key) if "salt" in record else os.urandom(32) for key in keys)
        iterations = _get(record, "iterations", int) if "salt" in record else 4096
        name, created_ms = _name(record, "name"), _get(record, "created_ms", int)
        row = (name, salt, iterations, stored, server, _get(record, "bot", bool), _get(record, "disabled", bool))
        self._insert(
            "users", "name, salt, iterations, stored_key, server_key, bot, disabled, created_ms", *row, created_ms
        )

    def _conversation(self, record: Record) -> None:
        name, created_ms = _get(record, "name", str), _get(record, "created_ms", int)
        first, head = _get(record, "first", int), _get(record, "head", int)
        room = "title" in record
        members = conversation_members(name)
        direct = members is not None and all(map(is_name, members)) and members[0] <= members[1]
        if not (is_name(name[1:]) and members is None if room else direct) or not 1 <= first <= head + 1:
            raise BadRecordError(f"the conversation {name!r} cannot be")
        kind = KIND_ROOM if room else KIND_DIRECT
        self._insert("conversations", "name, kind, created_ms, first_kept", name, kind, created_ms, first)
        number = self._database.connection.last_insert_rowid()
        if room:
            self._insert(
                "rooms",
                "conversation_id, title, public",
                number,
                _get(record, "title", str),
                _get(record, "public", bool),
            )
        self._insert("heads", "id, head", number, head)
        if head and first == head + 1:
            # Retention has left nothing; a run of no message tells the head.
            self._insert("runs", "conversation_id, first_offset, seqs", number, head, encode_integers([0]))

    def _member(self, record: Record) -> None:
        role = _get(record, "role", str)
        if role not in ROLE_NUMBERS:
            raise BadRecordError(f"there is no role {role!r}")
        row = (
            self._user_id(record),
            self._conversation_id(record),
            ROLE_NUMBERS[Role(role)],
            _get(record, "joined", int),
        )
        self._insert("members", "user_id, conversation_id, role, joined", *row)

    def _device(self, record: Record) -> None:
        name, last_id = _name(record, "name"), _get(record, "last_message_id", int)
        seen_ms, created_ms = _get(record, "seen_ms", int), _get(record, "created_ms", int)
        row = (self._user_id(record), name, is_temporary(name), _get(record, "opened", bool), seen_ms, created_ms)
        self._insert("devices", "user_id, name, temporary, opened, seen_ms, created_ms", *row)
        if last_id:
            # Its messages may be gone; that its ids grow must stay known.
            device_id = self._database.connection.last_insert_rowid()
            self._insert("sent", "device_id, last_seq, last_id, time_ms, pairs", device_id, 0, last_id, seen_ms, b"")

    def _cursor(self, record: Record) -> None:
        device_id = self._find(
            "device", "SELECT id FROM devices WHERE user_id = ? AND name = ?",
            self._user_id(record), _name(record, "device"),
        )  # fmt: skip
        places = (_get(record, "delivered", int), _get(record, "read", int))
        self._insert(
            "cursors", "device_id, conversation_id, delivered, read", device_id, self._conversation_id(record), *places
        )

    def _block(self, record: Record) -> None:
        self._insert("blocks", "user_id, blocked_id", self._user_id(record), self._user_id(record, "blocked"))

    def _message(self, record: Record) -> None:
        name, offset = _get(record, "conversation", str), _get(record, "offset", int)
        time_ms, message_id = _get(record, "time_ms", int), _get(record, "id", int)
        if not message_id:
            raise BadRecordError("id must be 1 or higher")
        if "packet" in record:
            packet = _bytes(record, "packet")
        else:
            body = record.get("body")
            data = body.encode() if isinstance(body, str) else _bytes(body if isinstance(body, dict) else {}, "base64")
            to, kind = _get(record, "to", str), _get(record, "content_type", str)
            packet = encode_payload(Message(_get(record, "from", str), to, message_id, kind, data))
        sender = None if record.get("forgotten") else record.get("from")
        user, _, device = _get(record, "from", str).partition("/") if sender else ("", "", str(self._count))
        (answer,) = self._log.append([Append(name, user, device, message_id, packet)], time_ms)
        if isinstance(answer, Refusal):
            raise BadRecordError(answer.sentence)
        assert isinstance(answer, Appended)
        if answer.repeated or answer.offset != offset:
            raise BadRecordError(f"message {offset} of {name} is not the next one, which has offset {answer.offset}")

    def _user_id(self, record: Record, field: str = "user") -> int:
        return self._find("user", "SELECT id FROM users WHERE name = ?", _name(record, field))

    def _conversation_id(self, record: Record) -> int:
        name = _get(record, "conversation", str)
        return self._find("conversation", "SELECT id FROM conversations WHERE name = ?", name)

    def _find(self, what: str, sql: str, *values: Any) -> int:
        row = self._database.row(sql, values)
        if row is None:
            raise BadRecordError(f"there is no {what} {values[-1]!r} so far")
        return int(row[0])

    def _insert(self, table: str, columns: str, *values: Any) -> None:
        places = ", ".join("?" * len(values))
        self._database.execute(f"INSERT INTO {table} ({columns}) VALUES ({places})", values)  # noqa: S608


def _get(record: Record, field: str, kind: type) -> Any:
    value: Any = record.get(field)
    if type(value) is not kind or (isinstance(value, int) and not 0 <= value <= _INTEGER_MAX):
        what = {int: "a number from 0 on", str: "a text", bool: "true or false"}[kind]
        raise BadRecordError(f"{field} must be {what}")
    return value


def _name(record: Record, field: str) -> str:
    name = str(_get(record, field, str))
    if not is_name(name):
        raise BadRecordError(f"{field} must be a name in canonical form, not {name!r}")
    return name


def _bytes(record: Record, field: str) -> bytes:
    try:
        return base64.b64decode(_get(record, field, str), validate=True)
    except binascii.Error:
        raise BadRecordError(f"{field} must be base64") from None
