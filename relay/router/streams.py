"""Streams: ordered bytes both ways between two ends. The relay sees to it that each end keeps to its credit.

The table is told of every stream packet, departure and of time passing; it forwards packets byte for byte, and resets
a stream in an end's place when that end cannot. Who opened a stream writes its even id, the other end that id plus 1.

A receiver's CREDIT passes through its gate (`relay.router.gate`), so what is under way to one session is bounded
however many streams it has: a fast sender waits for credit, not in the relay's memory.
"""

import heapq
from itertools import count
from typing import NamedTuple, Protocol

from relay.protocol.addresses import RELAY, is_address
from relay.protocol.codes import ErrorCode
from relay.protocol.connection import clip_sentence
from relay.protocol.limits import CREDIT_MAX_BYTES, NAME_MAX_BYTES, OPEN_TIMEOUT_MAX_MS
from relay.protocol.packets import Accept, Credit, Finish, Open, Reset, encode
from relay.router.directory import Directory
from relay.router.gate import HELD_MAX, Gate, Lane
from relay.router.subscriber import Outlet, Subscriber

# So many streams that are open or over may stand among those that wait for their ACCEPT, or as many as do wait.
_DEADLINES_SPARE = 256


class StreamLimits(NamedTuple):
    """What one session may have: streams in all, of those how many not accepted yet, and bytes under way to it."""

    streams_max: int = 256
    opening_max: int = 64
    window_bytes: int = 1024 * 1024


class Side:
    """What one end's session has of streams. It exists from the session's first stream on."""

    __slots__ = ("gate", "highest_id", "opening", "streams")

    def __init__(self, window_bytes: int) -> None:
        self.streams: dict[Stream, None] = {}
        self.opening = 0
        self.highest_id = -1
        self.gate = Gate(window_bytes)


class StreamEnd(Protocol):
    """A session, or a service of the relay itself."""

    address: str
    streams: Side | None

    @property
    def outlet(self) -> Outlet:
        """Where packets for this end go."""


class Stream:
    """One stream. `there` is the lane from the opener to the acceptor, `back` the other one."""

    __slots__ = ("accepted", "acceptor", "back", "id", "opener", "there")

    def __init__(self, opener: StreamEnd, acceptor: StreamEnd, id: int, gates: tuple[Gate, Gate]) -> None:
        self.opener = opener
        self.acceptor = acceptor
        self.id = id
        self.accepted = False
        self.there = Lane(opener.outlet, acceptor.outlet, gates[1])
        self.back = Lane(acceptor.outlet, opener.outlet, gates[0])

    def __repr__(self) -> str:
        return f"<Stream {self.id} of {self.opener.address} to {self.acceptor.address}>"

    @property
    def key(self) -> tuple[str, int]:
        """Whose stream it is, and its id."""
        return self.opener.address, self.id

    def lane_from(self, end: StreamEnd) -> Lane:
        """The lane that `end` sends on."""
        return self.there if end is self.opener else self.back


class StreamTable:
    """All streams. No method yields."""

    def __init__(self, directory: Directory, limits: StreamLimits) -> None:
        self._directory = directory
        self._limits = limits
        self._streams: dict[tuple[str, int], Stream] = {}
        # Streams that wait for their ACCEPT, soonest deadline first. One that ends meanwhile stays for a while.
        self._deadlines: list[tuple[float, int, Stream]] = []
        self._deadlines_max = _DEADLINES_SPARE
        self._turn = count()

    def __len__(self) -> int:
        return len(self._streams)

    def __repr__(self) -> str:
        return f"<StreamTable: {len(self._streams)} streams>"

    def open(
        self, opener: StreamEnd, packet: Open, frame: bytes, now_s: float, service: StreamEnd | None = None
    ) -> None:
        """Forward an OPEN, or refuse it with a RESET. `service`: the end at the relay itself, if it is meant."""
        acceptor = service or self._choose(packet)
        problem = acceptor if isinstance(acceptor, tuple) else self._obstacle(opener, acceptor, packet, len(frame))
        if problem is not None or isinstance(acceptor, tuple):
            opener.outlet.push(_reset(opener.address, packet.id | 1, *(problem or acceptor)))  # type: ignore[misc]
            return
        mine, theirs = self._side(opener), self._side(acceptor)
        stream = Stream(opener, acceptor, packet.id, (mine.gate, theirs.gate))
        mine.highest_id = packet.id
        mine.opening += 1
        mine.streams[stream] = theirs.streams[stream] = None
        self._streams[stream.key] = stream
        self._remind(now_s + packet.timeout_ms / 1000, stream)
        acceptor.outlet.push(frame)

    def accept(self, end: StreamEnd, packet: Accept, frame: bytes) -> None:
        """Forward an ACCEPT."""
        stream = self._find(end, packet.to, packet.id)
        if stream is None or end is not stream.acceptor:
            self._tell_unknown(end, packet.id)
        elif stream.accepted:
            self._kill(stream, ErrorCode.BAD_STREAM, f"{end.address} accepted the stream twice")
        else:
            stream.accepted = True
            _opened(stream)
            stream.opener.outlet.push(frame)

    def data(self, end: StreamEnd, to: str, id: int, size: int, frame: bytes | memoryview) -> None:
        """Forward DATA of `size` bytes."""
        stream = self._find(end, to, id)
        if stream is None:
            self._tell_unknown(end, id)
            return
        lane = stream.lane_from(end)
        if size > lane.credit or lane.finished:
            self._kill(stream, *_misuse(end, lane, size))
            return
        lane.send(frame, size)

    def credit(self, end: StreamEnd, packet: Credit, frame: bytes) -> None:
        """Pass on a CREDIT, at once or when there is room on the way to its sender."""
        self.grant(end, packet.to, packet.id, packet.size, frame)

    def grant(self, end: StreamEnd, to: str, id: int, size: int, frame: bytes) -> None:
        """As `credit`, for a packet that was not decoded."""
        stream = self._find(end, to, id)
        if stream is None:
            self._tell_unknown(end, id)
            return
        lane = stream.back if end is stream.opener else stream.there
        if not stream.accepted:
            self._kill(stream, ErrorCode.BAD_STREAM, f"{end.address} granted credit before the stream was accepted")
        elif not 0 < size <= CREDIT_MAX_BYTES:
            sentence = f"{end.address} granted {size} bytes; a CREDIT is for 1 to {CREDIT_MAX_BYTES}"
            self._kill(stream, ErrorCode.FLOW_CONTROL, sentence)
        elif not lane.grant(frame, size):
            sentence = f"{end.address} has {HELD_MAX} CREDITs waiting; grant in larger pieces"
            self._kill(stream, ErrorCode.FLOW_CONTROL, sentence)

    def finish(self, end: StreamEnd, packet: Finish, frame: bytes) -> None:
        """Forward the end of one direction. The stream is over when both have ended."""
        stream = self._find(end, packet.to, packet.id)
        if stream is None:
            self._tell_unknown(end, packet.id)
            return
        lane = stream.lane_from(end)
        if lane.finished or not stream.accepted:
            self._kill(stream, *_misuse(end, lane, 0))
            return
        lane.finished = True
        lane.send(frame, 0)
        if stream.there.finished and stream.back.finished:
            self._forget(stream)

    def reset(self, end: StreamEnd, packet: Reset, frame: bytes) -> None:
        """Forward a RESET: the stream is over. One that is over already needs no answer: both ends may give up at
        once.
        """
        stream = self._find(end, packet.to, packet.id)
        if stream is not None:
            lane = stream.lane_from(end)
            self._forget(stream)
            lane.send(frame, 0)

    def leave(self, end: StreamEnd) -> None:
        """A session ended: the other ends of its streams are told."""
        side, end.streams = end.streams, None
        for stream in list(side.streams) if side else ():
            if stream.key in self._streams:
                self._forget(stream)
                lane = stream.lane_from(end)
                other = stream.acceptor if end is stream.opener else stream.opener
                _tell(stream, other, lane, ErrorCode.SESSION_GONE, f"{end.address} left")

    def expire(self, now_s: float) -> None:
        """Reset what was not accepted in time. To be called a few times a second."""
        while self._deadlines and self._deadlines[0][0] <= now_s:
            _, _, stream = heapq.heappop(self._deadlines)
            if self._waits(stream):
                self._kill(stream, ErrorCode.TIMED_OUT, f"{stream.acceptor.address} did not accept the stream in time")

    def _remind(self, at_s: float, stream: Stream) -> None:
        """Have `expire` look at the stream. Those that are open or over are forgotten when they are the most."""
        heapq.heappush(self._deadlines, (at_s, next(self._turn), stream))
        if len(self._deadlines) > self._deadlines_max:
            self._deadlines = [entry for entry in self._deadlines if self._waits(entry[2])]
            heapq.heapify(self._deadlines)
            self._deadlines_max = 2 * len(self._deadlines) + _DEADLINES_SPARE

    def _waits(self, stream: Stream) -> bool:
        return not stream.accepted and self._streams.get(stream.key) is stream

    def _find(self, end: StreamEnd, to: str, id: int) -> Stream | None:
        """The stream that `end` means. Its other end is at `to`, or the OPEN was sent there."""
        stream = self._streams.get((to, id - 1) if id & 1 else (end.address, id))
        if stream is None or (end is not stream.acceptor if id & 1 else end is not stream.opener):
            return None
        return stream if to == stream.acceptor.address or id & 1 or not stream.accepted else None

    def _tell_unknown(self, end: StreamEnd, id: int) -> None:
        sentence = "there is no such stream: it ended, or was never opened"
        end.outlet.push(_reset(end.address, id ^ 1, ErrorCode.NO_SUCH_STREAM, sentence))

    def _kill(self, stream: Stream, code: ErrorCode, sentence: str) -> None:
        """End a stream, and tell both ends."""
        self._forget(stream)
        _tell(stream, stream.acceptor, stream.there, code, sentence)
        _tell(stream, stream.opener, stream.back, code, sentence)

    def _forget(self, stream: Stream) -> None:
        del self._streams[stream.key]
        if not stream.accepted:
            _opened(stream)
        for end, lane in ((stream.acceptor, stream.there), (stream.opener, stream.back)):
            lane.close()
            if end.streams is not None:
                end.streams.streams.pop(stream, None)

    def _side(self, end: StreamEnd) -> Side:
        if end.streams is None:
            end.streams = Side(self._limits.window_bytes)
        return end.streams

    def _choose(self, packet: Open) -> Subscriber | tuple[ErrorCode, str]:
        """The session that an OPEN goes to: the named one, or the user's with the fewest streams that offers it."""
        to = packet.to
        if to.startswith("#") or not is_address(to):
            return ErrorCode.BAD_ADDRESS, f"a stream goes to a user or a session, not to {to[:NAME_MAX_BYTES]!r}"
        if "/" in to:
            session = self._directory.session(to)
            return session or (ErrorCode.NO_SUCH_SESSION, f"{to} is not connected")
        sessions = list(self._directory.sessions_of(to))
        if not sessions:
            return ErrorCode.NO_SUCH_SESSION, f"{to} is not connected"
        offering = [session for session in sessions if packet.service in session.services]
        if not offering:
            return ErrorCode.NO_SUCH_SERVICE, f"no session of {to} offers the service {packet.service!r}"
        return min(offering, key=lambda session: len(session.streams.streams) if session.streams else 0)

    def _obstacle(
        self, opener: StreamEnd, acceptor: StreamEnd, packet: Open, size: int
    ) -> tuple[ErrorCode, str] | None:
        limits, side = self._limits, opener.streams
        if acceptor is opener:
            return ErrorCode.BAD_ADDRESS, "a session has no stream to itself"
        if packet.id & 1 or (side is not None and packet.id <= side.highest_id):
            return ErrorCode.ID_REUSED, f"{packet.id} is no id for a stream: take even ones, each higher than the last"
        if not 0 < packet.timeout_ms <= OPEN_TIMEOUT_MAX_MS:
            return ErrorCode.BAD_ARGUMENTS, f"a stream's timeout is 1 to {OPEN_TIMEOUT_MAX_MS} ms"
        if side is not None and side.opening >= limits.opening_max:
            return ErrorCode.RATE_LIMITED, f"{side.opening} streams wait to be accepted; wait for those first"
        if side is not None and len(side.streams) >= limits.streams_max:
            return ErrorCode.RATE_LIMITED, f"you have {limits.streams_max} streams; end some first"
        if acceptor.address != RELAY and acceptor.streams and len(acceptor.streams.streams) >= limits.streams_max:
            return ErrorCode.QUEUE_FULL, f"{acceptor.address} has {limits.streams_max} streams; try again later"
        if not acceptor.outlet.has_room(size):
            return ErrorCode.QUEUE_FULL, f"{acceptor.address} does not keep up with what it is sent; try again later"
        return None


def _opened(stream: Stream) -> None:
    if stream.opener.streams is not None:
        stream.opener.streams.opening -= 1


def _misuse(end: StreamEnd, lane: Lane, size: int) -> tuple[ErrorCode, str]:
    if lane.finished:
        return ErrorCode.BAD_STREAM, f"{end.address} sent more after it had finished"
    if size:
        return ErrorCode.FLOW_CONTROL, f"{end.address} sent {size} bytes and had credit for {lane.credit}"
    return ErrorCode.BAD_STREAM, f"{end.address} finished a stream before it was accepted"


def _tell(stream: Stream, end: StreamEnd, lane: Lane, code: ErrorCode, sentence: str) -> None:
    """Reset the stream towards `end`, behind the data that is queued for it."""
    id = stream.id | 1 if end is stream.opener else stream.id
    lane.send(_reset(end.address, id, code, sentence), 0)


def _reset(to: str, id: int, code: ErrorCode, sentence: str) -> bytes:
    return encode(Reset(RELAY, to, id, code, clip_sentence(sentence)))
