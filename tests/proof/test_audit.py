"""Every acknowledgement follows a sync that covers it; by hand `python -m tests.proof.audit --messages 100000`."""

from pathlib import Path
from random import Random

import apsw
import pytest

from relay.protocol.codes import ErrorCode
from relay.store.base import Append, Appended
from relay.store.sqlite import SqliteStore
from tests.proof.audit import AuditedWorker, Findings, Posted, audit, run, work
from tests.proof.io_errors import Kind, Nth
from tests.proof.platter import Cut, Platter
from tests.proof.power_cuts import assert_sound, write_files
from tests.proof.recording import Event, Noted, Record, RecordingFile, Synced, SyncFailed, recording
from tests.proof.workload import CONVERSATIONS, Script, read_all


def test_every_acknowledgement_follows_a_sync_that_covers_it(tmp_path: Path) -> None:
    findings = run(5_000, 1, tmp_path)
    assert findings.failures == []
    assert findings.messages + findings.repeated >= 5_000
    assert findings.groups > 10 and findings.other_writes > 10
    assert findings.syncs >= findings.groups


def test_an_acknowledgement_without_a_sync_is_found(tmp_path: Path) -> None:
    with recording() as record:
        worker = AuditedWorker(tmp_path, record)
        work(worker, Script(Random(1)), 50, Random(1))
        worker.stop()
    events = record.events
    for place in [place for place, event in enumerate(events) if isinstance(event, Synced)][-6:]:
        findings = Findings(1)
        audit(events[:place] + events[place + 1 :], findings)
        if findings.failures:
            return
    pytest.fail("no sync was missed")


# Failures behind the worker.


def disk_after(record: Record, files: dict[str, bytes]) -> Platter:
    platter = Platter(files)
    for event in record.events:
        if not isinstance(event, Noted):
            platter.play(event)
    return platter


def assert_all_there(directory: Path, acknowledged: list[tuple[Append, Appended]], sent: set[bytes]) -> None:
    """Everything acknowledged at its place, and nothing that was never sent."""
    store = SqliteStore(directory)
    assert_sound(store)
    found = {(name, entry.offset): entry.packet for name in CONVERSATIONS for entry in read_all(store, name)}
    store.close()
    for item, answer in acknowledged:
        assert found[item.conversation, answer.offset] == item.packet
    assert set(found.values()) <= sent


def stored_after(events: list[Event], place: int) -> int:
    return sum(
        len(event.what.stored) + event.what.repeated
        for event in events[place:]
        if isinstance(event, Noted) and isinstance(event.what, Posted)
    )


@pytest.mark.parametrize("n", [1, 2, 7, 20])
@pytest.mark.parametrize("kind", [Kind.SYNC, Kind.WRITE, Kind.PART_WRITTEN])
def test_after_a_failure_nothing_is_acknowledged_and_nothing_is_lost(kind: Kind, n: int, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    script = Script(Random(n))
    with recording() as record:
        worker = AuditedWorker(data, record)
        work(worker, script, 200, Random(n))
        failed_from = len(record.events)
        record.fault = Nth(kind, n if kind is Kind.SYNC else n * 5, 0)
        while not worker.broken:
            for _ in range(20):
                worker.worker.append(script.message())
            worker.settle()
        assert "start again" in str(worker.broken[0])
        acknowledged = len(worker.acknowledged)
        for _ in range(20):
            assert not worker.worker.append(script.message())
        worker.settle()
        error = worker.stop()
    assert error is worker.broken[0] and len(worker.broken) == 1
    assert len(worker.acknowledged) == acknowledged
    events = record.events
    if kind is Kind.SYNC:
        place = next(place for place, event in enumerate(events) if isinstance(event, SyncFailed))
        assert place >= failed_from and stored_after(events, place) == 0
    sent = {part.packet for item in script.sent for part in item.apart()}
    assert_all_there(data, worker.acknowledged, sent)
    write_files(tmp_path / "dropped", disk_after(record, {}).image(Cut.DROPPED, Random(1)))
    assert_all_there(tmp_path / "dropped", worker.acknowledged, sent)


@pytest.mark.parametrize("kind", [Kind.FULL, Kind.PART_FULL])
def test_a_full_disk_refuses_with_a_sentence_and_recovers(kind: Kind, tmp_path: Path) -> None:
    script = Script(Random(1))
    with recording() as record:
        worker = AuditedWorker(tmp_path, record)
        work(worker, script, 200, Random(1))
        known = len(worker.refused)
        record.fault = fault = Nth(kind, 5, 10**9)
        while len(worker.refused) < known + 100:
            for _ in range(10):
                assert worker.worker.append(script.message())
            worker.settle()
        full = [(item, refusal) for item, refusal in worker.refused if refusal.code is ErrorCode.STORE_FAILED]
        assert len(full) >= 50
        assert all("no room on the disk" in refusal.sentence for _, refusal in full)
        fault.heal()
        before, known = len(worker.acknowledged), len(worker.refused)
        for item, _ in full:
            assert worker.worker.append(item)
        worker.settle()
        assert len(worker.acknowledged) > before
        assert len(worker.acknowledged) + len(worker.refused) == before + known + len(full)
        assert not [refusal for _, refusal in worker.refused[known:] if refusal.code is ErrorCode.STORE_FAILED]
        assert worker.stop() is None
    assert not worker.broken
    findings = Findings(1)
    audit(record.events, findings)
    assert findings.failures == []
    assert_all_there(tmp_path, worker.acknowledged, {part.packet for item in script.sent for part in item.apart()})


def test_a_worker_on_a_disk_that_never_syncs_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RecordingFile, "xSync", apsw.VFSFile.xSync)
    findings = run(100, 1, tmp_path)
    assert len(findings.failures) >= 100
