"""The store on SQLite: one database file, `relay.db`, in the data directory.

Who does what: `database` is the connection, its transactions and its errors; `schema` the tables and their migrations;
`log` appends messages, `index` indexes them behind the acknowledgement; `tail` is what is not indexed yet, `window` the
message ids of a device, `cache` what is known by name; `devices`, `accounts` and `rooms` write what their names say;
`reader` is the read side, with its longer `queries`; `checksum` guards each message, `wal` the end of
the write-ahead log; `backup`, `verify`, `export` and `intake` are for operators, on a `snapshot`; `store` puts it all
together.
"""

from relay.store.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
