"""A feed carries conversations to one session: pushed while the session keeps up, pulled from the log while not.

For every conversation it remembers the last offset it handed out. A live message is pushed if it is the next one and
the session's queue has room; otherwise the conversation is *behind* and is read from the log, page by page as the
queue drains, until it has caught up. Because both ways move the same number, there is no gap and no duplicate at the
seam between them, and a session that reads slowly holds a place in the log instead of memory.
"""

from collections import deque

from relay.protocol.codes import CloseCode
from relay.protocol.packets import Delivery, Gap, encode
from relay.router.log import Log
from relay.router.subscriber import Subscriber
from relay.store.base import Backlog, Entry, Reader, StoreError

# One page of the log. Small, for the sake of live traffic: pages of 500 messages cost a third less CPU a message, but
# doubled the median latency of a live pair beside them; with 100 little of that is left (docs/benchmarks.md, "Stored
# messages"). Its bytes fit into an outbox beside live traffic.
PAGE_MESSAGES = 100
PAGE_BYTES = 256 * 1024


class Feed:
    """Deliveries to one session. Created when the session asks to receive; `start` once its backlog is known."""

    __slots__ = ("_behind", "_early", "_log", "_outdated", "_reading", "_sent", "_session", "_targets", "stopped")

    def __init__(self, session: Subscriber, log: Log) -> None:
        self._session = session
        self._log = log
        # Conversation -> last offset handed out. A conversation that is missing was complete when the feed started.
        self._sent: dict[str, int] = {}
        # Conversation behind -> the offset it has to reach before messages are pushed again.
        self._targets: dict[str, int] = {}
        self._behind: deque[str] = deque()
        # Until the backlog is known: conversation -> first offset that was stored meanwhile.
        self._early: dict[str, tuple[int, int]] | None = {}
        # The conversation whose next page is on its way, and whether it was left since that page was asked for.
        self._reading: str | None = None
        self._outdated = False
        self.stopped = False

    def __repr__(self) -> str:
        return f"<Feed of {self._session.address}: {len(self._sent)} conversations, {len(self._targets)} behind>"

    def start(self, backlogs: list[Backlog]) -> None:
        """Begin with everything the device has not processed yet."""
        early, self._early = self._early or {}, None
        for conversation, delivered, head in backlogs:
            self._sent[conversation] = delivered
            self._fall_behind(conversation, head)
        for conversation, (first, last) in early.items():
            self._sent.setdefault(conversation, first - 1)
            self._fall_behind(conversation, last)
        self._read_on()

    def offer(self, conversation: str, first: int, last: int, frames: bytes) -> None:
        """Messages `first` to `last` were stored; `frames` are their DELIVERYs. Called in the order of offsets."""
        if self._may_push(conversation, first) and self._session.outlet.has_room(len(frames)):
            self._sent[conversation] = last
            self._session.outlet.push(frames)
        else:
            self._skip_to_log(conversation, first, last)

    def pass_own(self, conversation: str, first: int, last: int) -> None:
        """Messages of this very session were stored: their STOREDs take the place of DELIVERYs."""
        if self._may_push(conversation, first):
            self._sent[conversation] = last
        else:
            self._skip_to_log(conversation, first, last)

    def leave(self, conversation: str) -> None:
        """The user is not in the conversation any more."""
        self._outdated = self._outdated or conversation == self._reading
        if self._early is not None:
            self._early.pop(conversation, None)
        self._sent.pop(conversation, None)
        if self._targets.pop(conversation, None) is not None and conversation in self._behind:
            self._behind.remove(conversation)

    def handle_drained(self) -> None:
        """The session's queue has room again."""
        self._read_on()

    def stop(self) -> None:
        """The session ended; what is being read for it is thrown away."""
        self.stopped = True

    def _may_push(self, conversation: str, first: int) -> bool:
        if self._early is not None or conversation in self._targets:
            return False
        return self._sent.get(conversation, first - 1) == first - 1

    def _skip_to_log(self, conversation: str, first: int, last: int) -> None:
        if self._early is not None:
            earliest, _ = self._early.get(conversation, (first, last))
            self._early[conversation] = (earliest, last)
            return
        self._sent.setdefault(conversation, first - 1)
        if last > self._sent[conversation]:
            self._fall_behind(conversation, last)
            self._read_on()

    def _fall_behind(self, conversation: str, target: int) -> None:
        if target <= self._sent[conversation]:
            return
        if conversation not in self._targets:
            self._behind.append(conversation)
        self._targets[conversation] = max(target, self._targets.get(conversation, 0))

    def _read_on(self) -> None:
        """Read the next page of the conversation that waits longest, unless one is on its way or the queue is full."""
        if self._reading is not None or self.stopped or not self._behind:
            return
        if not self._session.outlet.has_room(PAGE_BYTES):
            self._session.outlet.call_when_drained()
            return
        conversation = self._behind.popleft()
        after = self._sent[conversation]
        self._reading, self._outdated = conversation, False

        def read(reader: Reader) -> list[Entry]:
            return reader.read(conversation, after, PAGE_MESSAGES, PAGE_BYTES)

        def done(page: list[Entry] | StoreError) -> None:
            self._reading = None
            if self.stopped:
                return
            # Who left meanwhile may have come back: to another place in it, or to another room of the same name.
            if not self._outdated:
                self._take_page(conversation, page)
            self._read_on()

        self._log.read(read, done)

    def _take_page(self, conversation: str, page: list[Entry] | StoreError) -> None:
        if isinstance(page, StoreError):
            self._session.end(CloseCode.STORE_FAILED, f"the log could not be read: {page}", retry_ms=5000)
            return
        # Offsets that are not there any more: retention has taken them since the device was here last.
        expected = self._sent[conversation] + 1
        found = page[0].offset if page else self._targets[conversation] + 1
        frames = [encode(Gap(conversation, expected, found - 1))] if found > expected else []
        frames += [encode(Delivery(conversation, *entry)) for entry in page]
        self._session.outlet.push(b"".join(frames))
        self._sent[conversation] = page[-1].offset if page else found - 1
        if self._sent[conversation] < self._targets[conversation]:
            self._behind.append(conversation)
        else:
            del self._targets[conversation]
