"""Test tools: a subscriber that keeps what it is sent, and a log whose threads the test runs step by step.

They implement the interfaces of relay.router with behaviour of their own: a queue with a bound that is emptied when
the test says so, a store whose answers arrive when the test says so.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from relay.protocol.codes import CloseCode
from relay.protocol.limits import HEADER_BYTES
from relay.protocol.packets import Packet, Unknown, decode
from relay.router.feed import Feed
from relay.router.gate import Lane
from relay.router.streams import Side
from relay.store.base import Append, Appended, Reader, Refusal, Store, StoreError
from relay.store.memory import MemoryStore


def split(frames: bytes) -> list[bytes]:
    """The frames in a piece of a byte stream. Fails if the last one is not whole."""
    found = []
    while frames:
        end = HEADER_BYTES + int.from_bytes(frames[:HEADER_BYTES], "big")
        assert len(frames) >= end, "a frame is cut off"
        found.append(frames[:end])
        frames = frames[end:]
    return found


def packets(frames: bytes) -> list[Packet | Unknown]:
    return [decode(frame[HEADER_BYTES:]) for frame in split(frames)]


class RecordingOutlet:
    """An outlet that nothing leaves until `drain`; over `overflow` bytes it calls `on_overflow`."""

    def __init__(self, limit: int = 2_000_000, overflow: int | None = None) -> None:
        self.limit = limit
        self.overflow = overflow
        self.size = 0
        self.dropped = 0
        self.pushed: list[bytes] = []
        self.signalled: list[tuple[bytes, int]] = []
        self.streamed: list[tuple[bytes, Lane, int]] = []
        self.on_overflow: Callable[[], None] = lambda: None
        self.on_drained: Callable[[], None] = lambda: None
        self.waiting = False

    def signal(self, frames: bytes, count: int) -> None:
        assert len(split(frames)) == count
        if self.size + len(frames) > self.limit:
            self.dropped += count
            return
        self.size += len(frames)
        self.signalled.append((frames, count))

    def push(self, frames: bytes) -> None:
        self.size += len(frames)
        self.pushed.append(frames)
        if self.overflow is not None and self.size > self.overflow:
            self.on_overflow()

    def stream(self, frame: bytes, lane: Lane, size: int) -> None:
        self.streamed.append((frame, lane, size))

    def send_streams(self) -> list[Packet | Unknown]:
        """Let everything of the streams leave, decoded."""
        frames = []
        while self.streamed:
            frame, lane, size = self.streamed.pop(0)
            frames.append(frame)
            lane.handle_sent(size)
        return packets(b"".join(frames))

    def has_room(self, size: int) -> bool:
        return not self.size or self.size + size <= self.limit

    def call_when_drained(self) -> None:
        self.waiting = True

    def drain(self, size: int | None = None) -> None:
        """Let `size` bytes leave, or all."""
        self.size = 0 if size is None else max(0, self.size - size)
        if self.waiting and self.size <= self.limit // 2:
            self.waiting = False
            self.on_drained()

    def packets(self) -> list[Packet | Unknown]:
        """Everything pushed so far, decoded."""
        return packets(b"".join(self.pushed))

    def take(self) -> list[Packet | Unknown]:
        """Everything pushed since the last time."""
        taken = self.packets()
        self.pushed.clear()
        return taken


class RecordingSubscriber:
    """A live session that does nothing. `leave` is what its end calls: the router's, once there is a router."""

    def __init__(
        self,
        user: str,
        device: str = "phone",
        *,
        outlet: RecordingOutlet | None = None,
        leave: Callable[[Any], None] = lambda session: None,
        bot: bool = False,
    ) -> None:
        self.user = user
        self.device = device
        self.address = f"{user}/{device}"
        self.bot = bot
        self.away = False
        self.login_key = b"key"
        self.routes_forgotten = 0
        self.methods: frozenset[str] = frozenset()
        self.services: frozenset[str] = frozenset()
        self.streams: Side | None = None
        self.serving = 0
        self.asking = 0
        self.storing = 0
        self.feed: Feed | None = None
        self._outlet = outlet or RecordingOutlet()
        self._outlet.on_overflow = lambda: self.end(CloseCode.SLOW_READER, "too slow")
        self._outlet.on_drained = self._handle_drained
        self._leave = leave
        self.ended: list[tuple[CloseCode, str, int | None]] = []
        self.paused = False
        self.pauses = 0

    def __repr__(self) -> str:
        return f"<RecordingSubscriber {self.address}>"

    @property
    def outlet(self) -> RecordingOutlet:
        return self._outlet

    def end(self, code: CloseCode, sentence: str, retry_ms: int | None = None) -> None:
        if self.ended:
            return
        self.ended.append((code, sentence, retry_ms))
        self._leave(self)

    def forget_routes(self) -> None:
        self.routes_forgotten += 1

    def pause(self) -> None:
        self.paused = True
        self.pauses += 1

    def resume(self) -> None:
        self.paused = False

    def _handle_drained(self) -> None:
        if self.feed is not None and not self.ended:
            self.feed.handle_drained()


class SteppedLog:
    """A log over a store in memory. Each step of a real one's threads happens when the test asks for it:

    `commit` is the writer's turn (messages that wait, as one group, then operations), `read_one` a reader's; `answer`
    is the event loop's, and hands out one answer. `run` does all until nothing is left.
    """

    def __init__(self, store: Store | None = None, queue_max: int = 1000) -> None:
        self.store = store or MemoryStore()
        self.queue_max = queue_max
        self.on_appended: Callable[[Sequence[Append], Sequence[Appended | Refusal]], None] = lambda batch, results: None
        self.failing: StoreError | None = None
        self.time_ms = 1_000
        self.writes_run = 0
        self.reads_run = 0
        self._appends: list[Append] = []
        self._writes: deque[tuple[Callable[[Store], Any], Callable[[Any], None]]] = deque()
        self._reads: deque[tuple[Callable[[Reader], Any], Callable[[Any], None]]] = deque()
        self._answers: deque[Callable[[], None]] = deque()
        self._pages: deque[Callable[[], None]] = deque()

    def append(self, item: Append) -> bool:
        if len(self._appends) >= self.queue_max:
            return False
        self._appends.append(item)
        return True

    def write(self, operation: Callable[[Store], Any], done: Callable[[Any], None]) -> None:
        self._writes.append((operation, done))

    def read(self, operation: Callable[[Reader], Any], done: Callable[[Any], None]) -> None:
        self._reads.append((operation, done))

    def commit(self) -> None:
        """The writer's turn."""
        if self._appends:
            batch, self._appends = self._appends, []
            results = self.store.append(batch, self.time_ms)
            self._answers.append(lambda: self.on_appended(batch, results))
        for _ in range(len(self._writes)):
            operation, done = self._writes.popleft()
            self.writes_run += 1
            self._post(self._answers, done, self._outcome(operation, self.store))

    def read_one(self) -> None:
        """A reader's turn: it sees what is committed now."""
        operation, done = self._reads.popleft()
        self.reads_run += 1
        self._post(self._pages, done, self._outcome(operation, self.store))

    def answer(self) -> None:
        """The event loop gets the oldest answer of the writer."""
        self._answers.popleft()()

    def answer_page(self) -> None:
        """The event loop gets the oldest answer of a reader."""
        self._pages.popleft()()

    @property
    def can(self) -> dict[str, bool]:
        """Which steps there is something to do for."""
        return {
            "commit": bool(self._appends or self._writes),
            "read_one": bool(self._reads),
            "answer": bool(self._answers),
            "answer_page": bool(self._pages),
        }

    def run(self) -> None:
        """Do everything that waits, and what comes of it."""
        for _ in range(10_000):
            steps = [step for step, possible in self.can.items() if possible]
            if not steps:
                return
            getattr(self, steps[0])()
        raise AssertionError("the log never comes to rest")

    def _outcome(self, operation: Callable[[Any], Any], side: Store) -> Any:
        if self.failing is not None:
            return self.failing
        try:
            return operation(side)
        except StoreError as error:
            return error

    @staticmethod
    def _post(to: deque[Callable[[], None]], done: Callable[[Any], None], outcome: Any) -> None:
        to.append(lambda: done(outcome))
