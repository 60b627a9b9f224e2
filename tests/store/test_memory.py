"""The store in memory keeps the contract."""

import pytest

from relay.store.base import Store
from relay.store.memory import MemoryStore
from tests.store.contract import StoreContract


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self) -> Store:
        return MemoryStore()
