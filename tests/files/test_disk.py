"""Threads for the disk: other greenlets run meanwhile, and an error arrives where the result would."""

import _thread

import gevent
import pytest

from relay.files.disk import Disk


def test_an_operation_runs_on_another_thread() -> None:
    disk = Disk(1)
    assert disk.run(_thread.get_ident) != _thread.get_ident()
    assert disk.run(pow, 2, 10) == 1024
    disk.close()


def test_others_run_meanwhile() -> None:
    disk, lock, seen = Disk(1), _thread.allocate_lock(), []
    lock.acquire()
    waiting = disk.start(lock.acquire)

    def other() -> None:
        seen.append("other")
        lock.release()

    gevent.spawn(other)
    with gevent.Timeout(30):
        assert waiting.get() is True
    assert seen == ["other"]
    disk.close()


def test_an_error_is_raised_by_get_alone() -> None:
    disk = Disk(1)
    failed = disk.start(int, "x")
    failed.wait()
    with pytest.raises(ValueError, match="invalid literal"):
        failed.get()
    disk.close()


def test_more_operations_than_threads_take_turns() -> None:
    disk = Disk(2)
    results = [gevent.spawn(disk.run, pow, 2, n) for n in range(20)]
    with gevent.Timeout(30):
        gevent.joinall(results)
    assert [result.get() for result in results] == [2**n for n in range(20)]
    disk.close()
