"""One relay per data directory."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from relay.store.base import StoreError
from relay.store.lock import LOCK_FILE, DataLock, holder

HOLD = """
import sys
from pathlib import Path
from relay.store.lock import DataLock
DataLock(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_relay_is_refused_with_process_and_directory(tmp_path: Path) -> None:
    lock = DataLock(tmp_path)
    with pytest.raises(StoreError) as refused:
        DataLock(tmp_path)
    assert str(os.getpid()) in str(refused.value)
    assert str(tmp_path) in str(refused.value)
    lock.release()


def test_a_released_directory_is_free(tmp_path: Path) -> None:
    lock = DataLock(tmp_path)
    assert holder(tmp_path) == os.getpid()
    lock.release()
    lock.release()
    assert holder(tmp_path) is None
    DataLock(tmp_path).release()


def test_the_lock_goes_with_its_process_however_it_ends(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout
        assert other.stdout.readline() == "held\n"
        with pytest.raises(StoreError, match=str(other.pid)):
            DataLock(tmp_path)
        other.kill()
        other.wait()
    DataLock(tmp_path).release()


def test_the_directory_is_made_for_this_user_only(tmp_path: Path) -> None:
    lock = DataLock(tmp_path / "new" / "data")
    assert (tmp_path / "new" / "data").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "new" / "data" / LOCK_FILE).stat().st_mode & 0o777 == 0o600
    lock.release()


def test_a_directory_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="is no directory; choose another with --data"):
        DataLock(tmp_path / "file")


def test_a_lock_file_with_rubbish_holds_nobody(tmp_path: Path) -> None:
    (tmp_path / LOCK_FILE).write_text("rubbish")
    assert holder(tmp_path) is None
    DataLock(tmp_path).release()
