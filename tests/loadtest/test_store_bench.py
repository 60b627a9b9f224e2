"""The store's benchmark runs, small, and counts what it says it counts."""

from pathlib import Path

import pytest

from loadtest import store_bench
from relay.store.sqlite import SqliteStore


@pytest.mark.parametrize("work", ["append", "read", "start"])
def test_every_work_runs(work: str, tmp_path: Path) -> None:
    for number, measure in enumerate(store_bench.works(0.0005)[work]):
        line = measure(tmp_path / str(number))
        assert line.startswith(work)


def test_all_messages_are_stored(tmp_path: Path) -> None:
    store_bench.append(tmp_path, 3, 10, 100)
    store = SqliteStore(tmp_path)
    heads = [len(store.reader().read(f"a{number}@b{number}", 0, 1000, 10**6)) for number in range(3)]
    store.close()
    assert sum(heads) == 103
