"""The database as it was at one moment, read beside a relay that goes on writing.

One read transaction on a read-only connection: what is committed later is not seen, and nobody waits for it. The
write-ahead log cannot begin anew meanwhile, so it grows by what the relay writes; hold a snapshot for minutes at most.
"""

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import apsw

from relay.protocol.runs import payloads
from relay.store.base import StoreError
from relay.store.sqlite import schema
from relay.store.sqlite.checksum import CHECKED, is_intact
from relay.store.sqlite.database import Database, damaged, explain, open_for_reading, refuse_emptied
from relay.store.sqlite.index import INDEX_EVERY
from relay.store.sqlite.log import Log
from relay.store.sqlite.reader import SqliteReader
from relay.store.sqlite.wal import promise
from relay.store.sqlite.window import decode_pairs


class StoredMessage(NamedTuple):
    """A message of the log."""

    seq: int
    conversation_id: int
    offset: int
    time_ms: int
    device_id: int
    message_id: int
    packet: bytes


class ReadOnlyDatabase(Database):
    """A database file that is only read; it may have any name. Raises StoreError if it is not a relay's."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise StoreError(f"there is no database {path}; name a relay's data directory or a backup")
        try:
            refuse_emptied(path)
            promised = promise(path)
            self.connection = open_for_reading(path)
            self._keep(promised)
            self.connection.execute("BEGIN")
            self.version = schema.version(self)
        except apsw.Error as error:
            raise explain(error, path) from None
        if not self.version:
            raise StoreError(f"{path} is empty: not a database of a relay")


class Snapshot:
    """A database of this version at one moment: its tables through `database`, its logs through `reader`.

    Raises StoreError. To be closed, or used as a context.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.database = ReadOnlyDatabase(path)
        known = len(schema.MIGRATIONS)
        if self.database.version != known:
            self.database.connection.close()
            how = "start a relay on it once, or restore it" if self.database.version < known else "use that version"
            raise StoreError(
                f"{path} is of another version of the relay (schema {self.database.version}, this one knows {known}); "
                f"{how}"
            )
        self._log = Log(self.database, INDEX_EVERY)
        self._reader: SqliteReader | None = None

    def __enter__(self) -> "Snapshot":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def reader(self) -> SqliteReader:
        """The logs and everything else, as the relay reads them. The first use reads what is not indexed."""
        if self._reader is None:
            with self.database.reading():
                self._log.load()
            self._reader = SqliteReader(self.path, self._log.unindexed, self.database.connection)
        return self._reader

    def messages(self) -> Iterator[StoredMessage]:
        """Every message that retention has left, in the order in which they were stored. Raises StoreError for one that
        is not what was stored.
        """
        with self.database.reading():
            kept = dict(self.database.rows("SELECT id, first_kept FROM conversations"))
            for seq, *row in self.database.execute(f"SELECT seq, {CHECKED} FROM log ORDER BY seq"):  # noqa: S608
                if not is_intact(row):
                    raise damaged(self.path, f"row {seq} of the log")
                conversation_id, offset, time_ms, device_id, message_id, packet, total, _ = row
                first_kept = kept.get(conversation_id, 1)
                for at, payload in enumerate(payloads(packet, total)):
                    if offset + at >= first_kept:
                        yield StoredMessage(
                            seq + at, conversation_id, offset + at, time_ms, device_id, message_id + at, payload
                        )

    def last_message_id(self, user: str, device: str) -> int:
        """See Store.last_message_id."""
        assert self.reader
        return self._log.last_message_id(user, device)

    def count_messages(self) -> int:
        """How many `messages` there are. Raises StoreError."""
        sql = """
            SELECT coalesce(sum(min(log.total, log."offset" + log.total - c.first_kept)), 0)
            FROM log JOIN conversations c ON c.id = log.conversation_id
            WHERE log."offset" + log.total > c.first_kept
        """
        with self.database.reading():
            return int(self.database.rows(sql)[0][0])

    def strange_ids(self) -> Iterator[tuple[int, int]]:
        """(device id, message id) where what recognises a repetition names another message. Raises apsw.Error."""
        columns = "device_id, message_id + ?1 - seq, total + seq - ?1"
        sql = f"SELECT {columns} FROM log WHERE seq <= ?1 ORDER BY seq DESC LIMIT 1"  # noqa: S608
        for device_id, pairs in self.database.execute("SELECT device_id, pairs FROM sent"):
            for message_id, seq in zip(*decode_pairs(pairs), strict=True):
                found = self.database.row(sql, (seq,))
                if found and found[2] > 0 and found[:2] != (device_id, message_id):
                    yield device_id, message_id

    def close(self) -> None:
        """Release the files. Calling it twice is allowed."""
        self.database.connection.close()
