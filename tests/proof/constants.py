"""Where proofs run, and how a small workload meets what a large one would."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from relay.store.sqlite import index

_SMALL = {
    "_CHECKPOINT_PAGES": 60,
    "_CHECKPOINT_IDLE_PAGES": 20,
    "_LOOK_ROWS": 20,
    "_LOOK_GROUPS": 3,
    "_SLICE": 3,
    "_RUN_MAX": 16,
}


@contextmanager
def eager_upkeep() -> Iterator[None]:
    """The index is written in slices of a few rows, and the write-ahead log goes back after some tens of pages."""
    usual = {name: getattr(index, name) for name in _SMALL}
    vars(index).update(_SMALL)
    try:
        yield
    finally:
        vars(index).update(usual)


@contextmanager
def memory_directory() -> Iterator[Path]:
    """A directory of our own. Not in memory: a long run makes thousands of images."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)
