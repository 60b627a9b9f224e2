"""Accounts for thousands of users, written into a data directory before its relay starts.

All have one password and the cheapest credentials a client accepts: what the users of a load test spend on deriving
keys is no load on the relay.
"""

import time
from pathlib import Path

from relay.protocol.scram import ITERATIONS_MIN, make_credentials
from relay.store.sqlite import SqliteStore


def add_accounts(directory: Path, names: list[str], password: str) -> None:
    """Make the accounts in the database of `directory`, which is made if it is missing. Raises StoreError."""
    directory.mkdir(parents=True, exist_ok=True)
    credentials = make_credentials(password, ITERATIONS_MIN)
    now_ms = time.time_ns() // 1_000_000
    store = SqliteStore(directory)
    try:
        with store.group():
            for name in names:
                store.add_account(name, credentials, False, now_ms)
    finally:
        store.close()
