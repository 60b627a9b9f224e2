"""The contents of files go with every backup, come back with it, and are checked against their hashes."""

import errno
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from relay.protocol.limits import FILE_CHUNK_BYTES
from relay.protocol.transfer import Chunk
from relay.store.base import StoreError
from relay.store.blobs import BlobDirectory
from relay.store.files import Begun, Content, FilePage, FileTerms, NewUpload, StoredFile
from relay.store.sqlite import SqliteStore, contents
from relay.store.sqlite.backup import DamagedError, back_up, restore
from relay.store.sqlite.verify import verify
from tests.store.samples import add_users

C = FILE_CHUNK_BYTES
TERMS = FileTerms()
LARGE, SMALL, HOLES = os.urandom(2 * C + 5), b"small", bytes(8 * C) + b"end"


def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


class Data:
    """A data directory with files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.store = SqliteStore(path)
        add_users(self.store, "alice", "bob")
        self.directory = BlobDirectory(path)

    def add(self, upload: str, data: bytes) -> StoredFile:
        new = NewUpload("alice", upload, "bob", f"{upload}.bin", "", len(data), None)
        begun = self.store.begin_upload(new, TERMS, 1000)
        assert isinstance(begun, Begun)
        partial = self.directory.open_partial(begun.partial)
        for offset in range(0, len(data), C):
            body = data[offset : offset + C]
            partial.write(Chunk(offset, sha(body), (body,)))
        partial.sync()
        partial.close()
        self.directory.place(begun.partial, sha(data), len(data))
        file = self.store.finish_upload("alice", upload, Content(len(data), sha(data)), TERMS, 1000)
        assert isinstance(file, StoredFile)
        return file

    def close(self) -> None:
        self.store.close()
        self.directory.close()


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Data]:
    made = Data(tmp_path / "data")
    for upload, content in (("large", LARGE), ("small", SMALL), ("again", SMALL), ("holes", HOLES)):
        made.add(upload, content)
    yield made
    made.close()


def contents_of(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def without_links(monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*arguments: object, **named: object) -> None:
        raise OSError(errno.EXDEV, "another file system")

    monkeypatch.setattr(os, "link", link)


@pytest.mark.parametrize("linked", [True, False])
def test_files_come_back_from_a_backup(
    data: Data, tmp_path: Path, linked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not linked:
        without_links(monkeypatch)
    back_up(data.path, tmp_path / "copy.db")
    beside = tmp_path / "copy.db.files"
    assert contents_of(beside) == contents_of(data.path / "blobs")
    assert beside.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in beside.iterdir()} == {0o600}
    assert {path.stat().st_nlink for path in beside.iterdir()} == {2 if linked else 1}
    assert (beside / sha(HOLES).hex()).stat().st_blocks * 512 < C
    assert not verify(tmp_path / "copy.db").findings
    assert restore(tmp_path / "copy.db", tmp_path / "new") is None
    report = verify(tmp_path / "new" / "relay.db")
    assert (report.findings, report.files, report.file_bytes) == ([], 4, len(LARGE) + len(SMALL) + len(HOLES))
    assert contents_of(tmp_path / "new" / "blobs") == contents_of(data.path / "blobs")
    store = SqliteStore(tmp_path / "new")
    assert store.files("bob", FilePage(10), 2000) == data.store.files("bob", FilePage(10), 2000)
    store.close()


def test_a_backup_that_is_replaced_keeps_only_what_it_refers_to(data: Data, tmp_path: Path) -> None:
    back_up(data.path, tmp_path / "copy.db")
    (large,) = (file for file in data.store.files("bob", FilePage(10), 1) or () if file.hash == sha(LARGE))
    data.store.remove_file("alice", large.id, 1)
    data.store.sweep_files(TERMS, (), 2, 10)
    data.directory.remove_blob(sha(LARGE))
    data.add("new", b"new")
    back_up(data.path, tmp_path / "copy.db", force=True)
    assert {bytes.fromhex(name.partition(".")[0]) for name in contents_of(tmp_path / "copy.db.files")} == {
        sha(SMALL),
        sha(HOLES),
        sha(b"new"),
    }
    data.store.remove_account("alice")
    data.store.sweep_files(TERMS, (), 2, 10)
    back_up(data.path, tmp_path / "copy.db", force=True)
    assert not (tmp_path / "copy.db.files").exists()


def test_files_that_are_removed_meanwhile_are_not_in_the_backup(data: Data, tmp_path: Path) -> None:
    data.directory.remove_blob(sha(LARGE))
    back_up(data.path, tmp_path / "copy.db")
    report = verify(tmp_path / "copy.db")
    assert (report.findings, report.files) == ([], 3)


def test_nothing_is_left_of_a_backup_that_fails(data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*arguments: object, **named: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(StoreError, match="no room on the disk"):
        back_up(data.path, tmp_path / "copy.db")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]
    monkeypatch.undo()
    back_up(data.path, tmp_path / "copy.db")
    before = contents_of(tmp_path / "copy.db.files")
    data.add("new", b"new")

    def fail(done: int, total: int) -> None:
        if total > 1000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        back_up(data.path, tmp_path / "copy.db", force=True, on_progress=fail)
    assert contents_of(tmp_path / "copy.db.files") == before
    assert not verify(tmp_path / "copy.db").findings


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda path: path.unlink(), "is missing"),
        (lambda path: path.write_bytes(LARGE[:-1]), "bytes and not"),
        (lambda path: path.write_bytes(LARGE[:-1] + b"?"), "is altered"),
        (lambda path: path.with_name(path.name + ".chunks").unlink(), "is missing"),
        (lambda path: path.with_name(path.name + ".chunks").write_bytes(bytes(96)), "other hashes"),
    ],
    ids=["missing", "short", "altered", "without hashes", "other hashes"],
)
def test_damage_is_found_and_not_restored(data: Data, tmp_path: Path, damage: object, sentence: str) -> None:
    back_up(data.path, tmp_path / "copy.db")
    (tmp_path / "copy.db.files" / sha(LARGE).hex()).unlink()
    (tmp_path / "copy.db.files" / sha(LARGE).hex()).write_bytes(LARGE)
    damage(tmp_path / "copy.db.files" / sha(LARGE).hex())  # type: ignore[operator]
    (finding,) = verify(tmp_path / "copy.db").findings
    assert finding.part == "files"
    assert sha(LARGE).hex() in finding.sentence
    assert sentence in finding.sentence
    with pytest.raises(DamagedError, match="nothing was changed"):
        restore(tmp_path / "copy.db", tmp_path / "new")
    assert not (tmp_path / "new" / "relay.db").exists()
    assert not (tmp_path / "new" / "blobs").exists()


def test_files_that_are_there_already_are_put_aside(data: Data, tmp_path: Path) -> None:
    back_up(data.path, tmp_path / "copy.db")
    other = Data(tmp_path / "other")
    other.add("mine", b"mine")
    other.directory.open_partial("left").close()
    other.close()
    aside = restore(tmp_path / "copy.db", tmp_path / "other", force=True)
    assert aside is not None
    assert contents_of(aside / "blobs") == {sha(b"mine").hex(): b"mine"}
    assert (aside / "partial" / "left").exists()
    assert not verify(aside / "relay.db").findings
    assert not verify(tmp_path / "other" / "relay.db").findings


def test_a_content_that_a_running_relay_deletes_meanwhile_is_no_damage(
    data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = contents.contents_in

    def then_removed(database: Path) -> list[Content]:
        found = real(database)
        data.store.remove_account("alice")
        data.store.sweep_files(TERMS, (), 2, 10)
        for content in found:
            data.directory.remove_blob(content.hash)
        monkeypatch.setattr(contents, "contents_in", real)
        return found

    monkeypatch.setattr(contents, "contents_in", then_removed)
    assert verify(data.path / "relay.db").findings == []
    assert data.directory.hashes() == set()


def test_a_row_that_was_altered_is_found(data: Data, tmp_path: Path) -> None:
    back_up(data.path, tmp_path / "copy.db")
    connection = apsw.Connection(str(tmp_path / "copy.db"))
    connection.execute("UPDATE files SET hash = x'00' WHERE upload = 'small'")
    connection.close()
    assert [finding.part for finding in verify(tmp_path / "copy.db").findings] == ["files"]
