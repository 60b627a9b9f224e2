"""Messages on their way: from the sender to the log, from the log to every receiving session, and cursors back."""

from collections.abc import Callable, Iterable, Sequence

from relay.protocol.addresses import RELAY, conversation_for, conversation_members, is_name
from relay.protocol.codes import ErrorCode
from relay.protocol.connection import clip_sentence
from relay.protocol.limits import MESSAGE_WINDOW, NAME_MAX_BYTES
from relay.protocol.packets import NUMBERS, Ack, Error, Message, Stored, StoredRun, encode
from relay.protocol.runs import deliveries
from relay.router.directory import Directory
from relay.router.feed import Feed
from relay.router.log import Log
from relay.router.receipts import Receipts
from relay.router.rooms import LiveRooms
from relay.router.subscriber import Subscriber
from relay.store.base import Answer, Append, Appended, Backlog, Cursor, Refusal, Several, Store, StoreError

MESSAGE = NUMBERS[Message]

# The name of a direct conversation: two names and what stands between them.
_CONVERSATION_MAX = 2 * NAME_MAX_BYTES + 1


# A stored message or run on its way out, and where it stands.
_Item = tuple[Append, Appended]


class Conversations:
    """Stores messages and delivers them. No method yields; answers come back through `handle_appended`."""

    def __init__(
        self, directory: Directory, rooms: LiveRooms, receipts: Receipts, log: Log, clock_ms: Callable[[], int]
    ) -> None:
        self._directory = directory
        self._rooms = rooms
        self._receipts = receipts
        self._log = log
        self._clock_ms = clock_ms
        # Cursors that are not on the disk yet, and who waits for them; at most one write of them is under way.
        self._cursors: dict[tuple[str, str, str], Cursor] = {}
        self._waiting: list[Callable[[StoreError | None], None]] = []
        self._saving = False

    def submit(self, origin: Subscriber, to: str, message_id: int, packet: bytes, total: int = 1) -> None:
        """Store a message or a run (see protocol.runs), whose first message has this id, to one receiver.

        A session with MESSAGE_WINDOW messages waiting for the disk is paused, so that its sender feels the disk's pace.
        """
        problem = _obstacle(to, message_id)
        if problem is not None:
            _refuse(origin, message_id, total, *problem)
            return
        conversation = conversation_for(origin.user, to)
        if not self._log.append(Append(conversation, origin.user, origin.device, message_id, packet, origin, total)):
            sentence = "too many messages are waiting for the relay's disk; send it again later"
            _refuse(origin, message_id, total, ErrorCode.QUEUE_FULL, sentence)
            return
        waiting = origin.storing
        origin.storing = waiting + total
        if waiting < MESSAGE_WINDOW <= origin.storing:
            origin.pause()

    def handle_appended(self, batch: Sequence[Append], results: Sequence[Answer]) -> None:
        """A group of messages is on the disk, or was refused: tell the senders, feed the receivers.

        Called once per commit, so that a reader gets a run of messages of one conversation as one slice, and a sender
        one answer for messages that follow each other.
        """
        stored: dict[str, list[_Item]] = {}
        for item, result in zip(batch, results, strict=True):
            origin: Subscriber = item.origin  # type: ignore[assignment]
            waiting = origin.storing
            origin.storing = waiting - item.total
            if origin.storing <= MESSAGE_WINDOW // 2 < waiting:
                origin.resume()
            if type(result) is Several:
                for part, answer in zip(item.apart(), result.answers, strict=True):
                    self._sort(part, answer, stored)
            else:
                self._sort(item, result, stored)
        for conversation, items in stored.items():
            self._deliver(conversation, items)

    def receive(self, session: Subscriber, start: int | None, done: Callable[[bool | StoreError], None]) -> None:
        """Begin to deliver to a session: what its device has not processed yet, then what comes. `done` gets whether
        the device was not known.
        """
        if session.feed is not None:
            done(False)
            return
        feed = session.feed = Feed(session, self._log)
        user, device, now_ms = session.user, session.device, self._clock_ms()

        def open_device(store: Store) -> tuple[bool, list[Backlog]]:
            return store.open_device(user, device, start, now_ms), store.backlog(user, device)

        def opened(outcome: tuple[bool, list[Backlog]] | StoreError) -> None:
            if isinstance(outcome, StoreError):
                failed(outcome)
                return
            new, backlogs = outcome
            done(new)
            if not feed.stopped:
                feed.start(backlogs)

        def failed(problem: StoreError) -> None:
            feed.stop()
            session.feed = None
            done(problem)

        # Cursors that are still on their way would make the device start too early.
        self.save_cursors(lambda problem: failed(problem) if problem else self._log.write(open_device, opened))

    def acknowledge(self, session: Subscriber, ack: Ack) -> None:
        """Note how far a device is; written with the next `save_cursors`. Foreign conversations are ignored."""
        if len(ack.conversation) > _CONVERSATION_MAX:
            return
        members = conversation_members(ack.conversation)
        if self._rooms.is_member(ack.conversation, session.user) if members is None else session.user in members:
            cursor = Cursor(session.user, session.device, *ack)
            self._note(cursor)
            self._receipts.note(cursor)

    def save_cursors(self, done: Callable[[StoreError | None], None]) -> None:
        """Make all noted cursors durable. Those that could not be written stay noted."""
        self._waiting.append(done)
        if not self._saving:
            self._save()

    def _save(self) -> None:
        """Write what is noted, for all who wait; whoever comes meanwhile waits for the next write."""
        waiting, self._waiting = self._waiting, []
        cursors, self._cursors = list(self._cursors.values()), {}
        if not cursors:
            for done in waiting:
                done(None)
            return

        def saved(problem: StoreError | None) -> None:
            self._saving = False
            if problem is not None:
                for cursor in cursors:
                    self._note(cursor)
            for done in waiting:
                done(problem)
            if self._waiting and not self._saving:
                self._save()

        self._saving = True
        self._log.write(lambda store: store.advance(cursors), saved)

    def _note(self, cursor: Cursor) -> None:
        key = (cursor.user, cursor.device, cursor.conversation)
        earlier = self._cursors.get(key, cursor)
        read = max((r for r in (cursor.read, earlier.read) if r is not None), default=None)
        self._cursors[key] = Cursor(*key, max(cursor.delivered, earlier.delivered), read)

    def _sort(self, item: Append, result: Answer, stored: dict[str, list[_Item]]) -> None:
        """Answer what was refused or repeated; put what is new with the rest of its conversation."""
        if type(result) is Refusal:
            _refuse(item.origin, item.message_id, item.total, *result)  # type: ignore[arg-type]
        elif type(result) is Appended and not result.repeated:
            items = stored.get(item.conversation)
            if items is None:
                stored[item.conversation] = [(item, result)]
            else:
                items.append((item, result))
        elif type(result) is Appended:
            item.origin.outlet.push(_stored(item, result, item.total))  # type: ignore[attr-defined]

    def _deliver(self, conversation: str, items: list[_Item]) -> None:
        """Give new messages to everybody: senders get STORED in the place of their own DELIVERY."""
        senders: set[Subscriber] = {item.origin for item, _ in items}  # type: ignore[misc]
        listening = [session for session in self._readers(conversation) if session.feed is not None]
        frames: list[bytes] = []
        if len(senders) > 1 or any(session not in senders for session in listening):
            frames = [deliveries(conversation, *at[:2], item.packet, item.total) for item, at in items if listening]
        joined = b"".join(frames)
        first, last = items[0][1].offset, _last(items[-1])
        for session in listening:
            if session not in senders and session.feed is not None:
                session.feed.offer(conversation, first, last, joined)
        for session in senders:
            self._answer(session, conversation, items, frames)

    def _answer(self, sender: Subscriber, conversation: str, items: list[_Item], frames: list[bytes]) -> None:
        """Give new messages to one of their senders, so that STOREDs and DELIVERYs come in the order of offsets.

        What follows each other, own messages or others', is told together.
        """
        feed = sender.feed
        start = 0
        while start < len(items):
            first, at = items[start]
            own = first.origin is sender
            stop, total = start + 1, first.total
            while stop < len(items) and _continues(first, total, items[stop][0], sender):
                total += items[stop][0].total
                stop += 1
            last = at.offset + total - 1
            if own:
                sender.outlet.push(_stored(first, at, total))
                if feed is not None:
                    feed.pass_own(conversation, at.offset, last)
            elif feed is not None and frames:
                feed.offer(conversation, at.offset, last, b"".join(frames[start:stop]))
            start = stop

    def _readers(self, conversation: str) -> Iterable[Subscriber]:
        members = conversation_members(conversation)
        if members is None:
            yield from self._rooms.sessions_in(conversation)
            return
        for user in dict.fromkeys(members):
            yield from self._directory.sessions_of(user)


def _refuse(origin: Subscriber, message_id: int, total: int, code: ErrorCode, sentence: str) -> None:
    """Refuse a message, or each one of a run."""
    for number in range(message_id, message_id + total):
        origin.outlet.push(encode(Error(MESSAGE, number, code, clip_sentence(sentence))))


def _last(item: _Item) -> int:
    """The offset of the last message of a run."""
    return item[1].offset + item[0].total - 1


def _continues(first: Append, total: int, following: Append, sender: Subscriber) -> bool:
    """Whether one answer speaks of both the `total` messages from `first` on and those behind them: all are others',
    or all the sender's own with successive ids.
    """
    if following.origin is not sender:
        return first.origin is not sender
    successive = following.message_id == first.message_id + total
    return first.origin is sender and successive and total + following.total <= MESSAGE_WINDOW


def _stored(first: Append, at: Appended, total: int) -> bytes:
    if total == 1:
        return encode(Stored(first.message_id, first.conversation, at.offset, at.time_ms))
    return encode(StoredRun(first.message_id, first.conversation, at.offset, at.time_ms, total))


def _obstacle(to: str, message_id: int) -> tuple[ErrorCode, str] | None:
    if to == RELAY:
        return ErrorCode.BAD_ADDRESS, "the relay itself takes no messages; it answers calls"
    if "/" in to:
        return ErrorCode.BAD_ADDRESS, "a message goes to a user or a room; send a signal to reach a single session"
    if not is_name(to.removeprefix("#")):
        return ErrorCode.BAD_ADDRESS, f"{to[:NAME_MAX_BYTES]!r} is not a user or room in canonical form"
    if not message_id:
        return ErrorCode.BAD_ARGUMENTS, "a message's id is 1 or higher"
    return None
