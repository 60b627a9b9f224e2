"""Disks that fail, each 80th operation; by hand `python -m tests.proof.io_errors` for every single one."""

import pytest

from relay.store.sqlite.database import Database
from tests.proof.constants import eager_upkeep, memory_directory
from tests.proof.io_errors import Findings, IoErrors, Kind


def fail(seed: int, every: int) -> Findings:
    with memory_directory() as root, eager_upkeep():
        return IoErrors(seed, root).run(every)


def test_nothing_is_acknowledged_that_failed_and_nothing_lost_that_was() -> None:
    findings = fail(1, 80)
    assert findings.failures == []
    assert findings.fired == findings.runs
    assert set(findings.runs) >= set(Kind) - {Kind.TRUNCATE, Kind.SYNC}
    assert findings.ended[f"{Kind.WRITE}: stopped"] and findings.ended[f"{Kind.FULL}: went on"]
    assert not findings.ended[f"{Kind.FULL}: stopped"]
    assert findings.refused > 0


def test_syncs_and_truncations_that_fail_are_noticed() -> None:
    """They are few, so more of them."""
    with memory_directory() as root, eager_upkeep():
        proof = IoErrors(2, root)
        for kind in (Kind.SYNC, Kind.TRUNCATE):
            for n in range(1, 40, 2):
                proof._try(kind, n, 0)
    assert proof.findings.failures == []
    assert proof.findings.ended[f"{Kind.SYNC}: stopped"] > 10


def test_a_store_that_does_not_sync_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    configure = Database.configure

    def careless(database: Database) -> None:
        configure(database)
        database.connection.pragma("synchronous", 0)

    monkeypatch.setattr(Database, "configure", careless)
    assert fail(1, 150).failures
