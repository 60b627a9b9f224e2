"""Everything a client decides, for as long as the program runs and over any number of connections.

Contract for a shell, which holds the socket and knows the time (monotonic seconds, passed in as `now`):

- When `should_dial`: `dialing`, connect a socket, then `connected`, or `lost` if that failed.
- What the socket receives goes to `receive_data`; its end or error to `lost`.
- After every call: send `data_to_send`, take `take_events`, close the socket if not `has_connection`, and call `tick`
  when `wake_at` comes. A shell with several threads holds one lock around every call.

Requests return a Pending that is settled later, inside one of the calls above. Once the client has ended they raise
the error that ended it.
"""

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from relay.protocol import packets
from relay.protocol.addresses import RELAY, is_temporary
from relay.protocol.codes import ErrorCode
from relay.protocol.connection import clip_sentence
from relay.protocol.limits import CALL_TIMEOUT_MAX_MS
from relay.protocol.payloads import Value
from relay_client.core.arguments import (
    checked_address,
    checked_method,
    checked_service,
    decode_notice,
    encode_arguments,
    encode_value,
    message_address,
    opening_body,
)
from relay_client.core.calls import Calls
from relay_client.core.inbox import DeliveryError, Inbox
from relay_client.core.link import Identity, Link, Phase
from relay_client.core.outbox import Outbox
from relay_client.core.pending import Pending
from relay_client.core.standing import Standing
from relay_client.core.streams import StreamEnd, Streams
from relay_client.errors import BadValue, ClientClosed, NotConnected, Refused, RelayError
from relay_client.events import CallReceived, Complaint, Connected, Event, SignalReceived, StreamOffered
from relay_client.fate import Fate
from relay_client.received import Call, Stored, utc_time

RECEIVE = "messages.receive"
ANNOUNCE = "methods.announce"
OFFER = "services.announce"
SYNC = "messages.sync"

# For the calls by which a client sets up its session. The relay answers them from its own memory and disk.
SETUP_TIMEOUT_S = 30.0


class _Setup:
    """A call to the relay that makes the session what the program wants, repeated on every connection."""

    __slots__ = ("arguments", "first")

    def __init__(self, arguments: Mapping[str, Value]) -> None:
        self.arguments = arguments
        self.first: Pending[Value] = Pending()  # how it went the first time


class Core:
    """`patience_s`: how long a first connection that fails is tried again; 0 not at all, None for ever.

    `start`: how many earlier messages of each conversation a device that is new to the relay gets. `receive`: whether
    to receive messages from the first moment (True), only when asked (False), or, for a temporary device, before its
    first message goes out (None): the relay keeps messages for a device that has asked to receive, and a short script
    that sends and then listens should not miss the answer.
    """

    def __init__(  # noqa: PLR0913 - all but two have defaults and are named
        self,
        identity: Identity,
        now: float,
        *,
        patience_s: float | None = 0,
        start: int | None = None,
        receive: bool | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._link = Link(identity, None if patience_s is None else now + patience_s, now, jitter)
        self._outbox = Outbox()
        self._inbox = Inbox()
        self._calls = Calls()
        self._streams = Streams(lambda: self.session, self._link.send, lambda end: self._emit(StreamOffered(end)))
        self._setups: dict[str, _Setup] = {}
        self._syncs: list[Pending[None]] = []
        self._events: list[Event] = []
        self._standing = Standing(
            lambda method, arguments: self._set_up(method, arguments, self._now),
            lambda method: self._call_setup(method, self._now) if method in self._setups else None,
            lambda method, arguments: self._call_relay(method, arguments, self._now),
            self._emit,
        )
        # A family of packets is a module with what it knows, and its handlers here.
        self._handlers: dict[type, Callable[[Any], object]] = {
            packets.Welcome: self._handle_welcome,
            packets.Error: self._handle_error,
            packets.Signal: self._handle_signal,
            packets.Stored: self._handle_stored,
            packets.Delivery: self._handle_delivery,
            packets.Gap: self._handle_gap,
            packets.Call: self._handle_call,
            packets.Result: self._calls.result,
            packets.Fault: lambda fault: self._calls.fault(fault.id, fault.code, fault.sentence),
            **self._streams.handlers,
        }
        self._now = now
        self._start = start
        self._receive_first = receive is None and is_temporary(identity.device)
        if receive:
            self.receive(now)

    # The connection, for the shell.

    @property
    def phase(self) -> Phase:
        """Where the connection stands."""
        return self._link.phase

    @property
    def session(self) -> str:
        """Our own address: `alice/laptop`."""
        return self._link.session

    @property
    def error(self) -> RelayError | None:
        """Why the client ended, once it has."""
        return self._link.error

    @property
    def reason(self) -> str:
        """Why there is no connection, while there is none."""
        return self._link.reason

    @property
    def has_connection(self) -> bool:
        """Whether the shell should hold a connected socket."""
        return self._link.has_connection

    @property
    def wake_at(self) -> float | None:
        """The instant at which to `tick`, or to dial; None: not before something else happens."""
        ack_at = self._inbox.ack_at if self.phase is Phase.OPEN else None
        instants = (self._link.wake_at, self._calls.next_deadline, ack_at)
        return min((instant for instant in instants if instant is not None), default=None)

    @property
    def wants_data(self) -> bool:
        """Whether to read from the socket: not while the program is far behind, unless it waits for an answer."""
        waiting = len(self._calls) + len(self._outbox) + len(self._streams)
        return not self._inbox.is_full or waiting > 0

    def should_dial(self, now: float) -> bool:
        """Whether to connect a socket now."""
        return self.phase is Phase.PAUSED and now >= self._link.dial_at

    def dialing(self) -> None:
        """The shell begins to connect a socket."""
        self._link.dialing()

    def connected(self, now: float) -> None:
        """The socket is connected."""
        if self.phase is Phase.DIALING:
            self._link.connected(now)

    def lost(self, reason: str, now: float) -> None:
        """The socket could not be connected, or ended, or failed."""
        self._now = now
        self._link.fail(reason, now)
        self._draw_consequences()

    def receive_data(self, data: bytes, now: float) -> None:
        """Bytes came from the socket. Deriving the key of a login takes milliseconds of CPU."""
        self._now = now
        self._link.receive_data(data, now)
        while (packet := self._link.next_packet(now)) is not None:
            self._handle(packet)
        self._draw_consequences()

    def tick(self, now: float) -> None:
        """Act on what `wake_at` stood for. Calling it too early does no harm."""
        self._now = now
        if not self.wants_data:
            self._link.excuse_silence(now)
        self._link.tick(now)
        self._calls.expire(now, self.reason)
        if self._inbox.ack_at is not None and now >= self._inbox.ack_at:
            self._flush_acks()
        self._draw_consequences()

    def data_to_send(self) -> bytes:
        """Bytes for the socket; each is returned once."""
        return self._link.data_to_send()

    def take_events(self) -> list[Event]:
        """What happened since the last call."""
        events, self._events = self._events, []
        return events

    # Requests, for the program.

    @property
    def was_open(self) -> bool:
        """Whether the first login is through."""
        return self._link.was_open

    @property
    def has_room(self) -> bool:
        """Whether `post` may be called: fewer than 256 messages are under way, and the first login is through."""
        return self._link.was_open and self._outbox.has_room

    @property
    def under_way(self) -> int:
        """How many messages are not known to be on the relay's disk."""
        return len(self._outbox)

    def post(self, to: str, value: Value, now: float, content_type: str | None = None) -> Pending[Stored]:
        """Send a message, now and after every reconnect until the relay answers. Only while it `has_room`."""
        self.check_alive()
        address, body = message_address(to), encode_value(value, content_type)
        if self._receive_first:
            self.receive(now)
        packet, pending = self._outbox.add(self.session, address, *body)
        if self.phase is Phase.OPEN:
            self._link.send(packet)
        return pending

    def signal(self, to: str, value: Value, content_type: str | None = None) -> None:
        """Send to who is there now. Raises NotConnected: a signal is not kept."""
        self.check_alive()
        packet = packets.Signal(self.session, str(checked_address(to)), None, *encode_value(value, content_type))
        if self.phase is not Phase.OPEN:
            raise NotConnected(f"there is no connection at this moment ({self.reason}), and signals are not kept")
        self._link.send(packet)

    def call(  # noqa: PLR0913 - a call has that many parts
        self,
        to: str,
        method: str,
        args: Sequence[Value],
        kwargs: Mapping[str, Value],
        *,
        timeout_s: float,
        now: float,
    ) -> Pending[Value]:
        """Call a method. Without a connection the call waits for one, until its timeout."""
        self.check_alive()
        if not 0 < timeout_s * 1000 <= CALL_TIMEOUT_MAX_MS:
            raise BadValue(f"the timeout of a call is more than 0 and at most {CALL_TIMEOUT_MAX_MS // 1000} s")
        body = encode_arguments(args, kwargs)
        return self._call(str(checked_address(to)), checked_method(method), body, now + timeout_s, now)

    def keep(self, method: str, arguments: Mapping[str, Value], now: float) -> Pending[Value]:
        """Ask the relay something that changes the session, and again after every reconnect. Settled with the first
        answer. A later call of the same method takes the place of an earlier one."""
        self.check_alive()
        return self._set_up(method, arguments, now)

    def receive(self, now: float) -> Pending[Value]:
        """Begin to receive messages, and again after every reconnect. Settled once the relay has agreed."""
        self.check_alive()
        self._receive_first = False
        if RECEIVE in self._setups:
            return self._setups[RECEIVE].first
        return self._set_up(RECEIVE, {"start": self._start}, now)

    def announce(self, methods: Iterable[str], now: float) -> Pending[Value]:
        """Offer these methods, and no others, to callers of our user, and again after every reconnect."""
        self.check_alive()
        return self._set_up(ANNOUNCE, {"methods": [checked_method(method) for method in methods]}, now)

    def open_stream(self, to: str, service: str, opening: Value, *, timeout_s: float) -> StreamEnd:
        """Ask for a stream, which needs a connection: raises NotConnected, BadAddress, BadValue. The
        shell has seen to it that the timeout is one."""
        self.check_alive()
        address, body = str(checked_address(to)), opening_body(opening)
        if self.phase is not Phase.OPEN:
            raise NotConnected(f"there is no connection at this moment ({self.reason}), and a stream needs one")
        timeout_ms = max(1, round(timeout_s * 1000))
        return self._streams.open(address, checked_service(service), timeout_ms, body)

    def offer(self, services: Iterable[str], now: float) -> Pending[Value]:
        """Offer these services, and no others, for streams to our user, and again after every reconnect."""
        self.check_alive()
        self._streams.services = frozenset(checked_service(service) for service in services)
        return self._set_up(OFFER, {"services": sorted(self._streams.services)}, now)

    def done(self, conversation: str, offset: int, now: float) -> None:
        """The program is done with a message; the relay is told soon."""
        if self._inbox.done(conversation, offset, now):
            self._flush_acks()

    def mark_read(self, conversation: str, offset: int, now: float) -> None:
        """A person has read a conversation up to here; the relay is told soon."""
        self.check_alive()
        self._inbox.mark_read(conversation, offset, now)

    def follow(self, conversation: str, now: float) -> Pending[None]:
        """Learn how far others are in this conversation, from now on. Settled once it is known how it stands."""
        self.check_alive()
        self._now = now
        return self._standing.follow(conversation)

    def fate(self, stored: Stored) -> Fate:
        """What became of a message of ours, as far as it was told."""
        return self._standing.fate(stored, self.session)

    def sync(self, now: float) -> Pending[None]:
        """Settled once everything the program is done with is acknowledged for good, over reconnects if need be."""
        self.check_alive()
        pending: Pending[None] = Pending()
        if not self._inbox.needs_sync:
            pending.settle(None)
            return pending
        self._syncs.append(pending)
        if self.phase is Phase.OPEN:
            self._sync(now)
        return pending

    def answer(self, call: Call, value: Value) -> None:
        """Answer a call that came. Raises BadValue. If its connection is gone nothing happens: the relay has told the
        caller."""
        content_type, body = encode_value(value)
        if self._is_answerable(call):
            self._link.send(packets.Result(self.session, call.sender_session, call.id, content_type, body))

    def refuse(self, call: Call, code: int, sentence: str) -> None:
        """Answer a call that came with a fault."""
        if self._is_answerable(call):
            self._link.send(packets.Fault(self.session, call.sender_session, call.id, code, clip_sentence(sentence)))

    def leave_streams(self) -> None:
        """All streams end here; the other ends learn of it with the end of the connection."""
        self._streams.fail_all(ClientClosed("this client was closed, and the stream with it"))

    def close(self) -> None:
        """Say goodbye and end. What is under way fails with ClientClosed."""
        self._flush_acks()
        self._link.say_goodbye(ClientClosed("this client was closed: make a new one"))
        self._draw_consequences()

    def end(self, error: RelayError) -> None:
        """End for this reason, which everything under way fails with."""
        self._link.end(error)
        self._draw_consequences()

    def check_alive(self) -> None:
        """Raises the error that ended the client, if it has ended."""
        if self._link.error is not None:
            raise self._link.error.with_traceback(None)

    # What came.

    def _handle(self, packet: packets.Packet | packets.Unknown) -> None:
        handle = self._handlers.get(type(packet))
        if handle is not None:  # a client ignores what it does not know: it is of a later version
            handle(packet)

    def _emit(self, event: Event) -> None:
        self._events.append(event)

    def _handle_call(self, call: packets.Call) -> None:
        deadline_at = self._now + call.timeout_ms / 1000
        self._events.append(CallReceived(Call(call, deadline_at, self._link.epoch)))

    def _handle_gap(self, gap: packets.Gap) -> None:
        self._events += self._inbox.skip(gap, self._now)

    def _handle_welcome(self, welcome: packets.Welcome) -> None:
        self._outbox.welcome(welcome.last_message_id)
        if self._inbox.welcome(welcome.generation):
            self._standing.renew()
        self._events.append(Connected(self.session, self._link.epoch > 1))
        self._flush_acks()
        for method in self._setups:
            self._call_setup(method, self._now)
        for packet in self._outbox.packets():
            self._link.send(packet)
        for call_id in self._calls.unsent():
            self._link.send(self._calls.packet(call_id, self.session, self._now))
        if self._syncs:
            self._sync(self._now)

    def _handle_signal(self, signal: packets.Signal) -> None:
        if signal.sender != RELAY:
            self._events.append(SignalReceived(signal))
        elif (event := decode_notice(signal.content_type, signal.body)) is not None:
            self._standing.told(event)

    def _handle_delivery(self, delivery: packets.Delivery) -> None:
        try:
            self._events += self._inbox.deliver(delivery, self.session, self._now)
        except DeliveryError as error:
            self._link.fail(str(error), self._now)

    def _handle_stored(self, stored: packets.Stored) -> None:
        message_id, conversation, offset, time_ms = stored
        self._inbox.stored(conversation, offset)
        if pending := self._outbox.take(message_id):
            pending.settle(Stored(message_id, conversation, offset, utc_time(time_ms)))

    def _handle_error(self, error: packets.Error) -> None:
        kind = packets.PACKETS.get(error.refused)
        if kind is packets.Message and error.id is not None:
            self._refused(error.id, error.code, error.sentence)
        elif kind is packets.Call and error.id is not None:
            self._calls.fault(error.id, error.code, error.sentence)
        elif kind in self._streams.handlers and error.id is not None:
            self._streams.refused(error.id, error.code, error.sentence)
        else:
            self._events.append(Complaint(error.code, error.sentence))

    def _refused(self, message_id: int, code: int, sentence: str) -> None:
        if code == ErrorCode.SHUTTING_DOWN:
            return  # the relay is about to close the connection; the message goes out again on the next one
        if pending := self._outbox.take(message_id):
            pending.fail(Refused(code, sentence))

    def _draw_consequences(self) -> None:
        """What the end of a connection means for what was under way on it."""
        if not self._link.events:
            return
        self._events += self._link.events
        self._link.events.clear()
        self._inbox.lost()
        if self._link.error is not None:
            self._fail_all(self._link.error)
        else:
            self._calls.lost(self.reason)
            self._streams.lost(self.reason)

    def _fail_all(self, error: RelayError) -> None:
        self._calls.fail_all(error)
        self._streams.fail_all(error)
        self._outbox.fail_all(error)
        for setup in self._setups.values():
            setup.first.fail(error)
        for sync in self._syncs:
            sync.fail(error)
        self._standing.fail_all(error)

    # What goes out.

    def _is_answerable(self, call: Call) -> bool:
        return self.phase is Phase.OPEN and call.epoch == self._link.epoch

    def _call(self, to: str, method: str, body: tuple[str, bytes], deadline_at: float, now: float) -> Pending[Value]:
        pending = self._calls.add(to, method, *body, deadline_at)
        if self.phase is Phase.OPEN:
            self._link.send(self._calls.packet(pending.id, self.session, now))
        return pending

    def _call_relay(self, method: str, arguments: Mapping[str, Value], now: float) -> Pending[Value]:
        return self._call(RELAY, method, encode_value(arguments), now + SETUP_TIMEOUT_S, now)

    def _set_up(self, method: str, arguments: Mapping[str, Value], now: float) -> Pending[Value]:
        setup = self._setups[method] = _Setup(arguments)
        if self.phase is Phase.OPEN:
            self._call_setup(method, now)
        return setup.first

    def _call_setup(self, method: str, now: float) -> None:
        setup = self._setups[method]
        call = self._call_relay(method, setup.arguments, now)
        call.on_done = lambda: self._setup_answered(method, setup, call)

    def _setup_answered(self, method: str, setup: _Setup, call: Pending[Value]) -> None:
        if call.error is None:
            self._standing.answered(method, call.result())
            setup.first.settle(call.result())
        elif self.phase is not Phase.OPEN:
            pass  # the next connection sets it up again
        elif setup.first.done:
            # Without it the program would miss things and not know.
            self._link.fail(f"the relay did not take the session up again: {call.error}", self._now)
        else:
            if self._setups.get(method) is setup:
                del self._setups[method]
            setup.first.fail(call.error)
            self._standing.refused(method, call.error)

    def _flush_acks(self) -> None:
        if self.phase is Phase.OPEN:
            for ack in self._inbox.take_acks():
                self._link.send(ack)

    def _sync(self, now: float) -> None:
        self._flush_acks()
        acks, syncs = self._inbox.unconfirmed(), list(self._syncs)
        call = self._call_relay(SYNC, {}, now)

        def answered() -> None:
            if self.phase is not Phase.OPEN:
                return  # the next connection sends the acknowledgements, and the question, again
            if call.error is None:
                self._inbox.confirm(acks)
            self._syncs = [sync for sync in self._syncs if sync not in syncs]
            for sync in syncs:
                if call.error is None:
                    sync.settle(None)
                else:
                    sync.fail(call.error)

        call.on_done = answered
