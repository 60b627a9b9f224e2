"""Sessions over socket pairs, closed after each test."""

from collections.abc import Callable, Iterator

import pytest

from tests.session.gate import Gate
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


@pytest.fixture
def gates(wired: Callable[..., Wire]) -> Iterator[Callable[..., Gate]]:
    made = []

    def make(**options: float) -> Gate:
        made.append(Gate(wired("alice"), **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for gate in made:
        gate.close()


@pytest.fixture
def gate(gates: Callable[..., Gate]) -> Gate:
    return gates()
