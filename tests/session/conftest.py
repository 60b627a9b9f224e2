"""Sessions over socket pairs, closed after each test."""

from collections.abc import Callable, Iterator

import pytest

from tests.session.wire import Wire


@pytest.fixture
def wired() -> Iterator[Callable[..., Wire]]:
    """Makes wires."""
    made = []

    def make(*users: str, **options: int) -> Wire:
        made.append(Wire(*users, **options))
        return made[-1]

    yield make
    for wire in made:
        wire.close()


@pytest.fixture
def wire(wired: Callable[..., Wire]) -> Wire:
    return wired("alice", "bob", "carol")
