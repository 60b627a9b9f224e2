"""An established session: cuts what arrives into packets, acts on them, and owns the session's end.

It runs in event loop callbacks only: no method yields. From a byte received to a byte sent, the path of a signal is
`receive` -> `forward` -> `Outbox.signal` -> `Outbox.flush`.
"""

import logging
from collections.abc import Callable
from enum import Enum
from functools import partial
from typing import NamedTuple

from relay.protocol.codes import CloseCode, ErrorCode, websocket_code
from relay.protocol.connection import clip_sentence
from relay.protocol.errors import LocalError, RemoteError
from relay.protocol.frames import check_length
from relay.protocol.limits import FRAME_MAX, HEADER_BYTES
from relay.protocol.packets import Close, Error, Ping, Unknown, decode, encode, name_of
from relay.protocol.states import FROM_CLIENT, State, next_state
from relay.router.directory import Route
from relay.router.events import event_frame
from relay.router.feed import Feed
from relay.router.router import Router
from relay.router.streams import Side
from relay.session import calls, streams
from relay.session.calls import OPENING_BYTES, Lanes
from relay.session.handlers import HANDLERS
from relay.session.messages import Shape, learn_shape, message_prefix, read_run
from relay.session.outbox import Outbox, Turn
from relay.session.signals import Run, Runs, learn_run, signal_prefix
from relay.transport.connection import Transport

log = logging.getLogger("relay.session")

# What is forwarded by its header, by the opening of the packet.
_TAKERS = calls.TAKERS | streams.TAKERS

# Refusals of what a correct client does not send: somebody has to know, once per session.
_BLAMED_FOR = frozenset({ErrorCode.FORGED_SENDER, ErrorCode.BAD_ADDRESS, ErrorCode.TOO_LARGE})

# A closing session may take this many seconds to read its last packets.
CLOSING_S = 5


class Phase(Enum):
    """Where a session stands."""

    OPEN = "open"
    CLOSING = "closing"
    GONE = "gone"


# Looked up for every frame: a module's name is found faster than an enumeration's member.
_OPEN = Phase.OPEN


class Identity(NamedTuple):
    """Who is at the other end. `login_key` is the stored key of the credentials that opened the login."""

    user: str
    device: str
    bot: bool
    login_key: bytes = b""


class Surroundings(NamedTuple):
    """What all sessions of a relay share."""

    router: Router
    turn: Turn
    outbox_max_bytes: int
    on_gone: "Callable[[Session], None]"


class Session:
    """One live connection of a device (a `Subscriber` to the router). `on_gone` is called once, at its very end."""

    __slots__ = (
        "_blamed",
        "_connection",
        "_held",
        "_message_prefix",
        "_on_gone",
        "_partial",
        "_prefix",
        "_run",
        "_runs",
        "_shape",
        "_turn",
        "_wanted",
        "address",
        "asking",
        "away",
        "bot",
        "closing_s",
        "device",
        "feed",
        "lanes",
        "login_key",
        "methods",
        "outlet",
        "phase",
        "pinged",
        "quiet_s",
        "router",
        "services",
        "serving",
        "stalled_s",
        "storing",
        "streams",
        "user",
    )

    def __init__(
        self,
        identity: Identity,
        connection: Transport,
        surroundings: "Surroundings",
    ) -> None:
        self.user = identity.user
        self.device = identity.device
        self.bot = identity.bot
        self.login_key = identity.login_key
        self.address = f"{identity.user}/{identity.device}"
        self.router = surroundings.router
        self.outlet = Outbox(
            connection,
            surroundings.turn,
            surroundings.outbox_max_bytes,
            self._handle_drained,
            self._handle_overflow,
        )
        self.phase = Phase.OPEN
        self._held = False
        self.away = False
        self.methods: frozenset[str] = frozenset()
        self.services: frozenset[str] = frozenset()
        self.streams: Side | None = None
        self.serving = 0
        self.asking = 0
        self.storing = 0
        self.feed: Feed | None = None
        # Whole seconds, counted by the registry: since the last byte arrived, since the outbox last moved while it
        # was not empty, since the session began to close.
        self.quiet_s = 0
        self.stalled_s = 0
        self.closing_s = 0
        self.pinged = False
        self._connection = connection
        self._turn = surroundings.turn
        self._on_gone = surroundings.on_gone
        self._blamed = False
        # The beginning of a frame, and how many bytes have to be there before it is worth looking at them again.
        self._partial: bytearray | bytes = b""
        self._wanted = 0
        self._prefix = signal_prefix(self.address)
        self._message_prefix = message_prefix(self.address)
        self._shape: Shape | None = None
        # Calls and results that are known by their headers: see relay/session/calls.py.
        self.lanes = Lanes(self.address)
        # The run that came last, and all that are remembered.
        self._run: Run | None = None
        self._runs = Runs(self._prefix)

    def __repr__(self) -> str:
        return f"<Session {self.address} from {self._connection.peer}, {self.phase.value}>"

    @property
    def peer(self) -> str:
        """Where the client is: host and port, or the local user."""
        return self._connection.peer

    def start(self) -> None:
        """Begin to read."""
        self._connection.start(self.receive, self.outlet.flush, self._handle_lost)

    def receive(self, data: bytes) -> None:
        """Act on every whole frame in what arrived; keep the beginning of the next."""
        self.quiet_s = 0
        done = 0
        try:
            if self._partial:
                missing = self._wanted - len(self._partial)
                if len(data) < missing:
                    self._partial += data
                    if self._wanted >= streams.LARGE_FRAME_BYTES:
                        self.defer()
                    return
                partial, self._partial = self._partial, b""
                if self._wanted >= streams.LARGE_FRAME_BYTES:
                    # What stands behind a large frame is not worth copying with it.
                    self._take_frames(b"".join((partial, memoryview(data)[:missing])), 0)
                    done = missing
                else:
                    data = b"".join((partial, data))
            done = self._take_frames(data, done)
            if done < len(data) and self.phase is _OPEN:
                self._keep(data, done)
        except RemoteError as error:
            log.warning("closing %s (%s): %s", self.address, self.peer, error.sentence)
            self.end(error.code, error.sentence)
        except Exception:
            log.exception("closing %s (%s): the relay has a bug", self.address, self.peer)
            self.end(CloseCode.INTERNAL_ERROR, "the relay failed over what you sent; its log says why", retry_ms=5000)

    def end(self, code: CloseCode, sentence: str, retry_ms: int | None = None) -> None:
        """Leave the router now, tell the client why, and close once it has read that."""
        if self.phase is not Phase.OPEN:
            return
        self.phase = Phase.CLOSING
        self.forget_routes()
        self.router.leave(self)
        finish = partial(self._connection.finish, websocket_code(code))
        self.outlet.seal(encode(Close(code, clip_sentence(sentence), retry_ms)), finish)

    def abort(self) -> None:
        """Close at once."""
        self._connection.abort()

    def pause(self) -> None:
        """Read nothing until `resume`: the client feels the backpressure of its connection."""
        if self.phase is Phase.OPEN:
            self._connection.pause()

    def hold(self) -> None:
        """Read nothing any more, whatever `resume` says: the relay is about to end."""
        self._held = True
        self.pause()

    def resume(self) -> None:
        """Read on."""
        if self.phase is Phase.OPEN and not self._held:
            self._connection.resume()

    def defer(self) -> None:
        """Much is coming from this client: read the next of it when others have had their turn."""
        self._connection.defer(self._turn.defer)

    def tell_dropped(self) -> None:
        """Say how many signals were dropped since the last time, if any, once there is room to say so."""
        if self.outlet.dropped and not self.outlet.size:
            frame = event_frame(self.user, "dropped", signals=self.outlet.dropped)
            self.outlet.dropped = 0
            self.outlet.push(frame)

    def forget_routes(self) -> None:
        """Find out anew where signals go: what this session may reach has changed."""
        self._run = None
        self._runs.clear()

    def ping(self) -> None:
        """Ask the client for a sign of life."""
        self.pinged = True
        self.outlet.push(encode(Ping(0)))

    def refuse(self, number: int, packet_id: int | None, code: ErrorCode, sentence: str) -> None:
        """Answer one packet with an error; the session stays open. The first packet of a session that no client
        should send is logged.
        """
        if code in _BLAMED_FOR and not self._blamed:
            self._blamed = True
            log.warning("refused a packet of %s (%s): %s", self.address, self.peer, sentence)
        self.outlet.push(encode(Error(number, packet_id, code, clip_sentence(sentence))))

    def _keep(self, data: bytes, start: int) -> None:
        """Remember the beginning of a frame. It grows in place: a client that sends byte by byte must not cost a copy
        of the frame with each.
        """
        self._partial = bytearray(memoryview(data)[start:])
        size = int.from_bytes(self._partial[:HEADER_BYTES], "big") if len(self._partial) >= HEADER_BYTES else 0
        self._wanted = HEADER_BYTES + size

    def _take_frames(self, data: bytes, start: int) -> int:
        """Act on the frames in `data` from `start` on; returns where the last whole one ends. Raises RemoteError."""
        end = len(data)
        while end - start >= HEADER_BYTES and self.phase is _OPEN:
            run = self._run
            if run is None or not data.startswith(run.header, start):
                run = self._run = self._runs.find(data, start, end) if self._runs else None
            if run is not None and start + run.size <= end and run.route.outlets:
                start = self._forward(run, data, start, end)
                continue
            size = int.from_bytes(data[start : start + HEADER_BYTES], "big")
            if not 0 < size <= FRAME_MAX:
                check_length(size, FRAME_MAX)
            stop = start + HEADER_BYTES + size
            if stop > end:
                break
            take = _TAKERS.get(data[start + HEADER_BYTES : start + HEADER_BYTES + OPENING_BYTES])
            if take is not None:
                if take(self, data, start, stop):
                    start = stop
                    continue
            elif data.startswith(self._prefix, start + HEADER_BYTES):
                run = self._run = learn_run(data, start, stop, self._prefix, self._find_route)
                if run is not None:
                    self._runs.remember(run)
                    continue
            elif data.startswith(self._message_prefix, start + HEADER_BYTES):
                start = self._store(data, start, stop, end)
                continue
            self._handle(data[start:stop])
            start = stop
        return start

    def _store(self, data: bytes, start: int, stop: int, end: int) -> int:
        """Hand a run of messages to the log, beginning with the frame in `data[start:stop]`; returns where it ends."""
        shape = self._shape
        if shape is None or not data.startswith(shape.head, start):
            shape = self._shape = learn_shape(data, start, stop, self._message_prefix)
        first_id, total = read_run(data, start, end, shape) if shape else (0, 0)
        if shape is None or not total:
            self._shape = None
            self._handle(data[start:stop])
            return stop
        stop = start + total * shape.size
        packet = data[start if total > 1 else start + HEADER_BYTES : stop]
        self.router.conversations.submit(self, shape.to, first_id, packet, total)
        return stop

    def _forward(self, run: Run, data: bytes, start: int, end: int) -> int:
        """Send on a run of signals with one header; returns where it ends."""
        header, size, route, to_room = run
        stop, count = start + size, 1
        while stop + size <= end and data.startswith(header, stop):
            stop += size
            count += 1
        frames = data[start:stop]
        excluded = self.outlet if to_room else None
        for outlet in route.outlets:
            if outlet is not excluded:
                outlet.signal(frames, count)
        return stop

    def _find_route(self, encoded: bytes) -> Route | None:
        return self.router.signal_route(self, encoded)

    def _handle(self, frame: bytes) -> None:
        """Act on one frame by decoding it. Raises RemoteError."""
        packet = decode(frame[HEADER_BYTES:])
        if isinstance(packet, Unknown):
            sentence = f"this relay does not know packet type {packet.number}; it was ignored"
            self.refuse(packet.number, packet.id, ErrorCode.UNKNOWN_PACKET, sentence)
            return
        handle = HANDLERS.get(type(packet))
        if handle is None:
            next_state(FROM_CLIENT, State.OPEN, packet)
            raise LocalError(f"a {name_of(type(packet))} packet is allowed now, but nobody handles it")
        handle(self, packet, frame)

    def handle_close(self) -> None:
        """The client says goodbye: nothing more is owed to it."""
        self.end(CloseCode.NORMAL, "goodbye")

    def _handle_drained(self) -> None:
        if self.feed is not None and self.phase is Phase.OPEN:
            self.feed.handle_drained()

    def _handle_overflow(self) -> None:
        if self.phase is Phase.OPEN:
            log.warning("closing %s (%s): it does not read its answers", self.address, self.peer)
            self.end(CloseCode.SLOW_READER, "you do not read what you are sent", retry_ms=1000)

    def _handle_lost(self, reason: str) -> None:
        if self.phase is Phase.OPEN:
            log.info("%s (%s) is gone: %s", self.address, self.peer, reason)
            self.router.leave(self)
        if self.outlet.dropped:
            log.warning(
                "%s (%s) missed %d signals: it did not read fast enough", self.address, self.peer, self.outlet.dropped
            )
        self.phase = Phase.GONE
        self.outlet.clear()
        self._partial = b""
        self.forget_routes()
        self.feed = None
        self._on_gone(self)
