"""The store in memory keeps the contract."""

import pytest

from relay.store.base import Store
from relay.store.memory import MemoryStore
from tests.store.contract import StoreContract
from tests.store.retaining import Make, RetentionContract


class TestMemoryStore(StoreContract, RetentionContract):
    @pytest.fixture
    def store(self) -> Store:
        return MemoryStore()

    @pytest.fixture
    def make(self) -> Make:
        return MemoryStore
