"""One user: comes, does things on schedule, checks everything that happens to her, comes back when she was cut off."""

import time
import traceback
from collections.abc import Callable
from typing import Any

import gevent
from gevent.event import AsyncResult

from loadtest.books.ledger import Books, room_peer
from loadtest.crowd.calls import ECHO, Calls
from loadtest.crowd.crowd import Crowd, every, is_among, user_name
from loadtest.crowd.login import KnownPasswordLogin, LoginError
from loadtest.crowd.messages import Messages
from loadtest.crowd.signals import Signals
from loadtest.crowd.web import WebSocket
from loadtest.crowd.wire import Wire
from relay.protocol.codes import CloseCode, Retry, retry_after_close
from relay.protocol.errors import RemoteError
from relay.protocol.frames import FrameReader
from relay.protocol.limits import FRAME_MAX, VERSION_MAX, VERSION_MIN
from relay.protocol.packets import (
    NUMBERS,
    Call,
    Challenge,
    Close,
    Delivery,
    Error,
    Fault,
    Hello,
    Message,
    Packet,
    Ping,
    Pong,
    Proof,
    Result,
    Signal,
    Stored,
    StoredRun,
    Unknown,
    Welcome,
    decode,
    encode,
)
from relay.protocol.scram import MECHANISM
from relay.protocol.tickets import MECHANISM as TICKET
from relay.protocol.tickets import ClientTicket, Resume

DEVICE = "load"
AGENT = "loadtest"

# How long a login may take, and how often it is tried before the user gives up.
LOGIN_TIMEOUT_S = 20.0
LOGINS_MAX = 20

# Pauses between attempts when the relay did not name one: growing, and spread so that not all come at once.
_PAUSE_FIRST_S = 0.1
_PAUSE_MAX_S = 5.0

# A slow reader takes a sip this often.
_SIP_S = 0.5

# What the kernel holds for a slow reader, so that the relay notices how slow she is.
_SLOW_BUFFER_BYTES = 8 * 1024

_ANSWERS = {NUMBERS[Result], NUMBERS[Fault]}
_GOODBYE = encode(Close(CloseCode.NORMAL, "goodbye", None))


class ClosedError(LoginError):
    """The relay said CLOSE."""

    def __init__(self, close: Close) -> None:
        super().__init__(f"{close.code}: {close.sentence}")
        self.close = close


class Person:
    """`live` is her whole life, to be run in a greenlet of its own; everything else never yields."""

    def __init__(self, crowd: Crowd) -> None:
        self.crowd = crowd
        self.index = crowd.next_index()
        self.address = f"{user_name(self.index)}/{DEVICE}"
        self.books = Books(crowd.tally)
        self.messages = Messages(self)
        self.signals = Signals(self)
        self.calls = Calls(self)
        scenario, users = crowd.scenario, crowd.plan.users
        self.is_echo = self.index % every(scenario.echo_share) == 0
        self.slow = crowd.is_slow(self.index)
        self.web = is_among(self.index, scenario.web_share)
        self.churning = is_among(self.index + 1, scenario.churn_share)
        self._peers = contacts(self.index, users, scenario.contacts)
        self._speaks = True
        if scenario.room_members:
            room, place = divmod(self.index, scenario.room_members)
            self._peers = [room_peer(room)]
            self._speaks = place < scenario.room_speakers
        self._wire: Wire | None = None
        # What the last login left for the next one.
        self._resume: Resume | None = None
        self._stepped_out = False
        # The result is why the connection ended: a sentence, a CLOSE, or None if it was our own choice.
        self._gone: AsyncResult = AsyncResult()
        self._handlers: dict[type[Any], Callable[[Any], None]] = {
            Delivery: self.messages.handle_delivery,
            Stored: self.messages.handle_stored,
            StoredRun: self.messages.handle_stored_run,
            Signal: self.signals.handle_signal,
            Call: self.calls.handle_call,
            Result: self.calls.handle_result,
            Fault: self.calls.handle_fault,
            Error: self._handle_error,
            Ping: self._handle_ping,
            Close: self._handle_close,
        }
        crowd.people.append(self)

    def __repr__(self) -> str:
        return f"<Person {self.address} {'present' if self.present else 'away'}>"

    @property
    def present(self) -> bool:
        """Whether something can be sent."""
        return self._wire is not None and self._wire.open

    def send(self, frame: bytes) -> None:
        """Send a frame, if we are there."""
        if self._wire is not None:
            self._wire.send(frame)

    def open_doings(self) -> int:
        """What was begun and has no answer yet."""
        return len(self.messages) + len(self.calls)

    # Her life, in a greenlet.

    def live(self) -> None:
        """Come when it is time, stay, come back if cut off, until everything is over. Yields all the time."""
        crowd = self.crowd
        crowd.begun.wait()
        hertz = crowd.scenario.logins_hz
        wanted_at = crowd.begin_at + (self.index / hertz if hertz else 0.0)
        while not crowd.over:
            gevent.sleep(max(0.0, wanted_at - time.monotonic()))
            if not self._come(wanted_at):
                crowd.given_up += 1
                return
            reason = self._gone.get()
            crowd.online -= 1
            self._wire = None
            wanted_at = time.monotonic() + self._pause_s(reason)

    def _come(self, wanted_at: float) -> bool:
        """Log in, as often as it takes. False if that is hopeless."""
        crowd = self.crowd
        for attempt in range(LOGINS_MAX):
            if crowd.over:
                return True
            try:
                self._log_in()
            except (LoginError, OSError, RemoteError) as error:
                if isinstance(error, ClosedError) and error.close.code == CloseCode.TICKET_REFUSED:
                    self._resume = None
                    crowd.tally["tickets_refused"] += 1
                hopeless = isinstance(error, ClosedError) and retry_after_close(error.close.code) is Retry.NEVER
                if hopeless or attempt == LOGINS_MAX - 1:
                    crowd.fail("login", "logins_failed", wanted_at, str(error))
                    return False
                crowd.fail("login again", "logins_repeated", wanted_at, str(error))
                gevent.sleep(self._pause_after(error, attempt))
            else:
                now = time.monotonic()
                crowd.tally["logins"] += 1
                crowd.record("login", wanted_at, now)
                if not crowd.until_at:
                    crowd.all_in_at = now
                return True
        return False

    def _log_in(self) -> None:
        with gevent.Timeout(LOGIN_TIMEOUT_S, LoginError(f"no answer within {LOGIN_TIMEOUT_S:g} s")):
            sock = self.crowd.connect(self.index, _SLOW_BUFFER_BYTES if self.slow else None)
            try:
                web = WebSocket(sock) if self.web else None
                welcome, rest = self._exchange(web or sock)
            except BaseException:
                sock.close()
                raise
        self._gone = AsyncResult()
        self._stepped_out = False
        self._wire = Wire(sock, self._handle_packet, self._handle_lost, web.unframer if web else None)
        self.books.reconnected()
        self._set_up(welcome)
        self._wire.start(rest)

    def _exchange(self, sock: Any) -> tuple[Welcome, bytes]:
        """The login on a fresh connection; waits. Raises LoginError, RemoteError, OSError."""
        frames, user = FrameReader(FRAME_MAX), user_name(self.index)
        login = ClientTicket(self._resume) if self._resume else KnownPasswordLogin(user)
        mechanism = TICKET if self._resume else MECHANISM
        sock.sendall(encode(Hello(VERSION_MIN, VERSION_MAX, user, DEVICE, mechanism, login.first(), AGENT)))
        if isinstance(login, KnownPasswordLogin):
            challenge = _receive(sock, frames, Challenge)
            sock.sendall(encode(Proof(login.final(challenge.data))))
        else:
            self.crowd.tally["tickets_shown"] += 1
        welcome = _receive(sock, frames, Welcome)
        login.check(welcome.data)
        self._resume = Resume(welcome.ticket, login.server_key) if welcome.ticket else None
        if welcome.session != self.address:
            raise LoginError(f"the relay calls us {welcome.session}, not {self.address}")
        return welcome, frames.take_rest()

    def _set_up(self, welcome: Welcome) -> None:
        """Ask for messages, say what we serve, and send what is still to be sent."""

        def listening(fault: Fault | None) -> None:
            if fault is not None:
                self.crowd.unexpected(self.address, fault)

        self.crowd.online += 1
        self.calls.ask_relay("messages.receive", {"start": None}, listening)
        if self.is_echo:
            self.calls.ask_relay("methods.announce", {"methods": [ECHO]}, listening)
        self.messages.connected(welcome.last_message_id)

    def _pause_s(self, reason: object) -> float:
        if isinstance(reason, Close):
            return self._pause_after(ClosedError(reason), 0)
        if isinstance(reason, float):
            return reason
        return self.crowd.random.uniform(0, _PAUSE_FIRST_S)

    def _pause_after(self, error: Exception, attempt: int) -> float:
        """As the close code demands, or growing and spread."""
        if isinstance(error, ClosedError):
            if error.close.retry_ms is not None:
                return error.close.retry_ms / 1000
            if retry_after_close(error.close.code) is Retry.NOW and attempt == 0:
                return 0.0
        return self.crowd.random.uniform(0.5, 1.0) * float(min(_PAUSE_FIRST_S * 2**attempt, _PAUSE_MAX_S))

    # What she does.

    def start_doing(self, from_at: float) -> None:
        """Do things from then on, at the scenario's pace; everybody begins at another moment of the first interval."""
        crowd, scenario = self.crowd, self.crowd.scenario
        if scenario.pace_hz > 0 and self._speaks:
            crowd.schedule.add(from_at + crowd.random.random() / scenario.pace_hz, self._do)
        if self.slow:
            crowd.schedule.add(from_at, self._sip)
        if self.churning:
            crowd.schedule.add(from_at + crowd.random.uniform(0, 2 * scenario.churn_online_s), self._step_out)

    def settle_down(self) -> None:
        """The traffic is over: read everything."""
        if self._wire is not None:
            self._wire.resume()

    def finish(self) -> None:
        """Leave for good."""
        tally = self.crowd.tally
        self.messages.finish()
        tally["calls_unanswered"] += len(self.calls)
        tally["users_missing"] += not self.present
        if self._wire is not None:
            self._wire.hang_up(_GOODBYE)
            self._gone.set(None)

    def _do(self, due_at: float) -> None:
        crowd = self.crowd
        crowd.timeline.record("generator", int(due_at), int(max(0.0, time.monotonic() - due_at) * 1e6))
        next_at = due_at + crowd.random.uniform(0.5, 1.5) / crowd.scenario.pace_hz
        if next_at < crowd.until_at:
            crowd.schedule.add(next_at, self._do)
        if self._stepped_out:
            crowd.tally["doings_skipped"] += 1
            return
        mix = crowd.scenario.mix
        choice = crowd.random.random() * (mix.message + mix.signal + mix.call)
        if choice < mix.message:
            self.messages.send(crowd.random.choice(self._peers), due_at)
        elif choice < mix.message + mix.signal:
            self.signals.send(crowd.random.choice(self._peers), due_at)
        else:
            step = every(crowd.scenario.echo_share)
            self.calls.make(crowd.random.randrange(0, crowd.plan.users, step), due_at)

    def _sip(self, due_at: float) -> None:
        """Read a little, as a user on a bad line does."""
        if not self.crowd.busy:
            return
        if self._wire is not None:
            self._wire.pause()
            self._wire.read(self.crowd.scenario.slow_bytes)
        self.crowd.schedule.add(due_at + _SIP_S, self._sip)

    def _step_out(self, due_at: float) -> None:
        """Leave for a while: politely, or without a word."""
        crowd, scenario = self.crowd, self.crowd.scenario
        if not crowd.busy:
            return
        if self.present and self._wire is not None:
            if crowd.random.random() < 0.5:
                self._wire.hang_up(_GOODBYE)
            else:
                self._wire.vanish()
            self.calls.cut()
            away_s = crowd.random.uniform(0, 2 * scenario.churn_away_s)
            self.messages.present_since = time.monotonic() + away_s
            self._stepped_out = True
            self._gone.set(away_s)
        crowd.schedule.add(due_at + crowd.random.uniform(0.5, 1.5) * scenario.churn_online_s, self._step_out)

    # What happens to her.

    def _handle_packet(self, packet: Packet | Unknown) -> None:
        handler = self._handlers.get(type(packet))
        if handler is None:
            self.crowd.unexpected(self.address, packet)
            return
        try:
            handler(packet)
        except RemoteError:
            raise
        except Exception:
            self.crowd.crashed(traceback.format_exc())

    def _handle_error(self, error: Error) -> None:
        if error.refused == NUMBERS[Message]:
            self.messages.handle_refused(error)
        elif error.refused in _ANSWERS:
            self.crowd.tally["answers_refused"] += 1
        else:
            self.crowd.unexpected(self.address, error)

    def _handle_ping(self, ping: Ping) -> None:
        self.send(encode(Pong(ping.token)))

    def _handle_close(self, close: Close) -> None:
        self._lost(f"{close.code}: {close.sentence}", close)
        if self._wire is not None:
            self._wire.hang_up()

    def _handle_lost(self, reason: str) -> None:
        self._lost(reason, reason)

    def _lost(self, reason: str, result: object) -> None:
        self.calls.cut()
        self.crowd.fail("connection", "connections_lost", time.monotonic(), reason)
        self._gone.set(result)


def contacts(index: int, users: int, count: int) -> list[int]:
    """Whom a user writes to: as many before as behind her, so that conversations have traffic in both directions.
    With few users there are fewer; a user who is alone writes to herself.
    """
    steps = [step for half in range(count // 2 + count % 2) for step in (1 + 37 * half, -1 - 37 * half)][:count]
    peers = dict.fromkeys((index + step) % users for step in steps)
    peers.pop(index, None)
    return list(peers) or [index]


def _receive(sock: Any, frames: FrameReader, kind: type[Any]) -> Any:
    """The next packet, which has to be of this kind; waits."""
    while (payload := frames.next_payload()) is None:
        data = sock.recv(4096)
        if not data:
            raise LoginError("the relay closed the connection without a word")
        frames.feed(data)
    packet = decode(payload)
    if isinstance(packet, Close):
        raise ClosedError(packet)
    if not isinstance(packet, kind):
        raise LoginError(f"the relay answered {type(packet).__name__.upper()}")
    return packet
