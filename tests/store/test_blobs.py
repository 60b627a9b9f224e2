"""Contents on a disk: only what was verified is kept, it goes on after a kill, and nothing is written elsewhere."""

import errno
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from relay.protocol.codes import ErrorCode
from relay.protocol.limits import FILE_CHUNK_BYTES
from relay.protocol.transfer import Chunk, TransferError
from relay.store.base import StoreError, StoreFullError
from relay.store.blobs import BLOBS, CHUNKS, PARTIAL, BlobDirectory, Partial

C = FILE_CHUNK_BYTES
SAMPLES = {
    "empty": b"",
    "one byte": b"x",
    "one chunk": os.urandom(C),
    "a chunk and a byte": os.urandom(C + 1),
    "chunks": os.urandom(3 * C + 500),
    "zeros": bytes(4 * C),
    "a hole inside": os.urandom(C) + bytes(2 * C) + b"end",
}


def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def chunks(data: bytes, start: int = 0) -> Iterator[Chunk]:
    for offset in range(start, len(data), C):
        body = data[offset : offset + C]
        yield Chunk(offset, sha(body), (body[:100], memoryview(body)[100:]))


def fill(partial: Partial, data: bytes) -> None:
    for chunk in chunks(data, partial.offset):
        partial.write(chunk)


def place(directory: BlobDirectory, data: bytes, name: str = "p") -> bytes:
    partial = directory.open_partial(name)
    fill(partial, data)
    partial.sync()
    partial.close()
    directory.place(name, sha(data), len(data))
    return sha(data)


def read(directory: BlobDirectory, hash: bytes, size: int) -> bytes:
    blob = directory.open_blob(hash, size)
    data = b"".join(blob.read(at, min(100_000, size - at)) for at in range(0, size, 100_000))
    for offset in range(0, size, C):
        assert blob.chunk_hash(offset) == sha(data[offset : offset + C])
    blob.close()
    blob.close()
    return data


def names(data: Path) -> set[str]:
    return {f"{path.parent.name}/{path.name}" for path in data.rglob("*") if path.is_file() or path.is_symlink()}


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[BlobDirectory]:
    made = BlobDirectory(tmp_path / "data")
    yield made
    made.close()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.mark.parametrize("content", SAMPLES.values(), ids=SAMPLES)
def test_a_content_comes_back_under_its_hash(directory: BlobDirectory, data: Path, content: bytes) -> None:
    partial = directory.open_partial("p")
    fill(partial, content)
    assert partial.catch_up(0)
    assert partial.digest() == sha(content)
    partial.sync()
    partial.close()
    partial.close()
    directory.place("p", sha(content), len(content))
    assert read(directory, sha(content), len(content)) == content
    assert (data / BLOBS / sha(content).hex()).read_bytes() == content
    assert names(data) == {f"blobs/{sha(content).hex()}"} | (
        {f"blobs/{sha(content).hex()}.chunks"} if len(content) > C else set()
    )
    assert directory.hashes() == {sha(content)}
    directory.remove_blob(sha(content))
    directory.remove_blob(sha(content))
    assert names(data) == set()


def test_zeros_take_no_room(directory: BlobDirectory, data: Path) -> None:
    hash = place(directory, bytes(64 * C))
    found = (data / BLOBS / hash.hex()).stat()
    assert found.st_size == 64 * C
    assert found.st_blocks * 512 < C


def test_everything_is_for_this_user_alone(directory: BlobDirectory, data: Path) -> None:
    hash = place(directory, b"secret")
    assert (data / BLOBS).stat().st_mode & 0o777 == (data / PARTIAL).stat().st_mode & 0o777 == 0o700
    assert (data / BLOBS / hash.hex()).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", [SAMPLES["chunks"], SAMPLES["zeros"] + b"1", SAMPLES["a hole inside"]])
@pytest.mark.parametrize("kept", [0, 1, 2])
def test_an_upload_goes_on_where_it_was_and_hashes_what_was_there(
    directory: BlobDirectory, content: bytes, kept: int
) -> None:
    first = directory.open_partial("p")
    fill(first, content[: kept * C])
    # No close: the process was killed. Its descriptors do not matter to another's.
    partial = directory.open_partial("p")
    assert partial.offset == kept * C
    fill(partial, content)
    while not partial.catch_up(1):
        pass
    assert partial.digest() == sha(content)
    first.close()
    partial.close()


def test_a_long_beginning_is_caught_up_with_step_by_step(directory: BlobDirectory) -> None:
    content = os.urandom(20 * C)
    first = directory.open_partial("p")
    fill(first, content[: 15 * C])
    first.close()
    partial = directory.open_partial("p")
    fill(partial, content)
    steps = 0
    while not partial.catch_up(1):
        steps += 1
    assert partial.digest() == sha(content)
    # Five chunks came, each of which took four along; what remains is less than all.
    assert steps < 15
    partial.close()


@pytest.mark.parametrize(("torn", "lost"), [(1, 0), (C - 1, 0), (0, 1), (0, 32), (5, 64)])
def test_what_is_torn_at_the_end_is_cut_off(directory: BlobDirectory, data: Path, torn: int, lost: int) -> None:
    content = SAMPLES["chunks"]
    partial = directory.open_partial("p")
    fill(partial, content[: 3 * C])
    partial.close()
    with (data / PARTIAL / "p").open("ab") as file:
        file.write(bytes(torn))
    os.truncate(data / PARTIAL / ("p" + CHUNKS), 96 - lost)
    partial = directory.open_partial("p")
    assert partial.offset == (96 - lost) // 32 * C
    fill(partial, content)
    assert partial.catch_up(3)
    assert partial.digest() == sha(content)
    partial.close()


def test_a_beginning_that_was_altered_is_noticed_and_cut(directory: BlobDirectory, data: Path) -> None:
    partial = directory.open_partial("p")
    fill(partial, SAMPLES["chunks"][: 3 * C])
    partial.close()
    with (data / PARTIAL / "p").open("r+b") as file:
        file.seek(C + 7)
        file.write(b"altered")
    partial = directory.open_partial("p")
    with pytest.raises(TransferError, match=f"offset {C} on") as refused:
        partial.catch_up(3)
    assert refused.value.code is ErrorCode.WRONG_HASH
    partial.close()
    partial = directory.open_partial("p")
    assert partial.offset == C
    fill(partial, SAMPLES["chunks"])
    assert partial.catch_up(3)
    assert partial.digest() == sha(SAMPLES["chunks"])
    partial.close()


def test_a_chunk_with_another_hash_is_not_kept(directory: BlobDirectory, data: Path) -> None:
    partial = directory.open_partial("p")
    fill(partial, bytes(C))
    with pytest.raises(TransferError, match=f"offset {C}") as refused:
        partial.write(Chunk(C, sha(b"other"), (b"this",)))
    assert refused.value.code is ErrorCode.WRONG_HASH
    assert partial.offset == C
    assert (data / PARTIAL / "p").stat().st_size == C
    partial.close()


def test_the_same_content_takes_the_place_of_a_damaged_one(directory: BlobDirectory, data: Path) -> None:
    hash = place(directory, SAMPLES["chunks"])
    path = data / BLOBS / hash.hex()
    reading = directory.open_blob(hash, len(SAMPLES["chunks"]))
    path.write_bytes(b"damaged")
    with pytest.raises(StoreError, match="altered"):
        directory.open_blob(hash, len(SAMPLES["chunks"]))
    with pytest.raises(StoreError, match="altered"):
        reading.read(0, 100)
    place(directory, SAMPLES["chunks"], "q")
    assert read(directory, hash, len(SAMPLES["chunks"])) == SAMPLES["chunks"]
    reading.close()


def test_a_content_without_the_hashes_of_its_chunks_is_damaged(directory: BlobDirectory, data: Path) -> None:
    hash = place(directory, SAMPLES["chunks"])
    os.truncate(data / BLOBS / (hash.hex() + CHUNKS), 32)
    blob = directory.open_blob(hash, len(SAMPLES["chunks"]))
    with pytest.raises(StoreError, match="relay verify"):
        blob.chunk_hash(C)
    blob.close()
    (data / BLOBS / (hash.hex() + CHUNKS)).unlink()
    with pytest.raises(StoreError):
        directory.open_blob(hash, len(SAMPLES["chunks"]))


def test_a_content_that_is_missing(directory: BlobDirectory) -> None:
    with pytest.raises(StoreError):
        directory.open_blob(sha(b"none"), 4)


def test_who_reads_a_content_may_go_on_when_it_is_deleted(directory: BlobDirectory) -> None:
    hash = place(directory, SAMPLES["chunks"])
    blob = directory.open_blob(hash, len(SAMPLES["chunks"]))
    directory.remove_blob(hash)
    assert blob.read(2 * C, 100) == SAMPLES["chunks"][2 * C : 2 * C + 100]
    blob.close()


def test_what_lies_around_is_told(directory: BlobDirectory, data: Path) -> None:
    hash = place(directory, SAMPLES["chunks"])
    partial = directory.open_partial("left")
    partial.close()
    (data / BLOBS / "README").write_text("somebody's")
    assert directory.partial_names() == {"left"}
    assert directory.hashes() == {hash}
    directory.remove_partial("left")
    directory.remove_partial("left")
    assert directory.partial_names() == set()


@pytest.mark.parametrize("content", [b"", b"x", SAMPLES["chunks"]], ids=["empty", "short", "long"])
@pytest.mark.parametrize("moved", [0, 1, 2])
def test_a_sealed_content_is_found_however_far_it_was_placed(
    directory: BlobDirectory, data: Path, content: bytes, moved: int
) -> None:
    partial = directory.open_partial("p")
    fill(partial, content)
    partial.close()
    assert directory.recover("p") is None
    directory.seal("p", sha(content), len(content))
    if moved and len(content) > C:
        (data / PARTIAL / "p.chunks").rename(data / BLOBS / f"{sha(content).hex()}.chunks")
    if moved > 1:
        (data / PARTIAL / "p").rename(data / BLOBS / sha(content).hex())
    for _ in range(2):
        assert directory.recover("p") == (len(content), sha(content))
        assert read(directory, sha(content), len(content)) == content
    assert directory.partial_names() == {"p"}
    directory.remove_partial("p")
    assert directory.partial_names() == set()


def test_a_seal_without_its_content_is_none(directory: BlobDirectory, data: Path) -> None:
    directory.seal("p", sha(b"abc"), 3)
    assert directory.recover("p") is None
    directory.seal("p", sha(b"abc"), 3)
    os.truncate(data / PARTIAL / "p.complete", 35)
    assert directory.recover("p") is None
    assert directory.partial_names() == set()


@pytest.mark.parametrize("name", [BLOBS, PARTIAL])
def test_a_directory_that_is_a_symbolic_link_is_refused(tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / name).symlink_to(outside)
    before = set(Path("/proc/self/fd").iterdir())
    with pytest.raises(StoreError, match="symbolic link"):
        BlobDirectory(tmp_path / "data")
    assert set(Path("/proc/self/fd").iterdir()) == before


def test_a_file_where_a_directory_belongs_is_refused(tmp_path: Path) -> None:
    (tmp_path / BLOBS).write_text("")
    with pytest.raises(StoreError, match="no directory"):
        BlobDirectory(tmp_path)


@pytest.mark.parametrize("suffix", ["", CHUNKS])
def test_a_symbolic_link_in_the_way_is_not_followed(directory: BlobDirectory, data: Path, suffix: str) -> None:
    outside = data.parent / "outside"
    outside.write_bytes(b"precious")
    (data / PARTIAL / ("p" + suffix)).symlink_to(outside)
    before = set(Path("/proc/self/fd").iterdir())
    with pytest.raises(StoreError, match="symbolic link"):
        directory.open_partial("p")
    assert set(Path("/proc/self/fd").iterdir()) == before
    hash = place(directory, b"precious", "q")
    (data / BLOBS / hash.hex()).unlink()
    (data / BLOBS / hash.hex()).symlink_to(outside)
    with pytest.raises(StoreError, match="symbolic link"):
        directory.open_blob(hash, 8)
    place(directory, b"precious", "q")
    assert not (data / BLOBS / hash.hex()).is_symlink()
    directory.remove_partial("p")
    assert outside.read_bytes() == b"precious"


def test_a_fifo_in_the_way_makes_nobody_wait(directory: BlobDirectory, data: Path) -> None:
    os.mkfifo(data / PARTIAL / "p")
    with pytest.raises(StoreError, match="remove it"):
        directory.open_partial("p")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_has_its_own_error(directory: BlobDirectory, number: int) -> None:
    assert isinstance(directory.explain(OSError(number, "x")), StoreFullError)
    assert not isinstance(directory.explain(OSError(errno.EIO, "x")), StoreFullError)


def test_some_of_the_disk_is_left_to_others(directory: BlobDirectory, data: Path) -> None:
    found = os.statvfs(data)
    assert 0 < directory.free_bytes() < found.f_blocks * found.f_frsize
