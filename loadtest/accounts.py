"""Accounts and rooms for thousands of users, written into a data directory before its relay starts.

All have one password and the cheapest credentials a client accepts: what the users of a load test spend on deriving
keys is no load on the relay.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from relay.protocol.scram import ITERATIONS_MIN, make_credentials
from relay.store.base import Role
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


def add_rooms(directory: Path, rooms: Mapping[str, Sequence[str]]) -> None:
    """Make public rooms with these members, the first of each its owner. Raises StoreError.

    By way of the relay everybody inside would be told of everybody who joins, which is not what is to be measured.
    """
    now_ms = time.time_ns() // 1_000_000
    store = SqliteStore(directory)
    try:
        with store.group():
            for name, members in rooms.items():
                store.create_room(name, "load test", True, members[0], now_ms)
                for user in members[1:]:
                    store.set_role(name, user, Role.MEMBER, now_ms)
    finally:
        store.close()
