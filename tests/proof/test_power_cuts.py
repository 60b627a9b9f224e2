"""Power cuts, a short run; by hand `python -m tests.proof.power_cuts --images 20000 --seed N`."""

from collections.abc import Iterator
from random import Random

import apsw
import pytest

from relay.store.sqlite.database import Database
from tests.proof.constants import eager_upkeep, memory_directory
from tests.proof.platter import Cut, Platter
from tests.proof.power_cuts import Findings, PowerCuts
from tests.proof.recording import Created, Deleted, DirectorySynced, RecordingFile, Synced, Truncated, Written


@pytest.fixture(autouse=True)
def upkeep() -> Iterator[None]:
    with eager_upkeep():
        yield


def cut_power(seed: int, images: int) -> Findings:
    with memory_directory() as root:
        return PowerCuts(seed, root).run(images)


@pytest.mark.parametrize("seed", [1, 2])
def test_what_was_acknowledged_is_there_after_a_power_cut_and_nothing_else(seed: int) -> None:
    findings = cut_power(seed, 100)
    assert findings.failures == []
    assert findings.images >= 100
    assert findings.unsynced_writes > findings.images
    assert findings.in_flight_found and findings.in_flight_lost
    assert set(findings.cuts) == set(Cut)


# The proof itself: it finds what it is there to find.


def test_a_store_that_does_not_sync_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    configure = Database.configure

    def careless(database: Database) -> None:
        configure(database)
        database.connection.pragma("synchronous", 1)

    monkeypatch.setattr(Database, "configure", careless)
    assert cut_power(1, 100).failures


def test_a_disk_that_does_not_sync_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def forget(file: RecordingFile, flags: int) -> None:
        apsw.VFSFile.xSync(file, flags)

    monkeypatch.setattr(RecordingFile, "xSync", forget)
    assert cut_power(1, 100).failures


# The disk of the model.


def images(platter: Platter, cut: Cut, count: int = 200) -> set[bytes | None]:
    random = Random(1)
    return {platter.image(cut, random).get("db") for _ in range(count)}


def test_what_was_synced_is_there_whatever_happens_to_the_rest() -> None:
    platter = Platter({"db": b"old"})
    platter.play(Written("db", 0, b"new"))
    assert images(platter, Cut.DROPPED) == {b"old"}
    assert images(platter, Cut.KEPT) == {b"new"}
    assert images(platter, Cut.REORDERED) == images(platter, Cut.TORN) == {b"old", b"new"}
    platter.play(Synced("db"))
    platter.play(Truncated("db", 1))
    for cut in Cut:
        assert images(platter, cut) <= {b"new", b"n"}
    assert images(platter, Cut.DROPPED) == {b"new"}


def test_writes_are_reordered_and_torn_at_sectors() -> None:
    platter = Platter({"db": b""})
    platter.play(Written("db", 500, b"a" * 524))
    head, a = bytes(500), b"a"
    assert images(platter, Cut.TORN) == {b"", head + a * 12, head + a * 524, bytes(512) + a * 512}
    assert images(platter, Cut.PREFIX) == {b"", head + a * 12, head + a * 524}
    platter.play(Written("db", 0, b"b"))
    assert images(platter, Cut.REORDERED) == {b"", b"b", head + a * 524, b"b" + bytes(499) + a * 524}
    assert len(images(platter, Cut.GARBLED)) > 20


def test_a_new_name_needs_a_synced_directory() -> None:
    platter = Platter({})
    platter.play(Created("db"))
    platter.play(Written("db", 0, b"data"))
    platter.play(Synced("db"))
    assert images(platter, Cut.DROPPED) == {None}
    assert images(platter, Cut.TORN) == {None, b"data"}
    platter.play(DirectorySynced())
    assert images(platter, Cut.DROPPED) == {b"data"}
    platter.play(Deleted("db"))
    assert images(platter, Cut.DROPPED) == {b"data"}
    assert images(platter, Cut.TORN) == {None, b"data"}
    platter.play(Created("db"))
    assert images(platter, Cut.REORDERED) == {None, b"data", b""}
