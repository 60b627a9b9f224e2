"""The connections of one client, one after the other: dial, log in, stay alive, notice the end, pause, dial again.

Strategy: a failure never decides by itself what comes next. `_fail` pauses and `_end` gives up; which of them it is
follows from the close code's range, and from whether there ever was a working connection: a program that cannot
connect at all wants to know at once, one that could yesterday wants to be back tomorrow.
"""

from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

from relay.protocol.addresses import session_address
from relay.protocol.codes import CloseCode, Retry, retry_after_close
from relay.protocol.connection import ClientConnection
from relay.protocol.errors import RemoteError
from relay.protocol.packets import Close, Packet, Ping, Pong, Unknown, Welcome
from relay.protocol.tickets import Resume
from relay_client.core.backoff import Backoff
from relay_client.errors import ConnectFailed, ConnectionEnded, RelayError, ended
from relay_client.events import Disconnected, Ended, Event

# The relay gives a login 5 s, but lets one wait up to 8 s more after failed attempts from the same address.
LOGIN_TIMEOUT_S = 15.0

# How long a PING may stay without any sign of life; the relay allows the same.
PING_TIMEOUT_S = 10.0

# A relay that announces less would have us send a PING for every breath.
KEEPALIVE_MIN_S = 1.0

# After these a ticket is worth nothing, and the password is tried at once. The second: the relay is an older one now.
_NO_TICKET = frozenset({CloseCode.TICKET_REFUSED, CloseCode.UNSUPPORTED_MECHANISM})


class Identity(NamedTuple):
    """Who the client is, in canonical names, and where its relay is, in words for error messages."""

    user: str
    password: str
    device: str
    place: str
    agent: str

    def __repr__(self) -> str:
        return f"<Identity {self.user}/{self.device} at {self.place}>"


class Phase(Enum):
    """Where a client's connection stands."""

    PAUSED = "waiting to connect"
    DIALING = "connecting"
    LOGIN = "logging in"
    OPEN = "connected"
    ENDED = "ended"


class Link:
    """`patience_until`: the instant up to which a first connection that fails is tried again; None: for ever."""

    def __init__(
        self, identity: Identity, patience_until: float | None, now: float, jitter: Callable[[], float]
    ) -> None:
        self.identity = identity
        self.phase = Phase.PAUSED
        self.session = session_address(identity.user, identity.device)
        self.error: RelayError | None = None  # set once ENDED
        self.reason = "not connected yet"  # why there is no connection, for error messages
        self.events: list[Event] = []
        self.epoch = 0  # counts connections; what belongs to an earlier one is void
        self.was_open = False
        self.dial_at = now
        self._patience_until = patience_until
        self._backoff = Backoff(jitter)
        self._connection: ClientConnection | None = None
        self._resume: Resume | None = None  # the newest ticket; tried again until a relay answers it
        self._last_words = b""
        self._opened_at = now
        self._heard_at = now
        self._keepalive_s = KEEPALIVE_MIN_S
        self._pinged = False

    @property
    def has_connection(self) -> bool:
        """Whether the shell should hold a connected socket."""
        return self._connection is not None

    @property
    def wake_at(self) -> float | None:
        """The instant of the next `tick`; None while there is nothing to wait for."""
        if self.phase is Phase.OPEN:
            return self._heard_at + self._keepalive_s + (PING_TIMEOUT_S if self._pinged else 0)
        if self.phase is Phase.LOGIN:
            return self._heard_at + LOGIN_TIMEOUT_S
        return self.dial_at if self.phase is Phase.PAUSED else None

    def dialing(self) -> None:
        """The shell begins to connect a socket."""
        self.phase = Phase.DIALING

    def connected(self, now: float) -> None:
        """The socket is connected."""
        user, password, device, _, agent = self.identity
        self._connection = ClientConnection(user, password, device, agent, self._resume)
        self._last_words = b""
        self._heard_at = now
        self.epoch += 1
        self.phase = Phase.LOGIN

    def receive_data(self, data: bytes, now: float) -> None:
        """Bytes came. Call `next_packet` until it returns None."""
        if self._connection is not None:
            self._heard_at = now
            self._pinged = False
            self._connection.receive_data(data)

    def next_packet(self, now: float) -> Packet | Unknown | None:
        """The next packet for the core; WELCOME only once it was checked. None too when the connection just ended."""
        while self._connection is not None:
            try:
                packet = self._connection.next_packet()
            except RemoteError as error:
                self._broken(error, now)
                return None
            if isinstance(packet, Close):
                self._closed(packet, now)
            elif isinstance(packet, Welcome):
                self._open(packet, now)
                return packet
            elif not isinstance(packet, Pong):
                return packet
        return None

    def send(self, packet: Packet) -> None:
        """Queue a packet; the phase must be OPEN."""
        assert self._connection is not None
        self._connection.send(packet)

    def data_to_send(self) -> bytes:
        """Bytes for the socket, also the last ones of a connection that has just ended."""
        if self._connection is not None:
            return self._connection.data_to_send()
        data, self._last_words = self._last_words, b""
        return data

    def excuse_silence(self, now: float) -> None:
        """Nobody is reading the socket at present, so that nothing is heard means nothing."""
        self._heard_at = now

    def tick(self, now: float) -> None:
        """Act on the time: ping, or give up a connection on which nothing is heard."""
        if self.phase is Phase.LOGIN and now >= self._heard_at + LOGIN_TIMEOUT_S:
            self.fail(f"no answer to the login within {LOGIN_TIMEOUT_S:.0f} s", now)
        elif self.phase is Phase.OPEN:
            silent_s = now - self._heard_at
            if silent_s >= self._keepalive_s + PING_TIMEOUT_S:
                self.fail(f"nothing was heard from the relay for {silent_s:.0f} s", now)
            elif silent_s >= self._keepalive_s and not self._pinged:
                self._pinged = True
                self.send(Ping(self.epoch))

    def fail(self, reason: str, now: float, retry: Retry = Retry.LATER, retry_ms: int | None = None) -> None:
        """The connection, or the attempt to make one, is over: pause, then try again; end if the first is given up."""
        if self.phase in (Phase.PAUSED, Phase.ENDED):
            return
        if not self.was_open and self._patience_until is not None and now >= self._patience_until:
            self.end(ConnectFailed(f"cannot connect to the relay at {self.identity.place}: {reason}"))
            return
        lasted_s = now - self._opened_at if self.phase is Phase.OPEN else 0.0
        delay_s = self._backoff.next_delay(retry, retry_ms, lasted_s)
        self._drop(Phase.PAUSED)
        self.reason = reason
        self.dial_at = now + delay_s
        self.events.append(Disconnected(reason, delay_s))

    def end(self, error: RelayError) -> None:
        """Never connect again."""
        if self.phase is not Phase.ENDED:
            self._drop(Phase.ENDED)
            self.error = error
            self.events.append(Ended(error))

    def say_goodbye(self, error: RelayError) -> None:
        """End with a CLOSE that tells the relay that all is well."""
        if self._connection is not None:
            self._connection.close(CloseCode.NORMAL, "goodbye")
        self.end(error)

    def _open(self, welcome: Welcome, now: float) -> None:
        assert self._connection is not None
        self.phase = Phase.OPEN
        self._resume = self._connection.resume
        self.was_open = True
        self.session = welcome.session
        self._opened_at = now
        self._keepalive_s = max(KEEPALIVE_MIN_S, welcome.keepalive_ms / 1000)
        self._pinged = False

    def _closed(self, close: Close, now: float) -> None:
        if self._resume and self.phase is Phase.LOGIN and close.code in _NO_TICKET:
            self._resume = None
            self._drop(Phase.PAUSED)
            self.reason = f"the relay did not take the ticket of the last login: {close.sentence}"
            self.dial_at = now
            return
        retry = retry_after_close(close.code)
        if retry is Retry.NEVER:
            self.end(self._final(close.code, close.sentence))
        else:
            self.fail(f"the relay closed the connection: {close.sentence}", now, retry, close.retry_ms)

    def _broken(self, error: RemoteError, now: float) -> None:
        self._resume = None
        # After a first success it can only be a passing trouble (half a restart, a proxy): try again, with pauses.
        if self.was_open and error.code != CloseCode.LOGIN_FAILED:
            self.fail(f"the relay broke the protocol: {error.sentence}", now)
        else:
            self.end(self._final(error.code, error.sentence))

    def _final(self, code: int, sentence: str) -> ConnectionEnded:
        place, user = self.identity.place, self.identity.user
        if code == CloseCode.LOGIN_FAILED:
            sentence = f"the login as {user} at {place} failed: {sentence}"
        elif code == CloseCode.REPLACED:
            sentence = (
                f"another program logged in as {self.session}, so this one was disconnected: "
                "give each program a device name of its own"
            )
        else:
            sentence = f"the relay at {place} ended the connection: {sentence}"
        return ended(code, sentence)

    def _drop(self, phase: Phase) -> None:
        if self._connection is not None:
            self._last_words = self._connection.data_to_send()
            self._connection = None
        self._pinged = False
        self.phase = phase
