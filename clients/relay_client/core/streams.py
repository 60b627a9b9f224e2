"""The streams of one connection: ids, credit, buffers, and how each of them ends.

Receiving: WINDOW_BYTES are granted ahead, and every CHUNK_MAX_BYTES that the program has taken are granted anew, so no
more than the window is ever buffered. Sending: never more than the credit; whoever writes waits for it.

A RESET stands behind the DATA that was sent before it, so what came can still be taken; then its error is raised.
"""

import secrets
from collections import deque
from collections.abc import Callable, Iterable
from enum import Enum

from relay.protocol.addresses import RELAY
from relay.protocol.codes import ErrorCode
from relay.protocol.connection import clip_sentence
from relay.protocol.limits import CHUNK_MAX_BYTES
from relay.protocol.packets import Accept, Credit, Data, Finish, Open, Packet, Reset
from relay_client.core.pending import Pending
from relay_client.errors import ConnectionLost, RelayError, StreamClosed, stream_reset

# A round trip of 10 ms allows 200 Mbit/s with it. The protocol advises it or more for a high rate (section 11).
WINDOW_BYTES = 4 * CHUNK_MAX_BYTES

# Half of what an id may be (2^53 - 1), so that there is no end in sight from any beginning.
FIRST_ID_MAX = 2**52


# The content type and the body of an OPEN or an ACCEPT that says nothing besides.
NOTHING = ("", b"")


class StreamState(Enum):
    """Where a stream stands."""

    OPENING = "waits for the other end to accept it"
    OFFERED = "waits for us to accept it"
    OPEN = "open"
    OVER = "over"


class StreamEnd:
    """Our end of a stream. `id` is what we write in its packets, `ends` who we are and who is at the other end;
    `opening` and `answer` are (content type, body)."""

    def __init__(self, id: int, ends: tuple[str, str], service: str, state: StreamState, opening: tuple[str, bytes]):
        self.id = id
        self._session, self.peer = ends
        self.service = service
        self.state = state
        self.opening = opening
        self.answer: tuple[str, bytes] = NOTHING
        self.opened: Pending[None] = Pending(id)  # whether the other end has accepted
        self.credit = 0  # bytes that we may send
        self.error: RelayError | None = None  # why it is over, unless both ends finished
        self.finished = False
        self.peer_finished = False
        self.on_change: Callable[[], None] = _nothing  # whether it may be read or written has changed
        self._closed = False
        self._granted = 0  # bytes that the other end may send
        self._taken = 0  # bytes that the program took and that were not granted anew
        self._parts: deque[bytes] = deque()
        self._send: Callable[[Packet], None] = _nowhere
        self._over: Callable[[], None] = lambda: None

    def __repr__(self) -> str:
        return f"<StreamEnd {self.id} for {self.service!r} with {self.peer}, {self.state.value}>"

    def attach(self, send: Callable[[Packet], None], over: Callable[[], None]) -> None:
        """Where its packets go, and whom to tell that it is over."""
        self._send = send
        self._over = over

    # What the program does.

    @property
    def may_write(self) -> bool:
        """Whether `write` takes something, or raises."""
        return self.credit > 0 or self.state is StreamState.OVER or self.finished

    @property
    def may_take(self) -> bool:
        """Whether `take` returns at once: there are bytes, or there will be none."""
        return bool(self._parts) or self.peer_finished or self.state is StreamState.OVER or self._closed

    def accept(self, content_type: str = "", body: bytes = b"") -> None:
        """Agree to a stream that was offered; no effect on others."""
        if self.state is StreamState.OFFERED:
            self._send(Accept(self._session, self.peer, self.id, content_type, body))
            self._begin()

    def write(self, data: memoryview) -> int:
        """Send as much as one DATA and the credit allow; how many bytes that is, perhaps 0. Raises why it cannot."""
        if self.finished:
            raise StreamClosed("this end has finished the stream: it sends no more")
        self._check()
        size = min(len(data), CHUNK_MAX_BYTES, self.credit)
        if size:
            self.credit -= size
            self._send(Data(self._session, self.peer, self.id, bytes(data[:size])))
        return size

    def take(self, size: int | None = None) -> bytes:
        """The next bytes, at most `size`. Empty at the end, and while there are none. Raises why there is no end."""
        if self._closed:
            raise StreamClosed("this end has closed the stream")
        if not self._parts:
            if not self.peer_finished:
                self._check()
            return b""
        part = self._parts.popleft()
        if size is not None and len(part) > size:
            self._parts.appendleft(part[size:])
            part = part[:size]
        self._taken += len(part)
        self._grant()
        return part

    def put_back(self, data: bytes) -> None:
        """What was taken in vain comes first the next time. It stays granted."""
        if data:
            self._parts.appendleft(data)
            self._taken -= len(data)

    def finish(self) -> None:
        """Send nothing more; the other end may go on. A second time, and when the stream is over, nothing happens."""
        self.accept()
        if not self.finished:
            self.finished = True
            self.on_change()
            if self.state is StreamState.OPEN:
                self._send(Finish(self._session, self.peer, self.id))
                self._end_if_finished()

    def close(self) -> None:
        """Finish, and refuse what else comes."""
        self.finish()
        unread = bool(self._parts)
        self._parts.clear()
        self._closed = True
        self.on_change()
        if unread and self.state is StreamState.OPEN:
            self._refuse_more()

    def reset(self, code: int, sentence: str) -> None:
        """End it both ways at once, or refuse it. Nothing happens when it is over."""
        if self.state is not StreamState.OVER:
            self._send(Reset(self._session, self.peer, self.id, code, clip_sentence(sentence)))
            self._parts.clear()
            self._end(StreamClosed(f"this end has reset the stream: {sentence}"))

    # What comes.

    def accepted(self, packet: Accept) -> None:
        """The other end agrees; from now on its session is the one to write to."""
        if self.state is StreamState.OPENING:
            self.peer = packet.sender
            self.answer = packet.content_type, packet.body
            self._begin()

    def received(self, body: bytes) -> None:
        """DATA came."""
        if len(body) > self._granted or self.peer_finished:
            self.reset(ErrorCode.FLOW_CONTROL, f"{self.peer} sent {len(body)} bytes and had {self._granted} granted")
            return
        self._granted -= len(body)
        if self._closed:
            self._refuse_more()
        else:
            self._parts.append(body)
            self.on_change()

    def allowed(self, size: int) -> None:
        """CREDIT came."""
        self.credit += size
        self.on_change()

    def peer_finish(self) -> None:
        """The other end sends no more."""
        self.peer_finished = True
        self._end_if_finished()
        self.on_change()

    def fail(self, error: RelayError) -> None:
        """It is over for a reason that came from elsewhere."""
        if self.state is not StreamState.OVER:
            self._end(error)

    def _begin(self) -> None:
        self.state = StreamState.OPEN
        self.opened.settle(None)
        self._taken = WINDOW_BYTES
        self._grant()
        self.on_change()

    def _grant(self) -> None:
        while self._taken >= CHUNK_MAX_BYTES and self.state is StreamState.OPEN and not self.peer_finished:
            self._taken -= CHUNK_MAX_BYTES
            self._granted += CHUNK_MAX_BYTES
            self._send(Credit(self._session, self.peer, self.id, CHUNK_MAX_BYTES))

    def _refuse_more(self) -> None:
        self.reset(ErrorCode.CANCELLED, f"{self._session} closed the stream and reads no more")

    def _check(self) -> None:
        if self.error is not None:
            raise self.error.with_traceback(None)

    def _end_if_finished(self) -> None:
        if self.finished and self.peer_finished and self.state is StreamState.OPEN:
            self._end(None)

    def _end(self, error: RelayError | None) -> None:
        self.state = StreamState.OVER
        self.error = error
        self.credit = 0
        self._over()
        if error is not None:
            self.opened.fail(error)
        self.on_change()


class Streams:
    """All streams of the connection there is. `session` is our address on it, `send` queues a packet; `offered` is told
    of streams for us.

    Ids of ours begin at random and grow for as long as the client lives.
    """

    def __init__(
        self, session: Callable[[], str], send: Callable[[Packet], None], offered: Callable[[StreamEnd], None]
    ) -> None:
        self._session = session
        self._send = send
        self._offered = offered
        self._ours: dict[int, StreamEnd] = {}
        self._theirs: dict[tuple[str, int], StreamEnd] = {}  # by the opener's session and its id
        self._next_id = 2 * secrets.randbelow(FIRST_ID_MAX // 2)
        self.services: frozenset[str] = frozenset()
        self.handlers: dict[type, Callable[..., None]] = {
            Open: self._handle_open,
            Accept: self._handle_accept,
            Data: self._handle_data,
            Credit: self._handle_credit,
            Finish: self._handle_finish,
            Reset: self._handle_reset,
        }

    def __len__(self) -> int:
        return len(self._ours) + len(self._theirs)

    def open(self, to: str, service: str, timeout_ms: int, opening: tuple[str, bytes]) -> StreamEnd:
        """Ask `to` for a stream; `opened` of what is returned is settled with the answer."""
        id, self._next_id = self._next_id, self._next_id + 2
        end = self._ours[id] = StreamEnd(id, (self._session(), to), service, StreamState.OPENING, opening)
        end.attach(self._send, lambda: self._ours.__delitem__(id))
        self._send(Open(self._session(), to, id, service, timeout_ms, *opening))
        return end

    def refused(self, id: int, code: int, sentence: str) -> None:
        """The relay did not take a packet of ours."""
        for end in self._meant(id ^ 1, RELAY):
            end.fail(stream_reset(code, sentence, end.service, end.peer))

    def lost(self, reason: str) -> None:
        """The connection broke, and with it all streams."""
        self.fail_all(ConnectionLost(f"the connection broke, and the stream with it ({reason}): open a new one"))

    def fail_all(self, error: RelayError) -> None:
        """All streams end for this reason."""
        for end in [*self._ours.values(), *self._theirs.values()]:
            end.fail(error)

    def _meant(self, id: int, sender: str) -> Iterable[StreamEnd]:
        """The streams that a packet is for. The relay speaks for an opener without naming it: with random ids there is
        one that it can mean."""
        if id & 1:
            end = self._ours.get(id - 1)
            # Opened to a user, the stream may be refused by any session of theirs: the relay chose it.
            known = end is not None and (sender in (end.peer, RELAY) or end.state is StreamState.OPENING)
            return [end] if end is not None and known else []
        if sender == RELAY:
            return [end for (_, number), end in self._theirs.items() if number == id]
        end = self._theirs.get((sender, id))
        return [end] if end is not None else []

    def _handle_open(self, packet: Open) -> None:
        if packet.service not in self.services:
            sentence = f"the service {packet.service!r} is not offered here"
            self._send(Reset(self._session(), packet.sender, packet.id | 1, ErrorCode.NO_SUCH_SERVICE, sentence))
            return
        key = packet.sender, packet.id
        opening = packet.content_type, packet.body
        if (old := self._theirs.get(key)) is not None:  # the relay does not let it happen
            old.fail(stream_reset(ErrorCode.ID_REUSED, "its id was taken for another stream", old.service, old.peer))
        end = StreamEnd(packet.id | 1, (self._session(), packet.sender), packet.service, StreamState.OFFERED, opening)
        end.attach(self._send, lambda: self._theirs.__delitem__(key))
        self._theirs[key] = end
        self._offered(end)

    def _handle_accept(self, packet: Accept) -> None:
        end = self._ours.get(packet.id - 1)
        if end is not None:
            end.accepted(packet)
        else:  # we gave up waiting while it was under way
            sentence = "the opener does not wait any more"
            self._send(Reset(self._session(), packet.sender, packet.id - 1, ErrorCode.CANCELLED, sentence))

    def _handle_data(self, packet: Data) -> None:
        for end in self._meant(packet.id, packet.sender):
            end.received(packet.body)

    def _handle_credit(self, packet: Credit) -> None:
        for end in self._meant(packet.id, packet.sender):
            end.allowed(packet.size)

    def _handle_finish(self, packet: Finish) -> None:
        for end in self._meant(packet.id, packet.sender):
            end.peer_finish()

    def _handle_reset(self, packet: Reset) -> None:
        if packet.sender == RELAY and packet.code == ErrorCode.NO_SUCH_STREAM:
            return  # an answer to what we sent late; how the stream ended stands behind its last DATA, and will come
        for end in self._meant(packet.id, packet.sender):
            end.fail(stream_reset(packet.code, packet.sentence, end.service, end.peer))


def _nothing() -> None:
    """Nobody waits."""


def _nowhere(packet: Packet) -> None:
    raise AssertionError("a stream sends before it is attached")
