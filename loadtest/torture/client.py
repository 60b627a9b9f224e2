"""A connection of one device: it comes, logs in, is cut off, comes again; calls the relay; keeps what is its own to
itself and hands packets to handlers.
"""

import random
import socket
from collections.abc import Callable
from enum import Enum
from typing import Any, Protocol

from loadtest.crowd.login import KnownPasswordLogin, LoginError
from loadtest.torture.books import Books
from loadtest.torture.link import Cut, Ending, Link
from loadtest.torture.loop import Loop, Timer
from loadtest.torture.plan import Member
from relay.protocol.addresses import RELAY
from relay.protocol.codes import Retry, retry_after_close
from relay.protocol.errors import RemoteError
from relay.protocol.frames import check_length
from relay.protocol.limits import FRAME_MAX, HEADER_BYTES, VERSION_MAX, VERSION_MIN
from relay.protocol.packets import (
    Call,
    Challenge,
    Close,
    Fault,
    Hello,
    Ping,
    Pong,
    Proof,
    Result,
    Signal,
    Welcome,
    decode,
    encode,
)
from relay.protocol.payloads import decode_body, encode_body
from relay.protocol.scram import MECHANISM

_SIP_S = 0.2
_COME_S = 0.05
_CALL_MS = 60_000


class Phase(Enum):
    """Where a device stands."""

    AWAY = "not connected"
    GREETING = "logging in"
    OPEN = "logged in"


class Stage(Protocol):
    """What all devices share."""

    loop: Loop
    books: Books
    dice: random.Random

    @property
    def listening(self) -> bool:
        """Whether the relay accepts connections."""

    @property
    def sending(self) -> bool:
        """Whether new messages are sent."""

    @property
    def settling(self) -> bool:
        """Whether everybody has to be there, for the end."""

    @property
    def address(self) -> tuple[str, int]:
        """Where the relay listens."""

    def plan_cut(self) -> Cut | None:
        """How the next connection ends, if it is to be cut."""

    def keep_open(self, sock: socket.socket | None, partial: bytes, owner: str) -> None:
        """Leave an old connection open for a while. `partial` was read of it already; `owner` is the session that has
        to be told that it was replaced, empty if it never logged in.
        """

    def note_cut(self) -> None:
        """A connection was cut as planned."""


class Client:
    """One device's connections. `come` once the relay listens; it then looks after itself.

    `handlers`: what to do with each type of packet. Subclasses say what happens when a connection begins, is open, and
    has ended.
    """

    def __init__(self, member: Member, stage: Stage) -> None:
        self.member = member
        self.address = member.address
        self.phase = Phase.AWAY
        self._stage = stage
        self._books = stage.books
        self._dice = random.Random(f"{member.address} {stage.dice.random()}")
        self._link: Link | None = None
        self._login: KnownPasswordLogin | None = None
        self._partial = b""
        self._timer: Timer | None = None
        self._absent = False
        self._call_id = 0
        self._calls: dict[int, tuple[str, Callable[[Any], None]]] = {}
        self._handlers: dict[type[Any], Callable[[Any], None]] = {
            Challenge: self._handle_challenge,
            Welcome: self._handle_welcome,
            Ping: self._handle_ping,
            Close: self._handle_close,
            Result: self._handle_result,
            Fault: self._handle_fault,
            Signal: self._handle_signal,
        }

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.address}: {self.phase.value}>"

    # Coming and going.

    def come(self) -> None:
        """Connect, if the relay listens; `wake` follows otherwise."""
        self._timer, self._absent = None, False
        stage = self._stage
        if self._link is not None or not stage.listening:
            return
        self.phase, self._partial = Phase.GREETING, b""
        self._calls.clear()
        self._begin()
        self._login = login = KnownPasswordLogin(self.member.user)
        self._link = link = Link(stage.loop, self._receive, self._handle_lost, self._handle_cut, stage.plan_cut())
        number = self.member.number
        link.connect(stage.address, f"127.0.{1 + number // 200}.{1 + number % 200}")
        user, device = self.member.user, self.member.device
        link.send(encode(Hello(VERSION_MIN, VERSION_MAX, user, device, MECHANISM, login.first(), "torture")))

    def come_soon(self, within_s: float = _COME_S) -> None:
        """Connect within this time."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._stage.loop.later(self._dice.uniform(0, within_s), self.come)

    def wake(self) -> None:
        """Something has changed on the stage: come back, or go on."""
        if self._link is None and self._stage.listening and (self._stage.settling or not self._absent):
            self.come_soon()
        elif self.phase is Phase.OPEN:
            self._go_on()

    def leave(self) -> None:
        """Go, without a word."""
        if self._link is not None:
            self._link.close(reset=self._dice.random() < 0.5)
            self._be_gone()

    def call(self, method: str, arguments: dict[str, Any], done: Callable[[Any], None]) -> None:
        """Call the relay; `done` gets its answer, and nothing if the connection breaks before."""
        self._call_id += 1
        self._calls[self._call_id] = method, done
        content_type, body = encode_body(arguments)
        self._send(encode(Call(self.address, RELAY, self._call_id, method, _CALL_MS, content_type, body)))

    def _begin(self) -> None:
        """A new connection begins."""

    def _opened(self, welcome: Welcome) -> None:
        """It is open."""

    def _go_on(self) -> None:
        """It is open, and something has changed on the stage."""

    def _ended(self) -> None:
        """It has ended."""

    def _failed(self, method: str, fault: Fault) -> None:
        """A call failed."""
        self._complain("failed", f"{self.address}: {method} failed: {fault.code} {fault.sentence}")

    def _be_gone(self) -> None:
        self._link, self.phase = None, Phase.AWAY
        self._ended()

    def _handle_lost(self, reason: str) -> None:
        self._be_gone()
        if self._stage.listening:
            self.come_soon()

    def _handle_cut(self, ending: Ending) -> None:
        assert self._link is not None
        self._stage.note_cut()
        if ending is Ending.LEAVE:
            owner = self.address if self.phase is Phase.OPEN else ""
            self._stage.keep_open(self._link.leave(), self._partial, owner)
        else:
            self._link.close(reset=ending is Ending.RESET)
        self._be_gone()
        self.come_soon(0.0 if ending is Ending.LEAVE else _COME_S)

    def _go_away(self) -> None:
        if self._stage.sending and self.phase is Phase.OPEN:
            self.leave()
            self._absent = True
            self._timer = self._stage.loop.later(self._around(self.member.habit.absent_s), self.come)

    def _around(self, mean_s: float) -> float:
        return self._dice.uniform(0.2, 1.8) * mean_s

    # What arrives.

    def _receive(self, data: bytes) -> None:
        data = self._partial + data
        start, end, link = 0, len(data), self._link
        handlers = self._handlers
        try:
            while end - start >= HEADER_BYTES and self._link is link:
                stop = start + HEADER_BYTES + int.from_bytes(data[start : start + HEADER_BYTES], "big")
                check_length(stop - start - HEADER_BYTES, FRAME_MAX)
                if stop > end:
                    break
                packet = decode(data[start + HEADER_BYTES : stop])
                start = stop
                handlers.get(type(packet), self._handle_strange)(packet)
        except (RemoteError, LoginError) as error:
            self._complain("failed", f"{self.address}: the relay breaks the protocol: {error}")
            self.leave()
            self.come_soon(1.0)
            return
        if self._link is link and link is not None:
            self._partial = data[start:]
            self._rest(link)

    def _rest(self, link: Link) -> None:
        """Who reads slowly reads on later."""
        habit = self.member.habit
        if habit.sip_bytes and not self._stage.settling:
            link.read_bytes = habit.sip_bytes
            link.pause()
            self._stage.loop.later(_SIP_S, link.resume)

    def _handle_challenge(self, challenge: Challenge) -> None:
        assert self._login is not None
        self._send(encode(Proof(self._login.final(challenge.data))))

    def _handle_welcome(self, welcome: Welcome) -> None:
        assert self._login is not None
        self._login.check(welcome.data)
        self.phase = Phase.OPEN
        self._opened(welcome)
        if self.member.habit.present_s:
            self._stage.loop.later(self._around(self.member.habit.present_s), self._go_away)

    def _handle_result(self, result: Result) -> None:
        _, done = self._calls.pop(result.id, (None, None))
        if done is None:
            self._complain("failed", f"{self.address}: an answer to a call it never made")
        else:
            done(decode_body(result.content_type, result.body))

    def _handle_fault(self, fault: Fault) -> None:
        method, _ = self._calls.pop(fault.id, ("a call it never made", None))
        self._failed(method, fault)

    def _handle_ping(self, ping: Ping) -> None:
        self._send(encode(Pong(ping.token)))

    def _handle_close(self, close: Close) -> None:
        if retry_after_close(close.code) is Retry.NEVER:
            self._complain("failed", f"{self.address}: CLOSE {close.code}: {close.sentence}")
        self.leave()
        self.come_soon((close.retry_ms or 100) / 1000)

    def _handle_signal(self, signal: Signal) -> None:
        """Notices of the relay's."""

    def _handle_strange(self, packet: Any) -> None:
        self._complain("failed", f"{self.address}: {type(packet).__name__} came, which nobody asked for")

    def _send(self, frames: bytes) -> None:
        if self._link is not None and frames:
            self._link.send(frames)

    def _complain(self, kind: str, what: str, conversation: str = "") -> None:
        self._books.findings.add(kind, conversation, what)
