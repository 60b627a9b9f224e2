"""Clients of the peer that are gone when the test is over."""

from collections.abc import Callable, Iterator

import pytest
from relay_client import Client

from tests.relay_client.peer import Peer

Connect = Callable[..., Client]


@pytest.fixture
def connect(peer: Peer, short_pauses: None) -> Iterator[Connect]:
    """`connect(user, device, ...)`: a client of the peer."""
    clients: list[Client] = []

    def make(user: str = "alice", device: str | None = "laptop", **options) -> Client:  # type: ignore[no-untyped-def]
        clients.append(Client(peer.url(user), device, **{"timeout": 20} | options))
        return clients[-1]

    yield make
    for client in clients:
        client._abandon()
