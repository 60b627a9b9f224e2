"""Accounts: added, changed and removed, by a running relay or by a command beside it.

Needs nothing of the logs, so that a command starts at once and never touches what the relay holds in memory.
"""

from collections.abc import Sequence
from typing import Any

import apsw

from relay.protocol.scram import Credentials
from relay.store.base import AccountExistsError, NoSuchAccountError
from relay.store.sqlite.database import Database
from relay.store.sqlite.devices import remove_devices
from relay.store.sqlite.rooms import hand_over_rooms

# A relay looks several times a second; so many changes between two looks are thousands of commands.
_CHANGES_KEPT = 10_000


class Accounts:
    """The writing side of accounts. Methods raise StoreError."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._last_change = self._latest_change()

    def add(self, name: str, credentials: Credentials, bot: bool, time_ms: int) -> None:
        """See Store.add_account."""
        with self._database.change():
            try:
                self._database.execute(
                    "INSERT INTO users (name, salt, iterations, stored_key, server_key, bot, disabled, created_ms) "
                    "VALUES (?, ?, ?, ?, ?, ?, 0, ?)",
                    (name, *credentials, bot, time_ms),
                )
            except apsw.ConstraintError:
                raise AccountExistsError(f"the account {name!r} exists already") from None

    def set_credentials(self, name: str, credentials: Credentials) -> None:
        """See Store.set_credentials."""
        self._update(name, "salt = ?, iterations = ?, stored_key = ?, server_key = ?", credentials)

    def set_disabled(self, name: str, disabled: bool) -> None:
        """See Store.set_disabled."""
        self._update(name, "disabled = ?", (disabled,))

    def remove(self, name: str) -> None:
        """See Store.remove_account. Rows of the log and of its index stay: the conversations have other members."""
        execute = self._database.execute
        with self._database.change():
            row = self._database.row("SELECT id FROM users WHERE name = ?", (name,))
            if row is None:
                raise NoSuchAccountError(no_such_account(name))
            hand_over_rooms(self._database, row[0])
            remove_devices(self._database, "SELECT id FROM devices WHERE user_id = ?", row)
            execute("DELETE FROM usage WHERE user_id = ?", row)
            execute("DELETE FROM members WHERE user_id = ?", row)
            execute("DELETE FROM tickets WHERE user_id = ?", row)
            # The next sweep takes them, and their contents.
            execute("UPDATE files SET expires_ms = 0 WHERE owner_id = ?", row)
            execute("UPDATE uploads SET touched_ms = 0 WHERE user_id = ?", row)
            execute("DELETE FROM blocks WHERE user_id = ?1 OR blocked_id = ?1", row)
            execute("DELETE FROM users WHERE id = ?", row)
            self._note_change(name)

    def changes(self) -> list[str]:
        """See Store.account_changes. To be asked when somebody has written: it reads a table."""
        last, self._last_change = self._last_change, self._latest_change()
        sql = "SELECT id, name FROM account_changes WHERE id > ? ORDER BY id"
        rows = self._database.rows(sql, (last,))
        names = [name for _, name in rows]
        if rows and rows[0][0] > last + 1:
            # Rows are gone that were not read: anybody may have changed.
            names += [name for (name,) in self._database.rows("SELECT name FROM users ORDER BY name")]
        return list(dict.fromkeys(names))

    def _update(self, name: str, assignments: str, values: Sequence[Any]) -> None:
        with self._database.change():
            self._database.execute(f"UPDATE users SET {assignments} WHERE name = ?", (*values, name))  # noqa: S608
            if not self._database.connection.changes():
                raise NoSuchAccountError(no_such_account(name))
            self._database.execute("DELETE FROM tickets WHERE user_id = (SELECT id FROM users WHERE name = ?)", (name,))
            self._note_change(name)

    def _note_change(self, name: str) -> None:
        self._database.execute("INSERT INTO account_changes (name) VALUES (?)", (name,))
        oldest = self._database.connection.last_insert_rowid() - _CHANGES_KEPT
        self._database.execute("DELETE FROM account_changes WHERE id <= ?", (oldest,))

    def _latest_change(self) -> int:
        row = self._database.row("SELECT max(id) FROM account_changes")
        return (row and row[0]) or 0


def no_such_account(name: str) -> str:
    """The sentence for it."""
    return f"there is no account {name!r}; `relay user list` shows them all"
