"""One relay and one browser for all tests of a worker; each test has people of its own."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.relay_client.town import Town
from tests.web.stage import Stage, chromium


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with Town(tmp_path_factory.mktemp("town")).open() as town:
        yield town


@pytest.fixture
def stage(town: Town, browser: Browser) -> Iterator[Stage]:
    stage = Stage(town, browser)
    yield stage
    problems = {person.name: person.problems for person in stage.people if person.problems}
    stage.close()
    assert problems == {}, "something went wrong in a page that nobody saw"
