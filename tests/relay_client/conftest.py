"""What all tests of the SDK share."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from relay_client import Client

from tests.relay_client.driver import AioClient
from tests.relay_client.peer import Peer

AnyClient = Client | AioClient
ClientOf = Callable[..., AnyClient]
Connect = Callable[..., AnyClient]


@pytest.fixture
def peer() -> Iterator[Peer]:
    with Peer() as peer:
        yield peer


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients come back soon, however often they are cut off."""
    monkeypatch.setattr("relay_client.core.backoff.LONGEST_S", 0.02)


@pytest.fixture(params=[Client, AioClient], ids=["blocking", "aio"])
def client_of(request: pytest.FixtureRequest, short_pauses: None) -> ClientOf:
    """Makes a client of a URL."""
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def connect(peer: Peer, client_of: ClientOf) -> Iterator[Connect]:
    """`connect(user, device, ...)`: a client of the peer, which is gone when the test is over."""
    clients: list[AnyClient] = []

    def make(user: str = "alice", device: str | None = "laptop", **options: Any) -> AnyClient:
        clients.append(client_of(peer.url(user), device, **{"timeout": 20} | options))
        return clients[-1]

    yield make
    for client in clients:
        client._abandon()
