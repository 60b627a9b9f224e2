"""Messages on their way: from the sender to the log, from the log to every receiving session, and cursors back."""

from collections.abc import Callable, Iterable, Sequence

from relay.protocol.addresses import conversation_for, conversation_members, is_name
from relay.protocol.codes import ErrorCode
from relay.protocol.connection import clip_sentence
from relay.protocol.limits import MESSAGE_WINDOW, NAME_MAX_BYTES
from relay.protocol.packets import NUMBERS, Ack, Delivery, Error, Message, Stored, StoredRun, encode
from relay.router.directory import Directory
from relay.router.feed import Feed
from relay.router.log import Log
from relay.router.receipts import Receipts
from relay.router.rooms import LiveRooms
from relay.router.subscriber import Subscriber
from relay.store.base import Append, Appended, Backlog, Cursor, Refusal, Store, StoreError

MESSAGE = NUMBERS[Message]

# The name of a direct conversation: two names and what stands between them.
_CONVERSATION_MAX = 2 * NAME_MAX_BYTES + 1


# A stored message on its way out, and where it stands.
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

    def submit(self, origin: Subscriber, message: Message, payload: bytes) -> None:
        """Store a message; `payload` is the packet as the sender wrote it."""
        self.submit_run(origin, message.to, [message.id], [payload])

    def submit_run(self, origin: Subscriber, to: str, ids: list[int], payloads: list[bytes]) -> None:
        """Store messages to one receiver, in order; `payloads` are the packets as the sender wrote them.

        A session with MESSAGE_WINDOW messages waiting for the disk is paused, so that its sender feels the disk's pace.
        """
        problem = _obstacle(to, ids)
        if problem is not None:
            for message_id in ids:
                origin.outlet.push(_refusal(message_id, *problem))
            return
        conversation, user, device = conversation_for(origin.user, to), origin.user, origin.device
        append, waiting = self._log.append, origin.storing
        for message_id, payload in zip(ids, payloads, strict=True):
            if append(Append(conversation, user, device, message_id, payload, origin)):
                origin.storing += 1
            else:
                sentence = "too many messages are waiting for the relay's disk; send it again later"
                origin.outlet.push(_refusal(message_id, ErrorCode.QUEUE_FULL, sentence))
        if waiting < MESSAGE_WINDOW <= origin.storing:
            origin.pause()

    def handle_appended(self, batch: Sequence[Append], results: Sequence[Appended | Refusal]) -> None:
        """A group of messages is on the disk, or was refused: tell the senders, feed the receivers.

        Called once per commit, so that a reader gets a run of messages of one conversation as one slice, and a sender
        one answer for messages that follow each other.
        """
        runs: dict[str, list[_Item]] = {}
        for item, result in zip(batch, results, strict=True):
            origin: Subscriber = item.origin  # type: ignore[assignment]
            origin.storing -= 1
            if origin.storing == MESSAGE_WINDOW // 2:
                origin.resume()
            if isinstance(result, Refusal):
                origin.outlet.push(_refusal(item.message_id, *result))
            elif result.repeated:
                origin.outlet.push(encode(Stored(item.message_id, item.conversation, result.offset, result.time_ms)))
            else:
                run = runs.get(item.conversation)
                if run is None:
                    run = runs[item.conversation] = []
                run.append((item, result))
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
                failed(backlogs)
                return
            done(None)
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

    def _deliver(self, conversation: str, run: list[_Item]) -> None:
        """Give a run of new messages to everybody: senders get STORED in the place of their own DELIVERY."""
        listening = [session for session in self._readers(conversation) if session.feed is not None]
        frames = [encode(Delivery(conversation, at.offset, at.time_ms, item.packet)) for item, at in run if listening]
        senders: set[Subscriber] = {item.origin for item, _ in run}  # type: ignore[misc]
        joined = b"".join(frames)
        for session in listening:
            if session not in senders and session.feed is not None:
                session.feed.offer(conversation, run[0][1].offset, run[-1][1].offset, joined)
        for session in senders:
            self._answer(session, conversation, run, frames)

    def _answer(self, sender: Subscriber, conversation: str, run: list[_Item], frames: list[bytes]) -> None:
        """Give a run to one of its senders, so that STOREDs and DELIVERYs come in the order of offsets.

        What follows each other, own messages or others', is told together.
        """
        feed = sender.feed
        start = 0
        while start < len(run):
            own = run[start][0].origin is sender
            stop = start + 1
            end = min(len(run), start + MESSAGE_WINDOW)
            while stop < end and _continues(run[stop - 1][0], run[stop][0], sender, own):
                stop += 1
            first, last = run[start][1].offset, run[stop - 1][1].offset
            if own:
                sender.outlet.push(_stored(conversation, *run[start], stop - start))
                if feed is not None:
                    feed.pass_own(conversation, first, last)
            elif feed is not None and frames:
                feed.offer(conversation, first, last, b"".join(frames[start:stop]))
            start = stop

    def _readers(self, conversation: str) -> Iterable[Subscriber]:
        members = conversation_members(conversation)
        if members is None:
            yield from self._rooms.sessions_in(conversation)
            return
        for user in dict.fromkeys(members):
            yield from self._directory.sessions_of(user)


def _refusal(message_id: int, code: ErrorCode, sentence: str) -> bytes:
    return encode(Error(MESSAGE, message_id, code, clip_sentence(sentence)))


def _continues(earlier: Append, later: Append, sender: Subscriber, own: bool) -> bool:
    """Whether one answer speaks of both: both are others', or both the sender's own with successive ids."""
    if later.origin is not sender:
        return not own
    return own and later.message_id == earlier.message_id + 1


def _stored(conversation: str, first: Append, at: Appended, count: int) -> bytes:
    if count == 1:
        return encode(Stored(first.message_id, conversation, at.offset, at.time_ms))
    return encode(StoredRun(first.message_id, conversation, at.offset, at.time_ms, count))


def _obstacle(to: str, ids: list[int]) -> tuple[ErrorCode, str] | None:
    if "/" in to:
        return ErrorCode.BAD_ADDRESS, "a message goes to a user or a room; send a signal to reach a single session"
    if not is_name(to.removeprefix("#")):
        return ErrorCode.BAD_ADDRESS, f"{to[:NAME_MAX_BYTES]!r} is not a user or room in canonical form"
    if not ids[0]:
        return ErrorCode.BAD_ARGUMENTS, "a message's id is 1 or higher"
    return None
