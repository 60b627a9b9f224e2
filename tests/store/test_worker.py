"""The worker: groups, order, bounds, failures and the end, with real threads and an event loop of the test's."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from relay.protocol.codes import ErrorCode
from relay.store.base import (
    AccountExistsError,
    Append,
    Appended,
    NoSuchAccountError,
    Refusal,
    Store,
    StoreBrokenError,
    StoreError,
    StoreFullError,
)
from relay.store.memory import MemoryStore
from relay.store.sqlite import SqliteStore
from relay.store.worker import StoreWorker
from tests.store.faults import faulty_disk
from tests.store.loop import DEADLINE_S, Loop
from tests.store.samples import CREDENTIALS, add_users, message


class Gate(MemoryStore):
    """A store whose appends wait until the test lets them go on; it tells when one waits."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Semaphore(0)
        self.let_go = threading.Semaphore(0)
        self.failure: StoreError | None = None
        self.closed = 0
        self.maintained: list[bool] = []

    def append(self, items: Sequence[Append], time_ms: int) -> list[Appended | Refusal]:
        self.entered.release()
        assert self.let_go.acquire(timeout=DEADLINE_S)
        if self.failure:
            raise self.failure
        return super().append(items, time_ms)

    def close(self) -> None:
        self.closed += 1


class Bench:
    """A worker, its loop, and what it reported."""

    def __init__(self, store: Store, **options: Any) -> None:
        self.loop = Loop()
        self.groups: list[tuple[list[Append], list[Appended | Refusal]]] = []
        self.broken: list[StoreBrokenError] = []
        self.stopped: list[StoreError | None] = []
        self.worker = StoreWorker(
            store,
            self.loop.post,
            lambda items, answers: self.groups.append((items, answers)),
            self.broken.append,
            clock_ms=lambda: 5000,
            **options,
        )
        self.worker.start()

    @property
    def answers(self) -> list[Appended | Refusal]:
        return [answer for _, answers in self.groups for answer in answers]

    def write(self, operation: Callable[[Store], Any]) -> Any:
        return self.loop.ask(lambda done: self.worker.write(operation, done))

    def read(self, operation: Callable[[Any], Any]) -> Any:
        return self.loop.ask(lambda done: self.worker.read(operation, done))

    def stop(self) -> StoreError | None:
        self.worker.stop(self.stopped.append)
        self.loop.run_until(lambda: self.stopped)
        return self.stopped[0]


@pytest.fixture
def gate() -> Gate:
    store = Gate()
    add_users(store, "alice", "bob")
    return store


@pytest.fixture
def held(gate: Gate) -> Iterator[Bench]:
    """A bench on a gate with one message inside it."""
    bench = Bench(gate, queue_max=10, queue_max_bytes=10_000)
    assert bench.worker.append(message(1))
    assert gate.entered.acquire(timeout=DEADLINE_S)
    yield bench
    for _ in range(100):
        gate.let_go.release()
    if not bench.stopped:
        bench.stop()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A bench on a real store."""
    store = SqliteStore(tmp_path)
    add_users(store, "alice", "bob")
    made = Bench(store)
    yield made
    if not made.stopped:
        made.stop()


# Groups.


def test_what_gathers_during_a_commit_is_the_next_group(gate: Gate, held: Bench) -> None:
    for number in range(2, 7):
        assert held.worker.append(message(number))
    gate.let_go.release()
    gate.let_go.release()
    held.loop.run_until(lambda: len(held.groups) == 2)
    assert [len(items) for items, _ in held.groups] == [1, 5]
    assert held.answers == [Appended(number, 5000) for number in range(1, 7)]
    statistics = held.worker.statistics()
    assert (statistics.groups, statistics.rows, statistics.waiting, statistics.waiting_bytes) == (2, 6, 0, 0)


def test_items_come_back_as_they_were_given(bench: Bench) -> None:
    origin = object()
    item = message(1)._replace(origin=origin)
    bench.worker.append(item)
    bench.loop.run_until(lambda: bench.groups)
    assert bench.groups == [([item], [Appended(1, 5000)])]
    assert bench.groups[0][0][0].origin is origin


def test_many_messages_keep_their_order(bench: Bench) -> None:
    count = 5000
    for number in range(1, count + 1):
        while not bench.worker.append(message(number)):
            bench.loop.run_one()
    bench.loop.run_until(lambda: len(bench.answers) == count)
    assert bench.answers == [Appended(number, 5000) for number in range(1, count + 1)]


# Bounds.


def test_too_many_waiting_messages_are_not_taken(gate: Gate, held: Bench) -> None:
    assert all(held.worker.append(message(number)) for number in range(2, 11))
    assert not held.worker.append(message(11))
    gate.let_go.release()
    held.loop.run_until(lambda: held.groups)
    assert held.worker.append(message(11))
    assert held.worker.statistics().waiting == 10


def test_too_many_waiting_bytes_are_not_taken(held: Bench) -> None:
    assert held.worker.append(message(2, text="x" * 9000))
    assert not held.worker.append(message(3, text="x" * 1000))
    assert held.worker.append(message(3))


# Writes and reads.


def test_a_write_sees_the_messages_queued_before_it(gate: Gate, held: Bench) -> None:
    held.worker.append(message(2))
    outcomes: list[Any] = []
    held.worker.write(lambda store: store.last_message_id("alice", "pc"), outcomes.append)
    gate.let_go.release()
    gate.let_go.release()
    held.loop.run_until(lambda: outcomes)
    assert outcomes[0] == 2
    assert len(held.answers) == 2


def test_writes_that_wait_together_are_answered_together_and_in_order(gate: Gate, held: Bench) -> None:
    outcomes: list[Any] = []
    for number in range(5):
        held.worker.write(lambda store, number=number: number, outcomes.append)
    gate.let_go.release()
    held.loop.run_until(lambda: held.groups)
    held.loop.run_one()
    assert outcomes == [0, 1, 2, 3, 4]


def test_errors_of_one_write_do_not_touch_the_others(bench: Bench) -> None:
    outcomes: list[Any] = []
    operations: list[Callable[[Store], Any]] = [
        lambda store: store.add_account("carol", CREDENTIALS, False, 1),
        lambda store: store.add_account("alice", CREDENTIALS, False, 1),
        lambda store: store.remove_account("nobody"),
        lambda store: store.open_device("carol", "pc", None, 1),
        lambda store: 1 // 0,
        lambda store: store.last_message_id("alice", "pc"),
    ]
    for operation in operations:
        bench.worker.write(operation, outcomes.append)
    bench.loop.run_until(lambda: len(outcomes) == len(operations))
    kinds = [type(outcome) for outcome in outcomes]
    assert kinds == [type(None), AccountExistsError, NoSuchAccountError, bool, StoreError, int]
    assert "defect" in str(outcomes[4])
    assert isinstance(outcomes[4].__cause__, ZeroDivisionError)
    assert bench.read(lambda reader: reader.account("carol")).name == "carol"


def test_a_read_sees_what_was_acknowledged(bench: Bench) -> None:
    for number in range(1, 101):
        bench.worker.append(message(number))
        bench.loop.run_until(lambda number=number: len(bench.answers) == number)
        entries = bench.read(lambda reader: reader.read("alice@bob", 0, 1000, 10**6))
        assert [entry.offset for entry in entries] == list(range(1, number + 1))


def test_a_failing_read_is_answered(bench: Bench) -> None:
    outcome = bench.read(lambda reader: reader.nonsense())
    assert isinstance(outcome, StoreError)
    assert bench.read(lambda reader: reader.account("alice")).name == "alice"


def test_reads_go_on_while_a_commit_takes_long(held: Bench) -> None:
    assert held.read(lambda reader: reader.account("alice")).name == "alice"
    assert held.groups == []


# Failures.


def test_a_full_disk_refuses_the_group_and_the_next_may_pass(gate: Gate, held: Bench) -> None:
    gate.failure = StoreFullError("no room; free some")
    gate.let_go.release()
    held.loop.run_until(lambda: held.groups)
    assert held.answers == [Refusal(ErrorCode.STORE_FAILED, "no room; free some")]
    assert held.worker.statistics().refused == 1
    gate.failure = None
    gate.let_go.release()
    assert held.worker.append(message(1))
    held.loop.run_until(lambda: len(held.groups) == 2)
    assert held.answers[1] == Appended(1, 5000)
    assert held.broken == []


@pytest.mark.parametrize("failure", [StoreBrokenError("the disk broke"), RuntimeError("a defect")])
def test_after_a_failed_write_nothing_is_acknowledged(gate: Gate, held: Bench, failure: Any) -> None:
    gate.failure = failure
    held.worker.append(message(2))
    gate.let_go.release()
    gate.let_go.release()
    held.loop.run_until(lambda: held.broken)
    assert str(failure) in str(held.broken[0])
    gate.failure = None
    assert not held.worker.append(message(3))
    assert isinstance(held.write(lambda store: store.last_message_id("alice", "pc")), StoreBrokenError)
    assert isinstance(held.stop(), StoreBrokenError)
    assert len(held.broken) == 1
    assert held.groups == []
    assert gate.closed == 1


def test_a_group_of_writes_that_finds_no_room_is_tried_one_by_one(tmp_path: Path) -> None:
    with faulty_disk() as faults:
        store = SqliteStore(tmp_path)
        add_users(store, "alice", "bob")
        store.append([message(7)], 1)
        bench = Bench(store)
        faults.writes_left = 0
        outcomes: list[Any] = []
        for operation in (
            lambda store: store.last_message_id("alice", "pc"),
            lambda store: store.open_device("alice", "pc", None, 1),
            lambda store: store.last_message_id("alice", "pc"),
        ):
            bench.worker.write(operation, outcomes.append)
        bench.loop.run_until(lambda: len(outcomes) == 3)
        assert outcomes[0] == outcomes[2] == 7
        assert isinstance(outcomes[1], StoreFullError)
        bench.worker.append(message(8))
        bench.loop.run_until(lambda: bench.groups)
        assert isinstance(bench.answers[0], Refusal)
        faults.writes_left = None
        assert bench.write(lambda store: store.open_device("alice", "pc", None, 1)) is True
        bench.worker.append(message(8))
        bench.loop.run_until(lambda: len(bench.groups) == 2)
        assert bench.answers[1] == Appended(2, 5000)
        assert bench.stop() is None


def test_a_failed_sync_is_told_once(tmp_path: Path) -> None:
    with faulty_disk() as faults:
        store = SqliteStore(tmp_path)
        add_users(store, "alice", "bob")
        bench = Bench(store)
        faults.syncs_fail = True
        for number in range(1, 10):
            bench.worker.append(message(number))
        bench.loop.run_until(lambda: bench.broken)
        assert bench.groups == []
        faults.syncs_fail = False
        bench.stop()
        assert len(bench.broken) == 1
        assert bench.groups == []
    again = SqliteStore(tmp_path)
    assert again.append([message(9), message(10)], 1)
    again.close()


# The end.


def test_stopping_finishes_what_is_queued(gate: Gate, held: Bench) -> None:
    held.worker.append(message(2))
    outcomes: list[Any] = []
    held.worker.write(lambda store: "written", outcomes.append)
    held.worker.read(lambda reader: "read", outcomes.append)
    held.worker.stop(held.stopped.append)
    assert not held.worker.append(message(3))
    gate.let_go.release()
    gate.let_go.release()
    held.loop.run_until(lambda: held.stopped)
    assert len(held.answers) == 2
    assert sorted(outcomes) == ["read", "written"]
    assert gate.closed == 1
    assert held.stopped == [None]


def test_stopping_an_idle_worker(bench: Bench) -> None:
    assert bench.stop() is None


def test_all_threads_end(tmp_path: Path) -> None:
    threads: list[threading.Thread] = []

    def start_thread(function: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        threads.append(threading.Thread(target=function, args=arguments))
        threads[-1].start()

    bench = Bench(SqliteStore(tmp_path), readers=3, start_thread=start_thread)
    bench.stop()
    for thread in threads:
        thread.join(DEADLINE_S)
    assert len(threads) == 4
    assert not any(thread.is_alive() for thread in threads)


def test_work_left_behind_is_done_when_there_is_nothing_else(gate: Gate) -> None:
    done = threading.Event()

    def maintain(idle: bool) -> bool:
        gate.maintained.append(idle)
        if idle:
            done.set()
        return False

    gate.maintain = maintain  # type: ignore[method-assign]
    bench = Bench(gate)
    assert done.wait(DEADLINE_S)
    bench.stop()
    assert gate.maintained == [True]


PATCHED = """
from gevent import monkey; monkey.patch_all()
import _thread, sys, gevent, threading
from pathlib import Path
from gevent.event import AsyncResult
from relay.hub import HubPost
from relay.store.base import Append
from relay.store.sqlite import SqliteStore
from relay.store.worker import StoreWorker
from relay.protocol.scram import Credentials

# As the server sets it: the ticker below never waits, and each turn of another thread would take 5 ms.
sys.setswitchinterval(0.0005)
native = monkey.get_original("threading", "get_ident")
hub_thread = native()
store = SqliteStore(Path(sys.argv[1]))
store.add_account("alice", Credentials(b"", 4096, b"", b""), False, 1)
post = HubPost()
answers = []
worker = StoreWorker(store, post.post, lambda items, results: answers.extend(results), print, clock_ms=lambda: 1)
worker.start()

def ask(method, operation):
    result = AsyncResult()
    getattr(worker, method)(operation, result.set)
    return result.get(timeout=20)

# Everything runs while the hub goes on, on native threads of their own.
threads = {ask("write", lambda store: native()), ask("read", lambda reader: native())}
assert len(threads) == 2 and hub_thread not in threads
ticks = 0
def tick():
    global ticks
    while True:
        ticks += 1
        gevent.sleep(0)
ticker = gevent.spawn(tick)
for number in range(1, 501):
    assert worker.append(Append("alice@alice", "alice", "pc", number, b"x"))
    gevent.sleep(0)
with gevent.Timeout(20):
    while len(answers) < 500:
        gevent.sleep(0.001)
assert [answer.offset for answer in answers] == list(range(1, 501))
before = ticks
assert ask("write", lambda store: sum(range(3_000_000))) > 0
assert ticks > before, "the hub stood still"
result = AsyncResult()
worker.stop(result.set)
assert result.get(timeout=20) is None
ticker.kill()
post.close()
print("fine")
"""


def test_under_gevent_the_threads_are_native_and_the_hub_goes_on(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PATCHED, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.stdout, done.stderr) == ("fine\n", "")
