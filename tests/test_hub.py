"""Between native threads and the event loop."""

import logging
import threading
from collections.abc import Callable, Iterator
from functools import partial

import gevent
import pytest

from relay.hub import HubPost, wait_for
from tests.loop import deadline, turn, until


@pytest.fixture
def post() -> Iterator[HubPost]:
    made = HubPost()
    yield made
    made.close()


def test_tasks_of_a_native_thread_run_in_the_loop_in_their_order(post: HubPost) -> None:
    seen: list[tuple[int, int]] = []

    def work() -> None:
        for number in range(1000):
            post.post(lambda number=number: seen.append((number, threading.get_ident())))

    thread = threading.Thread(target=work)
    thread.start()
    until(lambda: len(seen) == 1000)
    thread.join()
    assert [number for number, _ in seen] == list(range(1000))
    assert {ident for _, ident in seen} == {threading.get_ident()}


def test_many_threads_at_once_lose_nothing_and_each_keeps_its_order(post: HubPost) -> None:
    seen: list[tuple[int, int]] = []

    def work(thread: int) -> None:
        for number in range(500):
            post.post(lambda number=number: seen.append((thread, number)))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    until(lambda: len(seen) == 2000)
    for number, thread in enumerate(threads):
        thread.join()
        assert [place for owner, place in seen if owner == number] == list(range(500))


def test_an_idle_loop_is_woken(post: HubPost) -> None:
    """The loop sleeps in the kernel; only the post wakes it."""
    woken = gevent.event.Event()
    thread = threading.Timer(0.01, lambda: post.post(woken.set))
    thread.start()
    with deadline():
        woken.wait()
    thread.join()


def test_a_task_that_raises_is_logged_and_the_next_ones_run(post: HubPost, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[str] = []
    with caplog.at_level(logging.ERROR):
        post.post(lambda: seen.append("first"))
        post.post(lambda: 1 / 0)  # type: ignore[arg-type, return-value]
        post.post(lambda: seen.append("third"))
        until(lambda: len(seen) == 2)
    assert "ZeroDivisionError" in caplog.text


def test_a_task_may_post_another(post: HubPost) -> None:
    seen: list[str] = []
    post.post(lambda: post.post(lambda: seen.append("second")))
    until(lambda: seen)


def test_closed_it_leaves_nothing_in_the_loop() -> None:
    loop = gevent.get_hub().loop
    turn()
    before = loop.activecnt
    post = HubPost()
    assert loop.activecnt > before
    post.close()
    assert loop.activecnt == before


def test_waiting_for_an_answer_lets_other_greenlets_run(post: HubPost) -> None:
    callbacks: list[Callable[[str], None]] = []
    other = gevent.spawn(lambda: until(lambda: callbacks))
    waiting = gevent.spawn(wait_for, callbacks.append)
    with deadline():
        other.get()
        post.post(partial(callbacks[0], "answer"))
        assert waiting.get() == "answer"


def test_an_answer_that_is_there_at_once_is_taken(post: HubPost) -> None:
    with deadline():
        assert wait_for(lambda done: done(None)) is None


def test_an_answer_for_somebody_who_is_gone_is_dropped(post: HubPost) -> None:
    callbacks: list[Callable[[str], None]] = []
    waiting = gevent.spawn(wait_for, callbacks.append)
    until(lambda: callbacks)
    waiting.kill()
    callbacks[0]("too late")
    turn()
    assert isinstance(waiting.value, gevent.GreenletExit)
