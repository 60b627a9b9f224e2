"""What all tests of the SDK share."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from relay_client import Bot, Client

from tests.relay_client.driver import AioClient
from tests.relay_client.peer import DEADLINE_S, Peer

AnyClient = Client | AioClient
ClientOf = Callable[..., AnyClient]
Connect = Callable[..., AnyClient]
Start = Callable[[Bot], threading.Thread]


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


@pytest.fixture
def start(short_pauses: None) -> Iterator[Start]:
    """Runs a bot in a thread until the test is over."""
    running: list[tuple[Bot, threading.Thread]] = []

    def run(bot: Bot) -> threading.Thread:
        thread = threading.Thread(target=bot.run)
        running.append((bot, thread))
        thread.start()
        return thread

    yield run
    for bot, thread in running:
        bot.stop()
        thread.join(DEADLINE_S)
        assert not thread.is_alive()
