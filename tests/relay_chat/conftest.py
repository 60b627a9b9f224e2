"""A real relay for all tests of the chat, and users of each test's own."""

from collections.abc import Iterator
from itertools import count

import pytest

from tests.relay_client.town import Town

_numbers = count(1)


@pytest.fixture(scope="package")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    town = Town(tmp_path_factory.mktemp("town"))
    with town.open():
        yield town


@pytest.fixture
def users(shared: Town) -> tuple[str, str, str]:
    """Three users of the test's own."""
    number = next(_numbers)
    names = (f"alice{number}", f"bob{number}", f"carol{number}")
    shared.add(*names)
    return names


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients come back soon."""
    monkeypatch.setattr("relay_client.core.backoff.LONGEST_S", 0.1)
