"""One relay process for all tests of a worker whose settings allow it, and a stage on it for each test."""

from collections.abc import Iterator

import pytest

from tests.integration.stage import RelayProcess, Stage


@pytest.fixture(scope="session")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RelayProcess]:
    with RelayProcess(tmp_path_factory.mktemp("relay"), drain_spread_s=0) as process:
        yield process
        assert process.process.stop() == 0
        process.check_log()


@pytest.fixture(scope="session")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RelayProcess]:
    """A relay that waits for nothing for long."""
    settings = {"handshake_timeout_s": 1.5, "keepalive_interval_s": 0.5, "keepalive_timeout_s": 0.5}
    with RelayProcess(
        tmp_path_factory.mktemp("impatient"), slow_reader_timeout_s=1, drain_spread_s=0, **settings
    ) as it:
        yield it
        assert it.process.stop() == 0
        it.check_log()


@pytest.fixture
def hurry(impatient: RelayProcess) -> Iterator[Stage]:
    with Stage(impatient) as stage:
        yield stage


@pytest.fixture
def stage(relay: RelayProcess) -> Iterator[Stage]:
    with Stage(relay) as stage:
        yield stage
