"""SqliteStore: the pieces of this package behind the interface of a store."""

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import apsw

from relay.protocol.scram import Credentials
from relay.store.base import (
    KEEP_ALL,
    Answer,
    Append,
    Arrival,
    Cursor,
    HeldTicket,
    Reader,
    Refusal,
    Retention,
    Role,
    Store,
)
from relay.store.files import Begun, Content, FileTerms, NewUpload, StoredFile, Swept
from relay.store.sqlite import queries, schema
from relay.store.sqlite.accounts import Accounts
from relay.store.sqlite.database import Database
from relay.store.sqlite.devices import Devices
from relay.store.sqlite.files import Files
from relay.store.sqlite.index import INDEX_EVERY
from relay.store.sqlite.log import Log
from relay.store.sqlite.reader import SqliteReader
from relay.store.sqlite.retention import Sweeper
from relay.store.sqlite.rooms import Rooms
from relay.store.sqlite.tickets import HeldTickets
from relay.store.sqlite.usage import Usage


class SqliteStore(SqliteReader, Store):
    """A store in a directory. Opening makes the database if there is none, and raises StoreError if it cannot be used.

    Accounts may be used beside a relay that runs on the same directory. Everything else is only for the process that
    holds the directory's DataLock: it keeps in memory what is not indexed yet, and reads it at the first use.
    """

    def __init__(self, directory: Path, *, index_every: int = INDEX_EVERY, retention: Retention = KEEP_ALL) -> None:
        self._database = Database(directory)
        try:
            schema.prepare(self._database)
            usage = Usage(self._database, retention)
            self._log = Log(self._database, index_every, usage)
            self._sweeper = Sweeper(self._database, self._log.unindexed, self._log.index, usage, retention)
            self._devices = Devices(self._database, self._log)
            with self._database.reading():
                self._accounts = Accounts(self._database)
            self._rooms = Rooms(self._database, self._log)
            self._tickets = HeldTickets(self._database)
            self._files = Files(self._database)
            super().__init__(self._database.path, self._log.unindexed, self._database.connection)
        except BaseException:
            self._database.close()
            raise
        self._database.on_rollback = self._log.forget
        self._closed = False
        self._data_version = self._read_data_version()
        self._accounts_changed = False

    def __repr__(self) -> str:
        return f"<SqliteStore {self._database.path}: {self._log!r}>"

    def group(self) -> AbstractContextManager[None]:
        self._load()
        return self._database.group()

    def maintain(self, idle: bool) -> bool:
        self._load()
        return self._log.index.maintain(idle) or self._sweeper.maintain(idle)

    def sweep(self, time_ms: int) -> None:
        self._load()
        self._sweeper.begin(time_ms)

    def append(self, items: Sequence[Append], time_ms: int) -> list[Answer]:
        self._load()
        try:
            self._notice_others()
            answers = self._log.append(items, time_ms)
            self._database.commit()
        except apsw.Error as error:
            self._undo_append()
            raise self._database.explain(error) from error
        except BaseException:
            self._undo_append()
            raise
        self._log.confirm()
        return answers

    def last_message_id(self, user: str, device: str) -> int:
        self._load()
        with self._database.reading():
            self._notice_others()
            return self._log.last_message_id(user, device)

    def arrival(self, user: str, device: str) -> Arrival:
        self._load()
        with self._database.reading():
            self._notice_others()
            row = self._database.row(queries.ARRIVAL, (user,))
            if row is None:
                return Arrival(0, [], [])
            user_id, is_member, is_blocking = row
            rooms = self._database.rows(queries.INSIDE_ROOMS, (user_id,)) if is_member else []
            blocked = self._database.rows(queries.BLOCKED, (user_id,)) if is_blocking else []
            last_message_id = self._log.last_message_id_of(user, user_id, device)
            return Arrival(last_message_id, [name for (name,) in rooms], [name for (name,) in blocked])

    def open_device(self, user: str, device: str, start: int | None, time_ms: int) -> bool:
        self._load()
        return self._devices.open(user, device, start, time_ms)

    def advance(self, cursors: Sequence[Cursor]) -> None:
        self._load()
        self._devices.advance(cursors)

    def seen(self, devices: Sequence[tuple[str, str]], time_ms: int) -> None:
        self._devices.seen(devices, time_ms)

    def forget_devices(self, unused_since_ms: int, lasting_since_ms: int = 0) -> int:
        self._load()
        return self._devices.forget(unused_since_ms, lasting_since_ms)

    def forget_device(self, user: str, device: str) -> bool:
        self._load()
        return self._devices.forget_one(user, device)

    def create_room(self, name: str, title: str, public: bool, owner: str, time_ms: int) -> None:
        self._rooms.create(name, title, public, owner, time_ms)

    def set_room(self, name: str, title: str, public: bool) -> None:
        self._rooms.change(name, title, public)

    def remove_room(self, name: str) -> None:
        self._rooms.remove(name)

    def set_role(self, room: str, user: str, role: Role | None, time_ms: int) -> None:
        self._load()
        self._rooms.set_role(room, user, role)

    def block(self, user: str, blocked: str) -> None:
        self._rooms.block(user, blocked)

    def unblock(self, user: str, blocked: str) -> None:
        self._rooms.unblock(user, blocked)

    def add_account(self, name: str, credentials: Credentials, bot: bool, time_ms: int) -> None:
        self._accounts.add(name, credentials, bot, time_ms)
        self._note_account_change()

    def set_credentials(self, name: str, credentials: Credentials) -> None:
        self._accounts.set_credentials(name, credentials)
        self._note_account_change()

    def set_disabled(self, name: str, disabled: bool) -> None:
        self._accounts.set_disabled(name, disabled)
        self._note_account_change()

    def remove_account(self, name: str) -> None:
        self._accounts.remove(name)
        self._note_account_change()

    def account_changes(self) -> list[str]:
        with self._database.reading():
            self._notice_others()
            if not self._accounts_changed:
                return []
            self._accounts_changed = False
            return self._accounts.changes()

    def hold_ticket(self, user: str, device: str, login_key: bytes, ticket: HeldTicket) -> bool:
        return self._tickets.hold(user, device, login_key, ticket)

    def held_ticket(self, user: str, device: str) -> HeldTicket | None:
        return self._tickets.held(user, device)

    def keep_tickets(self, devices: Sequence[tuple[str, str]], until_ms: int) -> None:
        self._tickets.keep(devices, until_ms)

    def forget_tickets(self, now_ms: int) -> int:
        return self._tickets.forget(now_ms)

    def begin_upload(self, new: NewUpload, terms: FileTerms, time_ms: int) -> StoredFile | Begun | Refusal:
        return self._files.begin(new, terms, time_ms)

    def reserve_upload(self, user: str, upload: str, size_bytes: int, terms: FileTerms, time_ms: int) -> Refusal | None:
        return self._files.reserve(user, upload, size_bytes, terms, time_ms)

    def touch_upload(self, partial: str, time_ms: int) -> None:
        self._files.touch(partial, time_ms)

    def finish_upload(
        self, user: str, upload: str, content: Content, terms: FileTerms, time_ms: int
    ) -> StoredFile | Refusal:
        return self._files.finish(user, upload, content, terms, time_ms)

    def drop_upload(self, user: str, upload: str) -> None:
        self._files.drop(user, upload)

    def remove_file(self, user: str, id: str, time_ms: int) -> bool:
        return self._files.remove(user, id, time_ms)

    def sweep_files(self, terms: FileTerms, busy: Collection[str], time_ms: int, limit: int) -> Swept:
        return self._files.sweep(terms, busy, time_ms, limit)

    def secret(self) -> bytes:
        with self._database.reading():
            return bytes(self._database.rows("SELECT value FROM facts WHERE name = 'secret'")[0][0])

    def generation(self) -> str:
        with self._database.reading():
            return str(self._database.rows("SELECT value FROM facts WHERE name = 'generation'")[0][0])

    def reader(self) -> Reader:
        self._load()
        return SqliteReader(self._database.path, self._log.unindexed)

    def close(self) -> None:
        """Index what is not indexed yet and close. If that fails the next start reads it again; nothing is lost."""
        if self._closed:
            return
        self._closed = True
        try:
            if self._log.loaded:
                self._log.index.finish()
        finally:
            self._database.close()

    def _load(self) -> None:
        """Read what is not indexed, at the first use and after a failed append."""
        if not self._log.loaded:
            with self._database.reading():
                self._log.load()

    def _reading_log(self) -> AbstractContextManager[None]:
        self._load()
        return super()._reading_log()

    def _undo_append(self) -> None:
        self._log.undo()
        self._database.roll_back()

    def _notice_others(self) -> None:
        """Another process changed an account: what is remembered of users and devices may be wrong."""
        version = self._read_data_version()
        if version != self._data_version:
            self._data_version = version
            self._note_account_change()

    def _note_account_change(self) -> None:
        self._log.forget()
        self._accounts_changed = True

    def _read_data_version(self) -> int:
        return int(self._database.rows("PRAGMA data_version")[0][0])
