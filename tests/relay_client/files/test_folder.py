"""Files under way in a directory: resumed, verified, named without overwriting, and nothing outside the directory."""

import errno
import hashlib
import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from relay_client.errors import FileBusy, FileFailed, FileThere
from relay_client.files.folder import PART_KEPT_S, Folder, IfThere, Part, numbered, part_name

from relay.protocol.codes import ErrorCode

CHUNK = 4096
ONE, TWO = b"1" * CHUNK, b"2" * CHUNK


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    with Folder(tmp_path) as folder:
        yield folder


def part_of(folder: Folder, name: str = "a.txt", key: str = "k") -> Part:
    part = Part(folder, name, key, CHUNK)
    while not part.hash_some():
        pass
    return part


def names(folder: Folder) -> list[str]:
    return sorted(path.name for path in folder.path.iterdir())


def test_a_file_appears_under_its_name_at_the_end_only(folder: Folder) -> None:
    with part_of(folder) as part:
        part.write(ONE)
        part.write(b"end")
        assert names(folder) == [part_name("a.txt", "k")]
        assert part.land(IfThere.REFUSE) == "a.txt"
        part.settle()
    assert names(folder) == ["a.txt"] and (folder.path / "a.txt").read_bytes() == ONE + b"end"
    assert part.digest.digest() == hashlib.sha256(ONE + b"end").digest()


def test_an_empty_file(folder: Folder) -> None:
    with part_of(folder) as part:
        part.land(IfThere.REFUSE)
        part.settle()
    assert (folder.path / "a.txt").read_bytes() == b""


def test_a_part_with_nothing_in_it_is_not_left(folder: Folder) -> None:
    part_of(folder).close()
    assert names(folder) == []


def test_it_goes_on_where_an_earlier_program_stood_and_cuts_off_a_torn_tail(folder: Folder) -> None:
    with part_of(folder) as part:
        part.write(ONE)
    with (folder.path / part_name("a.txt", "k")).open("ab") as file:
        file.write(b"torn")
    with part_of(folder) as part:
        assert part.offset == CHUNK
        part.write(TWO)
        part.land(IfThere.REFUSE)
        part.settle()
    assert (folder.path / "a.txt").read_bytes() == ONE + TWO
    assert part.digest.digest() == hashlib.sha256(ONE + TWO).digest()


def test_another_transfer_of_the_same_name_has_a_part_of_its_own(folder: Folder) -> None:
    with part_of(folder) as part, part_of(folder, key="other") as other:
        part.write(ONE)
        assert other.offset == 0 and len(names(folder)) == 2


def test_a_part_is_used_by_one_at_a_time(folder: Folder) -> None:
    with part_of(folder) as part:
        part.write(ONE)
        with pytest.raises(FileBusy, match=r"a\.txt"):
            part_of(folder)
    part_of(folder).close()


def test_an_existing_file_is_refused_numbered_or_replaced(folder: Folder) -> None:
    (folder.path / "a.txt").write_text("old")
    with part_of(folder) as part:
        part.write(b"new")
        with pytest.raises(FileThere, match="exists already") as caught:
            part.land(IfThere.REFUSE)
        assert str(folder.path) not in caught.value.told
        assert (folder.path / "a.txt").read_text() == "old"
        assert part.land(IfThere.NUMBER) == "a (1).txt"
        part.settle()
    with part_of(folder, key="again") as part:
        part.write(b"newer")
        assert part.land(IfThere.REPLACE) == "a.txt"
        part.settle()
    assert names(folder) == ["a (1).txt", "a.txt"]
    assert (folder.path / "a.txt").read_text() == "newer" and (folder.path / "a (1).txt").read_text() == "new"


def test_a_symbolic_link_of_the_name_is_not_written_through(folder: Folder, tmp_path: Path) -> None:
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.write_text("precious")
    (folder.path / "a.txt").symlink_to(outside)
    with part_of(folder) as part:
        part.write(b"new")
        with pytest.raises(FileThere):
            part.land(IfThere.REFUSE)
        part.land(IfThere.REPLACE)
        part.settle()
    assert outside.read_text() == "precious" and not (folder.path / "a.txt").is_symlink()


def test_a_symbolic_link_in_the_place_of_the_part_is_refused(folder: Folder, tmp_path: Path) -> None:
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.write_text("precious")
    (folder.path / part_name("a.txt", "k")).symlink_to(outside)
    with pytest.raises(FileFailed, match="symbolic link, which is not followed"):
        part_of(folder)
    assert outside.read_text() == "precious"


def test_something_else_in_the_place_of_the_part_is_refused(folder: Folder) -> None:
    os.mkfifo(folder.path / part_name("a.txt", "k"))
    with pytest.raises(FileFailed, match="no plain file"):
        part_of(folder)


def test_a_part_that_is_another_file_too_is_left_alone(folder: Folder, tmp_path: Path) -> None:
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.write_bytes(ONE + b"tail")
    (folder.path / part_name("a.txt", "k")).hardlink_to(outside)
    with pytest.raises(FileFailed, match="another file elsewhere"):
        part_of(folder)
    assert outside.read_bytes() == ONE + b"tail"


def test_a_program_that_was_ended_between_the_name_and_its_note(folder: Folder) -> None:
    with part_of(folder) as part:
        part.write(ONE)
        part.land(IfThere.REFUSE)
    assert len(names(folder)) == 2
    with part_of(folder) as part:
        assert part.landed == "a.txt" and part.digest.digest() == hashlib.sha256(ONE).digest()
        part.settle()
    assert names(folder) == ["a.txt"]


def test_zeros_become_holes(folder: Folder) -> None:
    size = 64 * CHUNK
    with part_of(folder) as part:
        part.write(bytes(size))
        part.write(ONE)
        part.land(IfThere.REFUSE)
        part.settle()
    status = (folder.path / "a.txt").stat()
    assert status.st_size == size + CHUNK and status.st_blocks * 512 < size
    assert part.digest.digest() == hashlib.sha256(bytes(size) + ONE).digest()


def test_a_full_disk_leaves_what_was_verified(folder: Folder) -> None:
    with part_of(folder) as part:
        part.write(ONE)
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (CHUNK + 100, before[1]))
        try:
            with pytest.raises(FileFailed, match="no room") as caught:
                part.write(TWO)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert caught.value.code == ErrorCode.QUOTA_EXCEEDED and "goes on" in caught.value.told
        assert part.offset == CHUNK
    assert (folder.path / part_name("a.txt", "k")).read_bytes() == ONE
    with part_of(folder) as part:
        part.write(TWO)
        assert part.digest.digest() == hashlib.sha256(ONE + TWO).digest()


def test_a_directory_that_cannot_be_written() -> None:
    with Folder("/proc/self") as folder, pytest.raises(FileFailed, match=r"/proc/self/") as caught:
        part_of(folder)
    assert "/proc" not in caught.value.told


def test_what_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "none"):
        with pytest.raises(FileFailed, match=path.name):
            Folder(path)


def test_a_directory_of_the_name_is_in_the_way(folder: Folder) -> None:
    (folder.path / "a.txt").mkdir()
    with part_of(folder) as part:
        part.write(ONE)
        for rule in (IfThere.REFUSE, IfThere.REPLACE):
            with pytest.raises(FileFailed, match=r"a\.txt"):
                part.land(rule)


def test_without_hard_links_the_name_is_reserved_first(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*args: object, **options: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", no_links)
    (folder.path / "a.txt").write_text("old")
    with part_of(folder) as part:
        part.write(b"new")
        with pytest.raises(FileThere):
            part.land(IfThere.REFUSE)
        assert part.land(IfThere.NUMBER) == "a (1).txt"
        part.settle()
    assert names(folder) == ["a (1).txt", "a.txt"] and (folder.path / "a (1).txt").read_text() == "new"


def test_parts_that_nobody_goes_on_with_are_removed(folder: Folder) -> None:
    for key in ("old", "new", "used"):
        with part_of(folder, key=key) as part:
            part.write(ONE)
    (folder.path / ".mine.part-of-it").touch()
    long_ago = time.time() - PART_KEPT_S - 10
    for name in names(folder):
        os.utime(folder.path / name, (long_ago, long_ago))
    (folder.path / part_name("a.txt", "new")).touch()
    with part_of(folder, key="used"):
        folder.sweep()
    kept = sorted([part_name("a.txt", "new"), part_name("a.txt", "used"), ".mine.part-of-it"])
    assert names(folder) == kept
    folder.forget("new")
    folder.forget("other")
    assert names(folder) == [name for name in kept if name != part_name("a.txt", "new")]


def test_numbers_go_before_the_ending_and_names_stay_short_enough() -> None:
    def second(name: str) -> str:
        numbers = numbered(name)
        next(numbers)
        return next(numbers)

    assert [second(name) for name in ("a.tar", "a", ".rc")] == ["a (1).tar", "a (1)", ".rc (1)"]
    long = "ä" * 127
    assert len(second(long).encode()) <= 255 and second(long).endswith(" (1)")
    assert len(part_name(long, "k").encode()) <= 255
