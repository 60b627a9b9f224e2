"""The store on SQLite keeps the contract: while it is open, after a restart, after a crash, with a busy index."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from relay.store.base import Retention, Store
from relay.store.sqlite import SqliteStore
from tests.store.contract import StoreContract
from tests.store.disk import Disk, disk
from tests.store.retaining import Make, RetentionContract


class OnDisk(StoreContract, RetentionContract):
    index_every = 65_536

    @pytest.fixture
    def disk(self, tmp_path: Path) -> Iterator[Disk]:
        with disk(tmp_path, self.index_every) as made:
            self.on = made
            yield made

    @pytest.fixture
    def store(self, disk: Disk) -> Store:
        return disk.open()

    @pytest.fixture
    def make(self, disk: Disk) -> Make:
        def make(retention: Retention) -> Store:
            disk.retention = retention
            return disk.open()

        return make


class TestSqliteStore(OnDisk):
    pass


class TestAfterRestart(OnDisk):
    def again(self, store: Store) -> Store:
        assert isinstance(store, SqliteStore)
        return self.on.restart(store)


class TestAfterCrash(OnDisk):
    def again(self, store: Store) -> Store:
        return self.on.crash()


class TestIndexedAtOnce(OnDisk):
    """Everything is read through the index: it is brought up to date before each look back."""

    index_every = 1

    def again(self, store: Store) -> Store:
        while store.maintain(idle=False):
            pass
        return store


class TestCrashWhileIndexing(OnDisk):
    """The process dies with a part of the tail written to the index."""

    index_every = 1

    def again(self, store: Store) -> Store:
        store.maintain(idle=False)
        return self.on.crash()
