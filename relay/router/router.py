"""The router: one object that sessions hand their packets to. It composes its parts and keeps them in step."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import msgpack

from relay.protocol.addresses import RELAY, conversation_members, is_address, user_of
from relay.protocol.codes import CloseCode, ErrorCode
from relay.protocol.limits import NAME_MAX_BYTES
from relay.protocol.packets import Call, Fault, Open, Reset, encode
from relay.router import methods
from relay.router.blocks import Blocks
from relay.router.calls import CallTable, Question
from relay.router.conversations import Conversations
from relay.router.directory import Directory, Route
from relay.router.log import Log
from relay.router.membership import Bounds
from relay.router.presence import Presence
from relay.router.receipts import MEMBERS_MAX, Receipts
from relay.router.rooms import LiveRooms
from relay.router.streams import StreamEnd, StreamLimits, StreamTable
from relay.router.subscriber import Subscriber
from relay.store.files import FileTerms


class Limits(NamedTuple):
    """What one user, and one session, may have."""

    sessions_per_user_max: int
    calls_in_flight_max: int
    rooms: Bounds
    streams: StreamLimits = StreamLimits()
    files: FileTerms = FileTerms()


class Clocks(NamedTuple):
    """`time_ms` is the time of day, `monotonic_s` never jumps."""

    time_ms: Callable[[], int]
    monotonic_s: Callable[[], float]


class Router:
    """Everything that happens between sessions. No method yields."""

    def __init__(self, log: Log, agent: str, clocks: Clocks, limits: Limits) -> None:
        self.log = log
        self.agent = agent
        self.clock_ms = clocks.time_ms
        self.limits = limits
        self._monotonic_s = clocks.monotonic_s
        self.directory = Directory(limits.sessions_per_user_max)
        self.rooms = LiveRooms(self.directory)
        self.blocks = Blocks(self.directory)
        self.calls = CallTable(self.directory, limits.calls_in_flight_max)
        self.streams = StreamTable(self.directory, limits.streams)
        # Makes the relay's own end for an OPEN to it, or says why not.
        self.serve: Callable[[Subscriber, Open], StreamEnd | tuple[ErrorCode, str]] = _serve_nothing
        self.presence = Presence(self.directory, clocks.time_ms)
        self.receipts = Receipts(self._receipt_sessions)
        self.conversations = Conversations(self.directory, self.rooms, self.receipts, log, clocks.time_ms)

    @contextmanager
    def expecting(self, user: str) -> Iterator[None]:
        """Around a login, from before its first question to the store until `enter`: what is learnt of the user is
        kept meanwhile, whichever of her other sessions end, and forgotten if nobody enters.
        """
        self.directory.expect(user)
        try:
            yield
        finally:
            self.directory.stop_expecting(user)
            self.rooms.forget(user)
            self.blocks.forget(user)

    def learn(self, user: str, rooms: Iterable[str], blocked: Iterable[str]) -> None:
        """What the store knows of a user who is expected. Called in the order of the store's writes."""
        self.rooms.learn(user, rooms)
        self.blocks.learn(user, blocked)

    def enter(self, session: Subscriber) -> None:
        """A login succeeded: make the session reachable. Raises TooManySessionsError."""
        self.directory.attach(session)
        self.rooms.attach(session)
        self.presence.change(session.user)

    def end_outdated(self, user: str, login_key: bytes | None) -> None:
        """The user's account has changed. End the sessions that were opened with another key than is right now (None:
        none is), and see that no login under way becomes one.
        """
        self.directory.bar(user, login_key)
        for session in list(self.directory.sessions_of(user)):
            if session.login_key != login_key:
                sentence = "your account was disabled, removed or got a new password"
                session.end(CloseCode.ACCOUNT_ENDED, sentence)

    def leave(self, session: Subscriber) -> None:
        """A session ended: nobody reaches it any more, and who waits for it is told."""
        self.directory.detach(session)
        self.rooms.detach(session)
        self.blocks.forget(session.user)
        self.calls.leave(session)
        self.streams.leave(session)
        self.presence.leave(session)
        self.presence.change(session.user)
        self.receipts.leave(session)
        if session.feed is not None:
            session.feed.stop()

    def call(self, caller: Subscriber, call: Call, frame: bytes) -> None:
        """Answer a call to the relay, or forward it."""
        if call.to == RELAY:
            methods.answer(self, caller, call)
        else:
            self.forward_call(caller, Question(call.to, call.method, call.timeout_ms), call.id, frame)

    def forward_call(self, caller: Subscriber, question: Question, call_id: int, frame: bytes) -> None:
        """Forward a call to somebody else than the relay, or answer it with the reason why not."""
        if self.blocks and self.blocks.blocks(user_of(question.to), caller.user):
            sentence = f"{user_of(question.to)} does not take calls from you"
            caller.outlet.push(encode(Fault(RELAY, caller.address, call_id, ErrorCode.BLOCKED, sentence)))
        else:
            self.calls.open(caller, question, call_id, frame, self._monotonic_s())

    def open_stream(self, opener: Subscriber, packet: Open, frame: bytes) -> None:
        """Forward an OPEN, or refuse it."""
        if packet.to == RELAY:
            end = self.serve(opener, packet)
            if isinstance(end, tuple):
                opener.outlet.push(encode(Reset(RELAY, opener.address, packet.id | 1, *end)))
            else:
                self.streams.open(opener, packet, frame, self._monotonic_s(), end)
        elif self.blocks.blocks(user_of(packet.to), opener.user):
            sentence = f"{user_of(packet.to)} does not take streams from you"
            opener.outlet.push(encode(Reset(RELAY, opener.address, packet.id | 1, ErrorCode.BLOCKED, sentence)))
        else:
            self.streams.open(opener, packet, frame, self._monotonic_s())

    def signal_route(self, sender: Subscriber, encoded: bytes) -> Route | None:
        """Where signals to an address (as `address_bytes`) go; None if nobody is there or the sender may not."""
        route = self.directory.route(encoded)
        if route is not None:
            if self.blocks and self.blocks.blocks(user_of(msgpack.unpackb(encoded)), sender.user):
                return None
            return route
        if b"#" in encoded[:3]:
            try:
                room: str = msgpack.unpackb(encoded)
            except ValueError:  # not UTF-8
                return None
            if self.rooms.is_member(room, sender.user):
                return self.rooms.route(room)
        return None

    def signal_obstacle(self, sender: Subscriber, to: str) -> tuple[ErrorCode, str]:
        """Why there is no route."""
        if not is_address(to):
            return ErrorCode.BAD_ADDRESS, f"{to[:NAME_MAX_BYTES]!r} is not an address in canonical form"
        if to.startswith("#"):
            return ErrorCode.NO_SUCH_ROOM, f"there is no room {to}, or you are not in it"
        if self.blocks.blocks(user_of(to), sender.user):
            return ErrorCode.BLOCKED, f"{user_of(to)} does not take signals from you"
        return ErrorCode.NO_SUCH_SESSION, f"{to} is not connected; a signal reaches live sessions only"

    def expire(self) -> None:
        """Let time pass for calls in flight, and streams that nobody has accepted."""
        now_s = self._monotonic_s()
        self.calls.expire(now_s)
        self.streams.expire(now_s)

    def _receipt_sessions(self, conversation: str) -> Iterable[Subscriber] | None:
        members = conversation_members(conversation)
        if members is None:
            sessions = list(self.rooms.sessions_in(conversation))
            return sessions if len(sessions) <= MEMBERS_MAX else None
        return [session for user in dict.fromkeys(members) for session in self.directory.sessions_of(user)]


def _serve_nothing(opener: Subscriber, packet: Open) -> tuple[ErrorCode, str]:
    return ErrorCode.NO_SUCH_SERVICE, f"the relay offers no service {packet.service!r}"
