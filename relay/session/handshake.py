"""From an accepted socket to an established session: plain blocking code in a greenlet, under deadlines.

A client has so long for its HELLO, and as long again from its turn to WELCOME, so that one which sends one byte a
second costs a greenlet for seconds and not for hours. In between it waits for its turn (see `relay.session.places`),
which is not its fault and has a limit of its own. A delay for a failed login comes after all that.
"""

import logging
import random
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple, Protocol

import gevent

from relay.auth.authenticator import Admission, Admit, Authenticator, Decision
from relay.auth.throttle import Throttle
from relay.auth.tickets import TicketRefusedError
from relay.protocol.addresses import is_name
from relay.protocol.codes import CloseCode, websocket_code
from relay.protocol.connection import ServerConnection
from relay.protocol.errors import RemoteError
from relay.protocol.limits import AGENT_MAX_BYTES, FRAME_MAX
from relay.protocol.packets import Hello, Packet, Proof, Unknown, Welcome
from relay.protocol.scram import MECHANISM, LoginRefusedError
from relay.protocol.tickets import MECHANISM as TICKET
from relay.router.directory import TooManySessionsError
from relay.session.places import Place, Places, Stage
from relay.session.registry import Registry, TooManyConnectionsError
from relay.session.session import Identity, Session, Surroundings
from relay.store.base import StoreBrokenError, StoreError
from relay.transport.listener import peer_host
from relay.transport.stream import Stream, establish, finish

log = logging.getLogger("relay.login")

# How long, and for how many bytes, a refused connection is read on, so that our last packet is not lost in a reset.
_LINGER_S = 1.0
_LINGER_BYTES = 64 * 1024

_READ_BYTES = 4096

# A client that cannot be admitted has so long to show which protocol it speaks.
_FIRST_WORD_S = 0.2

_TLS_ONLY = "this relay takes connections by TLS only: use relays:// instead of relay://"


class Terms(NamedTuple):
    """What the relay demands of, and tells, everyone who logs in."""

    handshake_timeout_s: float
    logins_at_once_max: int
    login_wait_max_s: float
    keepalive_ms: int
    agent: str
    generation: str
    tls_required: bool = False


class Strangers(Protocol):
    """Serves those who do not begin with a frame of Relay; a `Reception` does."""

    def speaks(self, first: bytes, /) -> bool:
        """Whether what begins like this can be served."""

    def refusal(self, sentence: str, /) -> bytes:
        """What turns away somebody who begins with a letter that it `speaks`."""

    def __call__(self, stream: Stream, peer: str, first: bytes, /) -> Stream | None:
        """Serve them, under deadlines of its own: what is left is a stream that wants to log in, or None. Yields."""


class _Visit:
    """A connection up to its session: `stream` is None while, or after, it is served something else than a login."""

    __slots__ = ("connection", "peer", "sock", "stream")

    def __init__(self, sock: Stream, peer: str) -> None:
        self.sock = sock
        self.stream: Stream | None = sock
        self.peer = peer
        self.connection = ServerConnection()

    def receive(self) -> Packet | Unknown | None:
        """The next packet, or None when the client has left. Yields. Raises RemoteError, OSError."""
        assert self.stream is not None
        while (packet := self.connection.next_packet()) is None:
            data = self.stream.recv(_READ_BYTES)
            if not data:
                return None
            self.connection.receive_data(data)
        return packet

    def send(self) -> None:
        """Send what the connection object has to say. Yields. Raises OSError."""
        assert self.stream is not None
        self.stream.sendall(self.connection.data_to_send())

    def say_goodbye(self) -> None:
        """Send what is left to say and close, without a reset that would take it away. Yields."""
        try:
            with gevent.Timeout(_LINGER_S, False):
                if self.stream is not None:
                    self.send()
                finish(self.stream or self.sock, websocket_code(self.connection.closed_with or CloseCode.NORMAL))
                taken = 0
                while taken < _LINGER_BYTES and (data := self.sock.recv(_READ_BYTES)):
                    taken += len(data)
        except OSError:
            pass
        finally:
            self.sock.close()


class _Entry(NamedTuple):
    """A login that succeeded: the decision, and the last message id of the device."""

    admission: Admission
    last_message_id: int


class _RefusedError(Exception):
    """The connection ends here. `sentence` is for the peer, `reason` for the log; it is told `delay_s` later."""

    def __init__(
        self,
        code: CloseCode,
        sentence: str,
        *,
        reason: str = "",
        retry_s: float | None = None,
        delay_s: float = 0.0,
    ) -> None:
        super().__init__(reason or sentence)
        self.code = code
        self.sentence = sentence
        self.retry_ms = None if retry_s is None else int(retry_s * 1000)
        self.delay_s = delay_s
        self.level = logging.WARNING


class Handshake:
    """Turns accepted sockets into sessions. Calling it runs one handshake to its end; it yields."""

    def __init__(  # noqa: PLR0913, PLR0917
        self,
        terms: Terms,
        registry: Registry,
        authenticator: Authenticator,
        throttle: Throttle,
        prepare: Callable[[str, str, Admit | None], tuple[int, Decision | None]],
        surroundings: Surroundings,
        strangers: Strangers | None = None,
    ) -> None:
        """`prepare(user, device, admit)` runs `admit` on the store, lets the router learn of the user, and returns the
        device's last message id and the decision, which is durable then. It may yield, and raises StoreError.
        """
        self._terms = terms
        self._registry = registry
        self._authenticator = authenticator
        self._throttle = throttle
        self._prepare = prepare
        self._surroundings = surroundings
        self._strangers = strangers
        self._places = Places(terms.logins_at_once_max)
        self._under_way: set[gevent.Greenlet] = set()
        self._stopping = False

    def stop(self) -> None:
        """End the logins under way, and those that still come: the relay shuts down. Yields for about a second."""
        self._stopping = True
        gevent.killall(list(self._under_way))

    def __call__(self, sock: Stream, peer: str) -> None:
        """Own the socket: log the client in and hand it to a session, or tell it why not and close."""
        host = peer_host(peer)
        visit = _Visit(sock, peer)
        try:
            self._registry.admit(host)
        except TooManyConnectionsError as error:
            log.warning("refused %s: %s", peer, error)
            self._turn_away(visit, str(error))
            return
        established = False
        self._under_way.add(gevent.getcurrent())
        try:
            established = self._establish(visit)
        finally:
            self._under_way.discard(gevent.getcurrent())
            if not established:
                self._registry.release(host)
                visit.say_goodbye()

    def _turn_away(self, visit: _Visit, sentence: str) -> None:
        """There is no room. Said in the client's own language, if it says something soon."""
        visit.connection.close(CloseCode.TOO_MANY_CONNECTIONS, sentence, retry_ms=5000)
        if self._strangers is not None:
            with gevent.Timeout(_FIRST_WORD_S, False), suppress(OSError):
                first = visit.sock.recv(_READ_BYTES)
                if first[:1].isalpha() and self._strangers.speaks(first):
                    visit.stream = None
                    visit.sock.sendall(self._strangers.refusal(sentence))
        visit.say_goodbye()

    def _establish(self, visit: _Visit) -> bool:
        """Whether the client is in. If not, the connection object holds what it is to be told."""
        peer, connection = visit.peer, visit.connection
        try:
            if self._stopping:
                raise gevent.GreenletExit
            return self._log_in(visit)
        except _RefusedError as refused:
            log.log(refused.level, "refused %s: %s", peer, refused)
            gevent.sleep(refused.delay_s)
            connection.close(refused.code, refused.sentence, refused.retry_ms)
        except gevent.GreenletExit:
            connection.close(CloseCode.SHUTTING_DOWN, "the relay is shutting down; come back", 5000)
        except RemoteError as error:
            log.warning("refused %s: %s", peer, error.sentence)
        except StoreError as error:
            log.error("refused %s: %s", peer, error)
            connection.close(CloseCode.STORE_FAILED, "the relay cannot read its accounts; come back later", 5000)
        except OSError as error:
            log.info("%s left during login: %s", peer, error.strerror or error)
        return False

    def _log_in(self, visit: _Visit) -> bool:
        too_slow = self._too_slow()
        # Browsers open connections ahead that they never use: no reason to worry somebody who reads the log.
        too_slow.level = logging.INFO
        with gevent.Timeout(self._terms.handshake_timeout_s, too_slow):
            first = visit.sock.recv(_READ_BYTES)
            too_slow.level = logging.WARNING
            native = not first or not first[0] or self._strangers is None or not self._strangers.speaks(first)
            if native:
                visit.connection.receive_data(first)
                if first and self._terms.tls_required and not visit.peer.startswith("unix:"):
                    raise _RefusedError(CloseCode.NOT_THE_PROTOCOL, _TLS_ONLY)
                hello = visit.receive() if first else None
        if not native:
            if not self._serve(visit, first):
                return False
            with self._time_limit():
                hello = visit.receive()
        if not isinstance(hello, Hello):
            log.info("%s left before it logged in", visit.peer)
            return False
        _check(hello)
        with Place(self._places) as place:
            stage = Stage.TICKET if hello.mechanism == TICKET else Stage.PASSWORD
            self._wait_for_turn(place, stage, peer_host(visit.peer))
            with self._time_limit():
                return self._let_in(visit, hello, place)

    def _serve(self, visit: _Visit, first: bytes) -> bool:
        """Let a stranger be served; whether it wants to log in afterwards."""
        assert self._strangers is not None
        visit.stream = None
        visit.stream = self._strangers(visit.sock, visit.peer, first)
        return visit.stream is not None

    def _let_in(self, visit: _Visit, hello: Hello, place: Place) -> bool:
        with self._surroundings.router.expecting(hello.user):
            try:
                by_ticket = hello.mechanism == TICKET
                entry = self._resume(hello) if by_ticket else self._authenticate(visit, hello, place)
                if entry is None:
                    log.info("%s left during login", visit.peer)
                    return False
                account = entry.admission.account
                if self._surroundings.router.directory.is_barred(account.name, account.credentials.stored_key):
                    changed = "the account was changed meanwhile"
                    raise TicketRefusedError(changed) if by_ticket else LoginRefusedError(changed)
            except (LoginRefusedError, TicketRefusedError) as error:
                raise self._refusal(error, visit.peer, hello) from None
            assert visit.stream is not None
            session = Session(
                Identity(account.name, hello.device, account.bot, account.credentials.stored_key),
                establish(visit.stream, visit.peer, gevent.get_hub().loop),
                self._surroundings,
            )
            self._begin(session, visit.connection, entry, hello)
        return True

    def _authenticate(self, visit: _Visit, hello: Hello, place: Place) -> _Entry | None:
        """Log in by password; None when the client has left. Raises LoginRefusedError."""
        account = self._authenticator.challenge(visit.connection, hello)
        visit.send()
        place.leave()
        proof = visit.receive()
        if not isinstance(proof, Proof):
            return None
        self._take_place(place, Stage.PROOF, peer_host(visit.peer))
        data = self._authenticator.prove(visit.connection, account, proof)
        assert account is not None
        self._surroundings.router.directory.replace(f"{account.name}/{hello.device}")
        try:
            return self._take_over(hello, self._authenticator.admit(account, hello.device, data))
        except StoreBrokenError:
            raise
        except StoreError as error:
            log.warning("no ticket for %s/%s: %s", account.name, hello.device, error)
            admission = Admission(account, data, None)
            return self._take_over(hello, lambda store: admission)

    def _resume(self, hello: Hello) -> _Entry:
        """Log in by ticket. An older session of the device is left alone until the ticket has proved good. Raises
        TicketRefusedError.
        """
        try:
            return self._take_over(hello, self._authenticator.redeem(hello))
        except StoreBrokenError:
            raise
        except StoreError as error:
            log.error("tickets cannot be taken: %s", error)
            raise TicketRefusedError("the relay's disk takes no note of tickets at present") from None

    def _take_over(self, hello: Hello, admit: Admit) -> _Entry:
        """Let the client in, and find the last message id of its device once no session of it is left that could send
        another. Yields. Raises what `admit` decided, and StoreError.
        """
        directory, address = self._surroundings.router.directory, f"{hello.user}/{hello.device}"
        last_message_id, decision = self._prepare(hello.user, hello.device, admit)
        if not isinstance(decision, Admission):
            assert decision is not None
            raise decision
        while directory.session(address) is not None:
            directory.replace(address)
            last_message_id, _ = self._prepare(hello.user, hello.device, None)
        return _Entry(decision, last_message_id)

    def _refusal(self, error: LoginRefusedError | TicketRefusedError, peer: str, hello: Hello) -> _RefusedError:
        """What the client is told, and when: a guess costs time."""
        reason = f"login as {hello.user!r} failed: {error}"
        if isinstance(error, TicketRefusedError) and not error.forged:
            return _RefusedError(CloseCode.TICKET_REFUSED, str(error), reason=reason)
        delay_s = self._throttle.fail(peer_host(peer), hello.user, time.monotonic())
        if isinstance(error, TicketRefusedError):
            return _RefusedError(CloseCode.TICKET_REFUSED, str(error), reason=reason, delay_s=delay_s)
        sentence = "the user name or the password is wrong"
        return _RefusedError(CloseCode.LOGIN_FAILED, sentence, reason=reason, delay_s=delay_s)

    def _time_limit(self) -> gevent.Timeout:
        return gevent.Timeout(self._terms.handshake_timeout_s, self._too_slow())

    def _too_slow(self) -> _RefusedError:
        limit_s = self._terms.handshake_timeout_s
        sentence = f"the login was not complete within {limit_s:g} s"
        return _RefusedError(CloseCode.HANDSHAKE_TIMEOUT, sentence, retry_s=limit_s)

    def _wait_for_turn(self, place: Place, stage: Stage, host: str) -> None:
        """Those who have waited too long are sent away for a while, each for another one, so that they do not come back
        together.
        """
        if self._places.free and not self._throttle.wait_s(host, time.monotonic()):
            place.take(stage)  # at once: most logins are spared a timer
            return
        limit_s = self._terms.login_wait_max_s
        retry_s = random.uniform(limit_s / 10, limit_s / 2)  # noqa: S311
        sentence = "too many others log in at this moment; come back later"
        with gevent.Timeout(limit_s, _RefusedError(CloseCode.HANDSHAKE_TIMEOUT, sentence, retry_s=retry_s)):
            self._take_place(place, stage, host)

    def _take_place(self, place: Place, stage: Stage, host: str) -> None:
        """Nobody holds a place while attempts from its address have to wait; one may have failed while it queued."""
        self._wait_for_quiet(host)
        place.take(stage)
        while self._throttle.wait_s(host, time.monotonic()):
            place.leave()
            self._wait_for_quiet(host)
            place.take(stage)

    def _wait_for_quiet(self, host: str) -> None:
        """While the answer to a failed attempt is held back, further attempts from that address wait as long: those
        that were made at the same time, too, and one after the other.
        """
        while wait_s := self._throttle.wait_s(host, time.monotonic()):
            if wait_s > self._terms.handshake_timeout_s / 2:
                sentence = "too many failed logins from your address; wait before the next attempt"
                raise _RefusedError(CloseCode.TOO_MANY_ATTEMPTS, sentence, retry_s=wait_s)
            gevent.sleep(wait_s)

    def _begin(self, session: Session, connection: ServerConnection, entry: _Entry, hello: Hello) -> None:
        """Let the session live. Does not yield: nothing can have happened since the last look at the account."""
        connection.welcome(
            Welcome(
                version=connection.version,
                session=session.address,
                data=entry.admission.data,
                keepalive_ms=self._terms.keepalive_ms,
                time_ms=self._surroundings.router.clock_ms(),
                last_message_id=entry.last_message_id,
                frame_max=FRAME_MAX,
                ticket=entry.admission.ticket,
                agent=self._terms.agent,
                generation=self._terms.generation,
            )
        )
        # WELCOME goes into the outbox before the session can be found: nothing overtakes it.
        session.outlet.push(connection.data_to_send())
        session.start()
        self._registry.add(session)
        try:
            self._surroundings.router.enter(session)
        except TooManySessionsError:
            session.end(CloseCode.TOO_MANY_SESSIONS, "this user has as many sessions as one user may have; close one")
            return
        by, agent = hello.mechanism, hello.agent or "an unnamed program"
        log.info("%s logged in from %s by %s with %r", session.address, session.peer, by, agent)
        session.receive(connection.take_rest())


def _check(hello: Hello) -> None:
    """Refuse what can be refused without knowing the user."""
    if hello.mechanism not in (MECHANISM, TICKET):
        sentence = f"the login mechanism {hello.mechanism[:40]!r} is not supported; use {MECHANISM}"
        raise _RefusedError(CloseCode.UNSUPPORTED_MECHANISM, sentence)
    if len(hello.agent.encode()) > AGENT_MAX_BYTES:
        raise _RefusedError(CloseCode.BAD_PACKET, f"the agent in HELLO has more than {AGENT_MAX_BYTES} bytes")
    for what, name in (("user", hello.user), ("device", hello.device)):
        if not is_name(name):
            sentence = f"the {what} name is not in canonical form (1 to 64 bytes, lower case, no / # @ or spaces)"
            raise _RefusedError(CloseCode.BAD_PACKET, sentence)
