"""The one valid resume ticket of each device, as a mark that does not betray it."""

from collections.abc import Sequence

from relay.store.base import HeldTicket
from relay.store.sqlite.database import Database

_HOLD = """
INSERT INTO tickets (user_id, device, mark, until_ms)
SELECT id, ?2, ?4, ?5 FROM users WHERE name = ?1 AND stored_key = ?3 AND NOT disabled
ON CONFLICT DO UPDATE SET mark = excluded.mark, until_ms = excluded.until_ms
"""

_HELD = "SELECT mark, until_ms FROM tickets WHERE user_id = (SELECT id FROM users WHERE name = ?) AND device = ?"

_KEEP = """
UPDATE tickets SET until_ms = max(until_ms, ?)
WHERE user_id = (SELECT id FROM users WHERE name = ?) AND device = ?
"""


class HeldTickets:
    """Methods raise StoreError. What revokes tickets is beside what it does: accounts.py, devices.py."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def hold(self, user: str, device: str, login_key: bytes, ticket: HeldTicket) -> bool:
        """See Store.hold_ticket."""
        with self._database.change():
            self._database.execute(_HOLD, (user, device, login_key, *ticket))
            return self._database.connection.changes() > 0

    def held(self, user: str, device: str) -> HeldTicket | None:
        """See Store.held_ticket."""
        with self._database.reading():
            row = self._database.row(_HELD, (user, device))
            return HeldTicket(*row) if row else None

    def keep(self, devices: Sequence[tuple[str, str]], until_ms: int) -> None:
        """See Store.keep_tickets."""
        with self._database.change():
            for user, device in devices:
                self._database.execute(_KEEP, (until_ms, user, device))

    def forget(self, now_ms: int) -> int:
        """See Store.forget_tickets."""
        with self._database.change():
            self._database.execute("DELETE FROM tickets WHERE until_ms <= ?", (now_ms,))
            return self._database.connection.changes()
