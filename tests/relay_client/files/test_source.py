"""What is sent: files that may be read again, and what comes only once."""

import hashlib
import io
import os
import threading
from pathlib import Path

import pytest
from relay_client.errors import FileChanged, FileFailed
from relay_client.files.source import OnceOnly, Source, open_source

CHUNK = 4096
CONTENT = os.urandom(2 * CHUNK) + b"end"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "data.bin"
    path.write_bytes(CONTENT)
    return path


def read_all(source: Source) -> bytes:
    content = b""
    while (chunk := source.read(len(content))).size:
        chunk.verify()
        assert chunk.offset == len(content)
        content += chunk.body()
    return content


def test_a_file_in_chunks_with_their_hashes(path: Path) -> None:
    source = open_source(path, None, CHUNK)
    assert (source.name, source.size) == ("data.bin", len(CONTENT)) and source.identity
    assert read_all(source) == CONTENT and source.digest.digest() == hashlib.sha256(CONTENT).digest()
    assert read_all(source) == CONTENT and source.digest.digest() == hashlib.sha256(CONTENT).digest()
    source.close()


def test_what_stands_before_a_place_to_go_on_from_is_hashed(path: Path) -> None:
    source = open_source(path, "other.bin", CHUNK)
    assert source.name == "other.bin"
    while not source.hash_some(CHUNK):
        pass
    assert source.read(CHUNK).size == CHUNK and source.read(2 * CHUNK).size == 3
    assert source.digest.digest() == hashlib.sha256(CONTENT).digest()
    source.close()


def test_zeros_have_the_right_hash(tmp_path: Path) -> None:
    path = tmp_path / "zeros"
    path.write_bytes(bytes(CHUNK + 5))
    source = open_source(path, None, CHUNK)
    assert read_all(source) == bytes(CHUNK + 5)
    source.close()


@pytest.mark.parametrize("change", [b"longer" * CHUNK, CONTENT[:-1], CONTENT[::-1]], ids=["longer", "shorter", "other"])
def test_a_file_that_changes_is_not_sent_on(path: Path, change: bytes) -> None:
    source = open_source(path, None, CHUNK)
    source.read(0)
    before = path.stat().st_mtime_ns
    path.write_bytes(change)
    os.utime(path, ns=(before, before + 1))
    with pytest.raises(FileChanged, match=r"data\.bin changed while it was sent"):
        source.read(CHUNK)
    source.close()


def test_the_other_end_has_more_than_there_is(path: Path) -> None:
    source = open_source(path, None, CHUNK)
    with pytest.raises(FileFailed, match="which has only"):
        while not source.hash_some(10 * CHUNK):
            pass
    source.close()


def test_a_file_object_is_read_once_and_the_latest_is_kept() -> None:
    source = OnceOnly(io.BytesIO(CONTENT), "x", CHUNK, kept_chunks=2)
    assert source.size is None and not source.identity
    assert source.read(0).body() == CONTENT[:CHUNK] and not source.must_wait()
    assert source.read(CHUNK).size == CHUNK and source.must_wait()
    assert source.read(0).body() == CONTENT[:CHUNK]
    source.had(CHUNK)
    assert not source.must_wait()
    assert source.read(2 * CHUNK).body() == b"end" and source.read(len(CONTENT)).size == 0
    assert source.digest.digest() == hashlib.sha256(CONTENT).digest()
    with pytest.raises(FileFailed, match="only once"):
        source.read(0)


def test_a_whole_number_of_chunks_ends_too() -> None:
    source = OnceOnly(io.BytesIO(bytes(2 * CHUNK)), "x", CHUNK)
    assert read_all(source) == bytes(2 * CHUNK)


def test_a_named_pipe_comes_once(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(CONTENT,))
    writer.start()
    source = open_source(path, None, CHUNK)
    assert source.size is None and source.name == "pipe"
    assert read_all(source) == CONTENT
    source.close()
    writer.join(30)


def test_what_cannot_be_sent(tmp_path: Path) -> None:
    for path, why in ((tmp_path, "is a directory"), (tmp_path / "none", "No such file")):
        with pytest.raises(FileFailed, match=why):
            open_source(path, None, CHUNK)
    with pytest.raises(FileFailed, match="mode 'rb'"):
        read_all(open_source(io.StringIO("text"), "x", CHUNK))  # type: ignore[arg-type]
    closed = io.BytesIO()
    closed.close()
    with pytest.raises(FileFailed, match="closed file"):
        read_all(open_source(closed, "x", CHUNK))


def test_a_file_object_may_know_its_name(path: Path) -> None:
    with path.open("rb") as file:
        assert open_source(file, None, CHUNK).name == "data.bin"
    assert open_source(io.BytesIO(), None, CHUNK).name == ""
