"""What a program that was ended leaves for the next one."""

import logging
import os
import time
from pathlib import Path

import pytest
from relay_client.errors import FileBusy
from relay_client.files.memo import KEPT_S, Memo, state_directory


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "relay"


def files(state: Path) -> list[Path]:
    return [path for path in state.rglob("*") if path.is_file()]


def test_facts_are_there_for_the_next_one(state: Path) -> None:
    with Memo("uploads", "alice", "a.txt") as memo:
        memo.note(upload="u1", peer="bob/pc")
        memo.note(peer="bob/phone")
    assert files(state)[0].stat().st_mode & 0o777 == 0o600
    with Memo("uploads", "alice", "a.txt") as memo:
        assert memo.facts == {"upload": "u1", "peer": "bob/phone"}
    with Memo("uploads", "alice", "b.txt") as memo:
        assert memo.facts == {}
    with Memo("received", "alice", "a.txt") as memo:
        assert memo.facts == {}


def test_a_torn_line_is_as_if_never_written(state: Path) -> None:
    with Memo("uploads", "x") as memo:
        memo.note(upload="u1")
    (path,) = files(state)
    path.write_bytes(path.read_bytes() + b'{"upload": "u')
    with Memo("uploads", "x") as memo:
        assert memo.facts == {"upload": "u1"}


def test_one_at_a_time() -> None:
    with Memo("uploads", "x") as memo, pytest.raises(FileBusy):
        memo.note(upload="u1")
        Memo("uploads", "x")
    Memo("uploads", "x").close()


def test_what_is_forgotten_or_empty_leaves_nothing(state: Path) -> None:
    memo = Memo("uploads", "x")
    memo.note(upload="u1")
    memo.forget()
    Memo("uploads", "y").close()
    Memo("uploads").note(upload="nowhere")
    assert files(state) == []


def test_old_ones_are_removed(state: Path) -> None:
    with Memo("uploads", "x") as memo:
        memo.note(upload="u1")
    (path,) = files(state)
    long_ago = time.time() - KEPT_S - 10
    os.utime(path, (long_ago, long_ago))
    Memo("uploads", "y").close()
    assert files(state) == []


def test_where_nothing_can_be_written_a_transfer_works_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    with caplog.at_level(logging.WARNING), Memo("uploads", "x") as memo:
        memo.note(upload="u1")
        assert memo.facts == {"upload": "u1"}
    assert "the transfer begins anew" in caplog.text


def test_the_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert state_directory() == tmp_path / "relay"
    for unset in ("", "relative"):
        monkeypatch.setenv("XDG_STATE_HOME", unset)
        assert state_directory() == Path.home() / ".local/state/relay"
