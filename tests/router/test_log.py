"""The log that the router needs is what the store's worker, and the tests' own, offer."""

import inspect

import pytest

from relay.router.log import Log
from relay.store.worker import StoreWorker
from tests.router.recording import SteppedLog


@pytest.mark.parametrize("kind", [StoreWorker, SteppedLog])
@pytest.mark.parametrize("name", ["append", "read", "write"])
def test_every_log_takes_what_the_interface_says(kind: type, name: str) -> None:
    wanted, offered = inspect.signature(getattr(Log, name)), inspect.signature(getattr(kind, name))
    assert list(offered.parameters) == list(wanted.parameters)
    assert {name for name in vars(Log) if not name.startswith("_")} == {"append", "read", "write"}
