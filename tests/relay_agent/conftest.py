"""One relay and one agent for a whole module."""

from collections.abc import Iterator

import pytest
from relay_client import Client

from tests.relay_agent.machine import Machine, agent
from tests.relay_client.peer import DEADLINE_S
from tests.relay_client.town import Town


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    town = Town(tmp_path_factory.mktemp("town"))
    town.add("alice", "bob", "build", "ci")
    with town.open():
        yield town


@pytest.fixture(scope="module")
def machine(town: Town) -> Iterator[Machine]:
    with agent(town, town.home / "agent", user="build") as machine:
        yield machine


@pytest.fixture
def alice(town: Town) -> Iterator[Client]:
    with Client(town.url("alice"), timeout=DEADLINE_S) as client:
        yield client
