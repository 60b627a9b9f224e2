"""What all tests of the SDK share."""

from collections.abc import Iterator

import pytest

from tests.relay_client.peer import Peer


@pytest.fixture
def peer() -> Iterator[Peer]:
    with Peer() as peer:
        yield peer


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients come back soon, however often they are cut off."""
    monkeypatch.setattr("relay_client.core.backoff.LONGEST_S", 0.02)
