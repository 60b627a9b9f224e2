"""A bounded cache that costs a dict's look-up where it hits: once or twice per message."""

from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

# How many entries are remembered, in each of a cache's two halves.
CACHED_MAX = 20_000


class Cache(dict[K, V], Generic[K, V]):
    """Remembers what was used lately: `cache[key]` loads what is missing, and a hit costs what a dict costs.

    At `limit` entries the cache becomes the older half and starts anew; what is used again comes back from there.
    """

    def __init__(self, load: Callable[[K], V], limit: int = CACHED_MAX) -> None:
        super().__init__()
        self._load = load
        self._limit = limit
        self._older: dict[K, V] = {}

    def __missing__(self, key: K) -> V:
        value = self._older.get(key)
        if value is None:
            value = self._load(key)
        if len(self) >= self._limit:
            self._older = dict(self)
            super().clear()
        self[key] = value
        return value

    def drop(self, key: K) -> None:
        """Load this one anew."""
        self.pop(key, None)
        self._older.pop(key, None)

    def forget(self) -> None:
        """Load everything anew."""
        super().clear()
        self._older = {}
