"""Messages on their way: from the sender to the log, from the log to every receiving session, and cursors back."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from relay.protocol.addresses import conversation_for, conversation_members
from relay.protocol.codes import ErrorCode
from relay.protocol.limits import MESSAGE_WINDOW
from relay.protocol.packets import NUMBERS, Ack, Delivery, Error, Message, Stored, encode
from relay.router.directory import Directory
from relay.router.feed import Feed
from relay.router.log import Log
from relay.router.subscriber import Subscriber
from relay.store.base import Append, Appended, Backlog, Cursor, Refusal, Store, StoreError

MESSAGE = NUMBERS[Message]


class _Item(NamedTuple):
    """A stored message on its way out: both frames that speak of it."""

    origin: Subscriber
    offset: int
    answer: bytes
    delivery: bytes


class Conversations:
    """Stores messages and delivers them. No method yields; answers come back through `handle_appended`."""

    def __init__(self, directory: Directory, log: Log, clock_ms: Callable[[], int]) -> None:
        self._directory = directory
        self._log = log
        self._clock_ms = clock_ms
        self._cursors: dict[tuple[str, str, str], Cursor] = {}

    def submit(self, origin: Subscriber, message: Message, payload: bytes) -> None:
        """Store a message; `payload` is the packet as the sender wrote it.

        A session with MESSAGE_WINDOW messages waiting for the disk is paused, so that its sender feels the disk's pace.
        """
        problem = _obstacle(message)
        if problem is not None:
            origin.outlet.push(encode(Error(MESSAGE, message.id, *problem)))
            return
        conversation = conversation_for(origin.user, message.to)
        if not self._log.append(Append(conversation, origin.user, origin.device, message.id, payload, origin)):
            sentence = "too many messages are waiting for the relay's disk; send it again later"
            origin.outlet.push(encode(Error(MESSAGE, message.id, ErrorCode.QUEUE_FULL, sentence)))
            return
        origin.storing += 1
        if origin.storing == MESSAGE_WINDOW:
            origin.pause()

    def handle_appended(self, batch: Sequence[Append], results: Sequence[Appended | Refusal]) -> None:
        """A group of messages is on the disk, or was refused: tell the senders, feed the receivers.

        Called once per commit, so that a reader gets a run of messages of one conversation as one slice.
        """
        runs: dict[str, list[_Item]] = {}
        for item, result in zip(batch, results, strict=True):
            origin: Subscriber = item.origin  # type: ignore[assignment]
            origin.storing -= 1
            if origin.storing == MESSAGE_WINDOW // 2:
                origin.resume()
            if isinstance(result, Refusal):
                origin.outlet.push(encode(Error(MESSAGE, item.message_id, result.code, result.sentence)))
                continue
            answer = encode(Stored(item.message_id, item.conversation, result.offset, result.time_ms))
            if result.repeated:
                origin.outlet.push(answer)
            else:
                delivery = encode(Delivery(item.conversation, result.offset, result.time_ms, item.packet))
                runs.setdefault(item.conversation, []).append(_Item(origin, result.offset, answer, delivery))
        for conversation, run in runs.items():
            self._deliver(conversation, run)

    def receive(self, session: Subscriber, start: int | None, done: Callable[[StoreError | None], None]) -> None:
        """Begin to deliver to a session: what its device has not processed yet, then what comes."""
        if session.feed is not None:
            done(None)
            return
        feed = session.feed = Feed(session, self._log)
        user, device, now_ms = session.user, session.device, self._clock_ms()

        def open_device(store: Store) -> list[Backlog]:
            store.open_device(user, device, start, now_ms)
            return store.backlog(user, device)

        def opened(backlogs: list[Backlog] | StoreError) -> None:
            if isinstance(backlogs, StoreError):
                done(backlogs)
                return
            done(None)
            if not feed.stopped:
                feed.start(backlogs)

        # Cursors that are still on their way would make the device start too early.
        self.save_cursors(lambda problem: done(problem) if problem else self._log.write(open_device, opened))

    def acknowledge(self, session: Subscriber, ack: Ack) -> None:
        """Note how far a device is; written with the next `save_cursors`. Foreign conversations are ignored."""
        if session.user not in (conversation_members(ack.conversation) or ()):
            return
        key = (session.user, session.device, ack.conversation)
        earlier = self._cursors.get(key)
        delivered, read = ack.delivered, ack.read
        if earlier is not None:
            delivered = max(delivered, earlier.delivered)
            read = max((r for r in (read, earlier.read) if r is not None), default=None)
        self._cursors[key] = Cursor(*key, delivered, read)

    def save_cursors(self, done: Callable[[StoreError | None], None]) -> None:
        """Make all noted cursors durable."""
        if not self._cursors:
            done(None)
            return
        cursors = list(self._cursors.values())
        self._cursors.clear()
        self._log.write(lambda store: store.advance(cursors), done)

    def _deliver(self, conversation: str, run: list["_Item"]) -> None:
        """Give a run of new messages to everybody: senders get STORED in the place of their own DELIVERY."""
        first, last = run[0].offset, run[-1].offset
        frames = b"".join([item.delivery for item in run])
        senders = {item.origin for item in run}
        for session in self._readers(conversation):
            if session.feed is not None and session not in senders:
                session.feed.offer(conversation, first, last, frames)
        for session in senders:
            for item in run:
                if item.origin is session:
                    session.outlet.push(item.answer)
                    if session.feed is not None:
                        session.feed.pass_own(conversation, item.offset)
                elif session.feed is not None:
                    session.feed.offer(conversation, item.offset, item.offset, item.delivery)

    def _readers(self, conversation: str) -> Iterable[Subscriber]:
        first, second = conversation_members(conversation) or ("", "")
        yield from self._directory.sessions_of(first)
        if second != first:
            yield from self._directory.sessions_of(second)


def _obstacle(message: Message) -> tuple[ErrorCode, str] | None:
    if message.to.startswith("#"):
        return ErrorCode.NO_SUCH_ROOM, f"there is no room {message.to}, or you are not in it"
    if "/" in message.to:
        return ErrorCode.BAD_ADDRESS, "a message goes to a user or a room; send a signal to reach a single session"
    if not message.id:
        return ErrorCode.BAD_ARGUMENTS, "a message's id is 1 or higher"
    return None
