"""Handlers in threads: in order within a lane, side by side otherwise."""

import threading

import pytest
from relay_client.blocking.workers import Workers
from relay_client.jobs import Job

from tests.relay_client.peer import until


def test_jobs_of_a_lane_run_in_order_however_many_threads_there_are() -> None:
    workers = Workers(8, "test")
    done: dict[str, list[int]] = {lane: [] for lane in "abcde"}
    for number in range(100):
        for lane, numbers in done.items():
            workers.submit(lane, Job(lambda numbers=numbers, number=number: numbers.append(number)))
    until(lambda: all(len(numbers) == 100 for numbers in done.values()))
    workers.close(10)
    assert all(numbers == list(range(100)) for numbers in done.values())


def test_a_slow_lane_does_not_hold_up_another() -> None:
    workers = Workers(2, "test")
    finish, other = threading.Event(), threading.Event()
    workers.submit("slow", Job(lambda: finish.wait(20)))
    for _ in range(10):
        workers.submit("slow", Job(lambda: None))
    workers.submit("quick", Job(other.set))
    assert other.wait(20)
    finish.set()
    workers.close(10)


def test_it_uses_no_more_threads_than_allowed() -> None:
    workers = Workers(3, "test")
    running: set[int] = set()
    most = []
    lock, finish = threading.Lock(), threading.Event()

    def work() -> None:
        with lock:
            running.add(threading.get_ident())
            most.append(len(running))
        finish.wait(20)

    for lane in range(10):
        workers.submit(lane, Job(work))
    until(lambda: len(most) == 3)
    finish.set()
    until(lambda: len(most) == 10)
    workers.close(10)
    assert max(most) == 3


def test_the_outcome_goes_where_it_belongs() -> None:
    workers = Workers(1, "test")
    outcomes: list[object] = []
    error = ValueError("no")

    def fail() -> None:
        raise error

    workers.submit("a", Job(lambda: 5, outcomes.append, outcomes.append))
    workers.submit("a", Job(fail, outcomes.append, outcomes.append))
    until(lambda: len(outcomes) == 2)
    workers.close(10)
    assert outcomes == [5, error]


def test_a_handler_that_exits_is_reported_and_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    workers = Workers(1, "test")
    after = threading.Event()

    def leave() -> None:
        raise SystemExit(3)

    workers.submit("a", Job(leave))
    workers.submit("a", Job(after.set))
    assert after.wait(20)
    workers.close(10)
    assert "sys.exit(3)" in caplog.text


def test_closing_waits_for_what_runs_and_starts_nothing_more() -> None:
    workers = Workers(1, "test")
    running, finish = threading.Event(), threading.Event()
    done: list[str] = []

    def work() -> None:
        running.set()
        finish.wait(20)
        done.append("first")

    workers.submit("a", Job(work))
    workers.submit("a", Job(lambda: done.append("second")))
    assert running.wait(20)
    threading.Timer(0.02, finish.set).start()
    workers.close(20)
    workers.submit("a", Job(lambda: done.append("third")))
    assert done == ["first"]


def test_closing_leaves_behind_what_does_not_end(caplog: pytest.LogCaptureFixture) -> None:
    workers = Workers(1, "test")
    running, finish = threading.Event(), threading.Event()
    workers.submit("a", Job(lambda: (running.set(), finish.wait(20))))
    assert running.wait(20)
    workers.close(0.01)
    assert "still running" in caplog.text
    finish.set()


def test_a_handler_may_close_what_it_runs_in(caplog: pytest.LogCaptureFixture) -> None:
    workers = Workers(2, "test")
    closed = threading.Event()
    workers.submit("a", Job(lambda: (workers.close(20), closed.set())))
    assert closed.wait(20) and "still running" not in caplog.text


def test_it_needs_a_thread() -> None:
    with pytest.raises(ValueError, match="one thread"):
        Workers(0, "test")
