"""StoreWorker: a store on a native thread of its own, with natural group commit, and a few threads that read.

While one group of messages is committed the next one gathers; there is no timer, so a lone message waits for nobody
and many share one sync of the disk. Nothing here waits on the event loop's side, and no lock of Python's is used:
gevent replaces those, and they must not be shared between native threads. What stays native is `_queue.SimpleQueue`,
and single operations on a deque, which are atomic.

Measurements, and the switch interval that goes with them: docs/decisions/store-worker.md.
"""

import _thread
import logging
import sys
import time
from _queue import Empty, SimpleQueue
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar, cast

from relay.protocol.codes import ErrorCode
from relay.store.base import Answer, Append, Reader, Refusal, Store, StoreBrokenError, StoreError

T = TypeVar("T")

log = logging.getLogger("relay.store")

Post = Callable[[Callable[[], None]], None]
Write = tuple[Callable[[Store], Any], Callable[[Any], None]]
Read = tuple[Callable[[Reader], Any], Callable[[Any], None]]
StartThread = Callable[[Callable[..., None], tuple[Any, ...]], object]
OnAppended = Callable[[list[Append], list[Answer]], None]

# Messages may be 1 MiB long: their number alone does not bound the memory they wait in.
QUEUE_MAX_BYTES = 64 * 1024 * 1024

# With nothing to do for so long, the store does the work that it has left behind.
_IDLE_S = 0.5

# With more of that work to do, there is a pause between its pieces: it takes a fifth of a processor at most.
_PIECE_S = 0.01

# How many reads one thread takes at once, so that their answers cross to the event loop together.
_READS_MAX = 32


class WorkerStatistics(NamedTuple):
    """A snapshot. Times are sums over the worker's life."""

    waiting: int
    waiting_bytes: int
    groups: int
    rows: int
    refused: int
    writes: int
    reads: int
    append_s: float
    maintain_s: float


class StoreWorker:
    """Runs `store` on one native thread; the store is the worker's from `start` on, and closed by `stop`.

    `post` schedules a callable on the event loop, from any thread. All methods are for the event loop's thread and
    never block or yield; all callbacks are called there:
    - `on_appended(items, answers)` once per group, in the order of the commits;
    - `on_broken(error)` once, when nothing can be acknowledged any more.
    `start_thread(function, arguments)` starts a NATIVE thread.
    """

    def __init__(  # noqa: PLR0913 - what it serves, and its bounds by keyword
        self,
        store: Store,
        post: Post,
        on_appended: OnAppended,
        on_broken: Callable[[StoreBrokenError], None],
        *,
        clock_ms: Callable[[], int],
        queue_max: int = 10_000,
        queue_max_bytes: int = QUEUE_MAX_BYTES,
        readers: int = 2,
        start_thread: StartThread | None = None,
    ) -> None:
        self._store = store
        self._post = post
        self._on_appended = on_appended
        self._on_broken = on_broken
        self._clock_ms = clock_ms
        self._queue_max = queue_max
        self._queue_max_bytes = queue_max_bytes
        self._readers = readers
        self._start_thread = start_thread or native_start_thread()
        self._appends: deque[Append] = deque()
        self._writes: deque[Write] = deque()
        self._reads: SimpleQueue[Read | None] = SimpleQueue()
        self._readers_ended: SimpleQueue[None] = SimpleQueue()
        # The writer thread sleeps in `_wake.get`; `_asleep` spares a waking call while it is busy anyway.
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._asleep = False
        self._stopping: Callable[[StoreError | None], None] | None = None
        self._broken: StoreBrokenError | None = None
        # Only the event loop's thread changes these two.
        self._waiting = 0
        self._waiting_bytes = 0
        self._groups = self._rows = self._refused = self._writes_done = self._reads_done = 0
        self._append_s = self._maintain_s = 0.0

    def __repr__(self) -> str:
        return f"<StoreWorker of {self._store!r}: {self.statistics()}>"

    def start(self) -> None:
        """Start the threads. Raises StoreError if the store cannot be read."""
        for _ in range(self._readers):
            self._start_thread(self._read_on, (self._store.reader(),))
        self._start_thread(self._write_on, ())

    def append(self, item: Append) -> bool:
        """Queue a message or a run. False if too many wait for the disk, the store is broken or the worker stops."""
        size = len(item.packet)
        if self._waiting >= self._queue_max or self._waiting_bytes + size > self._queue_max_bytes:
            return False
        if self._stopping or self._broken:
            return False
        self._waiting += item.total
        self._waiting_bytes += size
        self._appends.append(item)
        if self._asleep:
            self._wake_up()
        return True

    def write(self, operation: Callable[[Store], T], done: Callable[[T | StoreError], None]) -> None:
        """Run an operation on the writer's thread, after all that was queued before it; `done` gets its result.

        Operations that wait together share one transaction. When that fails each is run again alone, so an operation
        must do nothing but work on the store.
        """
        self._writes.append((operation, done))
        if self._asleep:
            self._wake_up()

    def read(self, operation: Callable[[Reader], T], done: Callable[[T | StoreError], None]) -> None:
        """Run an operation on one of the reading threads; `done` gets its result."""
        self._reads.put((operation, done))

    def stop(self, done: Callable[[StoreError | None], None] = lambda error: None) -> None:
        """Finish what is queued, close the store and end the threads; then `done` gets None, or why closing failed.

        From now on `append` returns False, and nothing else may be queued.
        """
        self._stopping = done
        self._wake_up()

    def statistics(self) -> WorkerStatistics:
        """What was done so far."""
        return WorkerStatistics(
            self._waiting,
            self._waiting_bytes,
            self._groups,
            self._rows,
            self._refused,
            self._writes_done,
            self._reads_done,
            self._append_s,
            self._maintain_s,
        )

    def _wake_up(self) -> None:
        self._asleep = False
        self._wake.put(None)

    # From here on: the threads.

    def _write_on(self) -> None:
        try:
            self._work()
        except Exception as error:
            broken = StoreBrokenError(f"the store's thread failed, which is a defect of the relay: {error!r}")
            broken.__cause__ = error
            self._break(broken)
            self._work()
        self._close()

    def _work(self) -> None:
        """Serve until there is nothing left to do and `stop` was called."""
        settled = more = False
        while True:
            # Writes are counted first: every message queued before one of them is then in this group or an earlier.
            writes, appends = len(self._writes), len(self._appends)
            if appends:
                self._append_group([self._appends.popleft() for _ in range(appends)])
            if writes:
                self._write_group([self._writes.popleft() for _ in range(writes)])
            if appends or writes:
                settled = False
                more = self._maintain(idle=False)
            elif self._stopping:
                return
            elif not self._sleep(_PIECE_S if more else None if settled else _IDLE_S):
                idle = not more
                more = self._maintain(idle)
                settled = idle and not more

    def _sleep(self, timeout_s: float | None) -> bool:
        """Wait for something to do. Returns False if there was nothing for so long."""
        self._asleep = True
        if self._appends or self._writes or self._stopping:
            self._asleep = False
            return True
        try:
            self._wake.get(timeout=timeout_s)
        except Empty:
            self._asleep = False
            return False
        return True

    def _append_group(self, items: list[Append]) -> None:
        if self._broken:
            return
        started = time.perf_counter()
        answers: list[Answer]
        try:
            answers = self._store.append(items, self._clock_ms())
        except StoreBrokenError as error:
            self._break(error)
            return
        except StoreError as error:
            self._refused += _total(items)
            answers = [Refusal(ErrorCode.STORE_FAILED, str(error))] * len(items)
        self._append_s += time.perf_counter() - started
        self._groups += 1
        self._rows += _total(items)
        self._post(partial(self._deliver, items, answers))

    def _deliver(self, items: list[Append], answers: list[Answer]) -> None:
        """On the event loop: hand out a group's answers."""
        self._waiting -= _total(items)
        self._waiting_bytes -= sum([len(item.packet) for item in items])
        self._on_appended(items, answers)

    def _write_group(self, writes: list[Write]) -> None:
        operations = [operation for operation, _ in writes]
        outcomes: list[Any]
        try:
            with self._store.group():
                outcomes = [self._attempt(operation) for operation in operations]
        except StoreBrokenError as error:
            outcomes = [error] * len(writes)
        except StoreError as error:
            outcomes = [self._alone(operation) for operation in operations] if len(writes) > 1 else [error]
        self._writes_done += len(writes)
        for outcome in outcomes:
            if isinstance(outcome, StoreBrokenError):
                self._break(outcome)
        self._post(partial(_hand_out, [done for _, done in writes], outcomes))

    def _attempt(self, operation: Callable[[Store], Any]) -> Any:
        return self._broken or _outcome(operation, self._store)

    def _alone(self, operation: Callable[[Store], Any]) -> Any:
        try:
            with self._store.group():
                return self._attempt(operation)
        except StoreError as error:
            return error

    def _maintain(self, idle: bool) -> bool:
        """Do a piece of the work left behind. Without room on the disk it is tried again later."""
        if self._broken:
            return False
        started = time.perf_counter()
        try:
            return self._store.maintain(idle)
        except StoreBrokenError as error:
            self._break(error)
        except StoreError:
            # Messages are refused for the same reason, and that is reported.
            pass
        finally:
            self._maintain_s += time.perf_counter() - started
        return False

    def _break(self, error: StoreBrokenError) -> None:
        if self._broken is None:
            self._broken = error
            self._post(partial(self._on_broken, error))

    def _close(self) -> None:
        self._reads.put(None)
        for _ in range(self._readers):
            self._readers_ended.get()
        failure: StoreError | None = None
        try:
            self._store.close()
        except StoreError as error:
            failure = error
        if self._stopping:
            self._post(partial(self._stopping, self._broken or failure))

    def _read_on(self, reader: Reader) -> None:
        while (first := self._reads.get()) is not None:
            reads = [first]
            while len(reads) < _READS_MAX:
                try:
                    following = self._reads.get_nowait()
                except Empty:
                    break
                if following is None:
                    self._reads.put(None)
                    break
                reads.append(following)
            outcomes = [_outcome(operation, reader) for operation, _ in reads]
            self._reads_done += len(reads)
            self._post(partial(_hand_out, [done for _, done in reads], outcomes))
        self._reads.put(None)
        reader.close()
        self._readers_ended.put(None)


def native_start_thread() -> StartThread:
    """What starts a native thread, also where gevent has replaced it by what starts a greenlet."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is None:
        return _thread.start_new_thread
    return cast(StartThread, monkey.get_original("_thread", "start_new_thread"))


def _total(items: list[Append]) -> int:
    """How many messages these are."""
    return sum([item.total for item in items])


def _outcome(operation: Callable[[Any], Any], side: Store | Reader) -> Any:
    """What an operation returns, or why it failed. Anything but a StoreError is a defect, told as one."""
    try:
        return operation(side)
    except StoreError as error:
        return error
    except Exception as error:
        failure = StoreError(f"the store failed at an operation, which is a defect of the relay: {error!r}")
        failure.__cause__ = error
        return failure


def _hand_out(callbacks: Sequence[Callable[[Any], None]], outcomes: Sequence[Any]) -> None:
    """On the event loop: call each callback with its outcome. One that fails does not keep the others from theirs."""
    for done, outcome in zip(callbacks, outcomes, strict=True):
        try:
            done(outcome)
        except Exception:
            log.exception("an answer of the store could not be handled")
