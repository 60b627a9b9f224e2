"""Damaged files, a sample; by hand `python -m tests.proof.bit_flips --images 1000`."""

import pytest

from relay.store.sqlite import log, reader
from relay.store.sqlite.wal import Promise
from tests.proof.bit_flips import BitFlips, Findings
from tests.proof.constants import eager_upkeep, memory_directory


def damage(seed: int, images: int) -> Findings:
    with memory_directory() as root, eager_upkeep():
        return BitFlips(seed, root).run(images)


def test_damage_is_noticed_or_harmless() -> None:
    findings = damage(3, 60)
    assert findings.failures == [] and not findings.unnoticed
    assert set(findings.outcomes) >= {"harmless", "refused at the start", "refused when it was read"}


def test_messages_without_checksums_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (log, reader):
        monkeypatch.setattr(module, "is_intact", lambda row: True)
    assert any("was read altered" in failure for failure in damage(3, 60).failures)


def test_a_write_ahead_log_that_is_believed_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Promise, "is_broken_by", lambda promise, found: False)
    assert any("messages are gone" in outcome for outcome in damage(3, 60).unnoticed)
