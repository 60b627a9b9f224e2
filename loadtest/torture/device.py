"""A client: one device of one user, as its plan says. It comes, sends, receives, acknowledges, is cut off, and comes
again; every packet it gets goes into the books.
"""

import random
import socket
from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Any, NamedTuple, Protocol

from loadtest.crowd.login import KnownPasswordLogin, LoginError
from loadtest.torture.body import Seal, seal, unseal
from loadtest.torture.books import Books, Conversation, Received
from loadtest.torture.link import Cut, Ending, Link
from loadtest.torture.loop import Loop, Timer
from loadtest.torture.plan import Member
from relay.protocol.addresses import RELAY, conversation_for
from relay.protocol.codes import ErrorCode, Retry, retry_after_close
from relay.protocol.errors import RemoteError
from relay.protocol.frames import check_length
from relay.protocol.limits import FRAME_MAX, HEADER_BYTES, MESSAGE_WINDOW, VERSION_MAX, VERSION_MIN
from relay.protocol.packets import (
    NUMBERS,
    Ack,
    Call,
    Challenge,
    Close,
    Delivery,
    Error,
    Fault,
    Hello,
    Message,
    Ping,
    Pong,
    Proof,
    Result,
    Signal,
    Stored,
    StoredRun,
    Welcome,
    decode,
    encode,
    unfold,
)
from relay.protocol.payloads import decode_body, encode_body
from relay.protocol.scram import MECHANISM

# How often a message that was acknowledged already is sent once more, or its id with another content.
_REPEAT = 0.01
_FORGE = 0.002
_REPEATABLE = 50

_SIP_S = 0.2
_RETRY_S = 0.05
_COME_S = 0.05
_CALL_MS = 60_000

_MESSAGE = NUMBERS[Message]


class Phase(Enum):
    """Where a device stands."""

    AWAY = "not connected"
    GREETING = "said HELLO"
    PROVING = "sent its proof"
    OPEN = "logged in"


class Kept(NamedTuple):
    """A message as it was sent."""

    frame: bytes
    message_id: int
    sealed: Seal
    conversation: Conversation


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
    def address(self) -> tuple[str, int]: ...

    def plan_cut(self) -> Cut | None:
        """How the next connection ends, if it is to be cut."""

    def keep_open(self, sock: socket.socket | None) -> None:
        """Leave an old connection open for a while."""

    def note_cut(self) -> None:
        """A connection was cut as planned."""


class Device:
    """One client. `come` once the relay listens; it then looks after itself."""

    def __init__(self, member: Member, stage: Stage) -> None:
        self.member = member
        self.address = member.address
        self.received = Received(self.address, stage.books.sent[member.number])
        self.phase = Phase.AWAY
        self.ready = False
        self._stage = stage
        self._books = stage.books
        self._conversations = [one for one in self._books.conversations if member.user in one.users]
        self._dice = random.Random(f"{member.address} {stage.dice.random()}")
        self._link: Link | None = None
        self._login: KnownPasswordLogin | None = None
        self._partial = b""
        self._timer: Timer | None = None
        self._absent = False
        self._next_id = 1
        self._highest_acknowledged = 0
        self._unanswered: dict[int, Kept] = {}
        self._answered: deque[Kept] = deque(maxlen=_REPEATABLE)
        # Ids that were sent once more on this connection, and what must come of it.
        self._repeated: dict[int, Kept] = {}
        self._forged: set[int] = set()
        self._call_id = 0
        self._calls: dict[int, tuple[str, Callable[[Any], None]]] = {}
        self._handlers: dict[type[Any], Callable[[Any], None]] = {
            Delivery: self._handle_delivery,
            Stored: self._handle_stored,
            StoredRun: self._handle_stored_run,
            Error: self._handle_error,
            Result: self._handle_result,
            Fault: self._handle_fault,
            Ping: self._handle_ping,
            Close: self._handle_close,
            Challenge: self._handle_challenge,
            Welcome: self._handle_welcome,
            Signal: self._handle_signal,
        }

    def __repr__(self) -> str:
        return f"<Device {self.address}: {self.phase.value}, {len(self._unanswered)} unanswered>"

    @property
    def unanswered(self) -> int:
        """Messages without an answer."""
        return len(self._unanswered)

    def behind(self) -> list[tuple[Conversation, int]]:
        """The conversations of which something has not arrived, and how many messages that is."""
        if not self.member.habit.receives:
            return []
        found = []
        for conversation in self._conversations:
            line = self.received.lines.get(conversation.index)
            missing = conversation.head - line.cursor + len(line.missing) if line else conversation.head
            if missing:
                found.append((conversation, missing))
        return found

    # Coming and going.

    def come(self) -> None:
        """Connect, if the relay listens; `wake` follows otherwise."""
        self._timer, self._absent = None, False
        stage = self._stage
        if self._link is not None or not stage.listening:
            return
        self.phase, self.ready, self._partial = Phase.GREETING, False, b""
        self._calls.clear()
        self._repeated.clear()
        self._forged.clear()
        self.received.connect()
        self._login = login = KnownPasswordLogin(self.member.user)
        self._link = link = Link(stage.loop, self._receive, self._handle_lost, self._handle_cut, stage.plan_cut())
        index = self.member.number
        link.connect(stage.address, f"127.0.{1 + index // 200}.{1 + index % 200}")
        user, device = self.member.user, self.member.device
        link.send(encode(Hello(VERSION_MIN, VERSION_MAX, user, device, MECHANISM, login.first(), "torture")))

    def come_soon(self, within_s: float = _COME_S) -> None:
        """Connect within this time."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._stage.loop.later(self._dice.uniform(0, within_s), self.come)

    def wake(self) -> None:
        """Something has changed on the stage: send, come back, stay."""
        if self._link is None and self._stage.listening and (self._stage.settling or not self._absent):
            self.come_soon()
        elif self.phase is Phase.OPEN:
            self._send_more()

    def leave(self) -> None:
        """Go, without a word."""
        if self._link is not None:
            self._link.close(reset=self._dice.random() < 0.5)
            self._be_gone()

    def _be_gone(self) -> None:
        self._link, self.phase, self.ready = None, Phase.AWAY, False
        if self._stage.sending and self._dice.random() < self.member.habit.dies:
            self._die()

    def _die(self) -> None:
        """The program ends, and with it all that it has not told the relay."""
        self.received.die()
        self._unanswered.clear()
        self._answered.clear()
        self._next_id = 0

    def _handle_lost(self, reason: str) -> None:
        self._be_gone()
        if self._stage.listening:
            self.come_soon()

    def _handle_cut(self, ending: Ending) -> None:
        assert self._link is not None
        self._stage.note_cut()
        if ending is Ending.LEAVE:
            self._stage.keep_open(self._link.leave())
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
        self._partial = data[start:]
        habit = self.member.habit
        if habit.sip_bytes and self._link is link and link is not None and not self._stage.settling:
            link.read_bytes = habit.sip_bytes
            link.pause()
            self._stage.loop.later(_SIP_S, link.resume)

    def _handle_challenge(self, challenge: Challenge) -> None:
        assert self._login is not None
        self._send(encode(Proof(self._login.final(challenge.data))))
        self.phase = Phase.PROVING

    def _handle_welcome(self, welcome: Welcome) -> None:
        assert self._login is not None
        self._login.check(welcome.data)
        self.phase = Phase.OPEN
        last = welcome.last_message_id
        if last < self._highest_acknowledged:
            what = f"{self.address}: id {self._highest_acknowledged} was acknowledged, and now the last one is {last}"
            self._complain("lost", what)
        if not self._next_id:
            self._next_id = last + 1
        if self.member.habit.receives:
            self.call("messages.receive", {"start": None}, self._handle_receiving)
        else:
            self.ready = True
        self._send(b"".join([kept.frame for kept in self._unanswered.values()]))
        self._send_more()
        if self.member.habit.present_s:
            self._stage.loop.later(self._around(self.member.habit.present_s), self._go_away)

    def _handle_receiving(self, answer: Any) -> None:
        self.ready = True
        if self.received.moved:
            self._acknowledge_soon()

    def _handle_delivery(self, delivery: Delivery) -> None:
        name, offset, _, packet = delivery
        conversation = self._books.by_name.get(name)
        if conversation is None or self.member.user not in conversation.users:
            self._complain("unexpected", f"{self.address} got offset {offset} of it", name)
            return
        message = decode(packet)
        sealed = unseal(message.body) if isinstance(message, Message) else None
        if not isinstance(message, Message) or sealed is None:
            self._complain("corrupted", f"{self.address}: offset {offset}", name)
            return
        if not self._is_as_sent(message, sealed, conversation):
            what = f"{self.address}: offset {offset} is from {message.sender} to {message.to} with id {message.id}"
            self._complain("unexpected", what, name)
            return
        moved = self.received.moved
        idle = not moved
        self._books.seen(sealed, conversation, offset)
        self._books.arrived(self.received, conversation, offset)
        if idle and moved:
            self._acknowledge_soon()

    def _is_as_sent(self, message: Message, sealed: Seal, conversation: Conversation) -> bool:
        books = self._books
        if not books.known(sealed, message.id, conversation) or message.content_type:
            return False
        sender = books.addresses[sealed.device]
        return message.sender == sender and conversation_for(sender.partition("/")[0], message.to) == conversation.name

    def _handle_stored(self, stored: Stored) -> None:
        message_id, name, offset, _ = stored
        kept = self._unanswered.pop(message_id, None)
        first = kept is not None
        if kept is None:
            kept = self._repeated.pop(message_id, None)
        if kept is None or kept.conversation.name != name or message_id in self._forged:
            self._complain("unexpected", f"{self.address}: STORED for id {message_id} at offset {offset}", name)
            return
        self._books.stored(kept.sealed, kept.conversation, offset)
        if first:
            self._highest_acknowledged = max(self._highest_acknowledged, message_id)
            self._answered.append(kept)
            if self.member.habit.receives:
                self.received.stored(kept.conversation, offset)
            self._send_more()

    def _handle_stored_run(self, run: StoredRun) -> None:
        for stored in unfold(run):
            self._handle_stored(stored)

    def _handle_error(self, error: Error) -> None:
        number, message_id, code, sentence = error
        if number == _MESSAGE and code == ErrorCode.ID_REUSED and message_id in self._forged:
            self._forged.discard(message_id)
        elif number == _MESSAGE and 300 <= code < 400 and message_id is not None:
            self._stage.loop.later(_RETRY_S, lambda: self._send_again(message_id))
        else:
            self._complain("refused", f"{self.address}: id {message_id}: {code} {sentence}")
            self._unanswered.pop(message_id or 0, None)

    def _handle_result(self, result: Result) -> None:
        _, done = self._calls.pop(result.id, (None, None))
        if done is None:
            self._complain("failed", f"{self.address}: an answer to a call it never made")
        else:
            done(decode_body(result.content_type, result.body))

    def _handle_fault(self, fault: Fault) -> None:
        method, _ = self._calls.pop(fault.id, (None, None))
        self._complain("failed", f"{self.address}: {method} failed: {fault.code} {fault.sentence}")

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

    # What goes out.

    def _send(self, frames: bytes) -> None:
        if self._link is not None and frames:
            self._link.send(frames)

    def _send_again(self, message_id: int) -> None:
        kept = self._unanswered.get(message_id)
        if kept is not None and self.phase is Phase.OPEN:
            self._send(kept.frame)

    def _send_more(self) -> None:
        """Fill up what is in flight."""
        link, in_flight = self._link, self.member.habit.in_flight
        if not self._stage.sending or link is None:
            return
        while len(self._unanswered) < in_flight and self._has_room and link.has_room:
            kept = self._compose()
            self._unanswered[kept.message_id] = kept
            link.send(kept.frame)
        chance = self._dice.random()
        if chance < _REPEAT:
            self._repeat()
        elif chance < _REPEAT + _FORGE:
            self._forge()

    @property
    def _has_room(self) -> bool:
        """Whether the relay will still remember the oldest unanswered message if one more is sent."""
        return self._next_id - next(iter(self._unanswered), self._next_id) < MESSAGE_WINDOW

    def _compose(self) -> Kept:
        member, dice = self.member, self._dice
        to = member.targets[int(dice.random() * len(member.targets))]
        conversation = self._books.by_name[conversation_for(member.user, to)]
        message_id, self._next_id = self._next_id, self._next_id + 1
        sealed = Seal(member.number, self._books.sent[member.number].add(message_id, conversation.index))
        smallest, largest = member.sizes
        body = seal(*sealed, smallest + int(dice.random() * (largest - smallest)))
        return Kept(encode(Message(self.address, to, message_id, "", body)), message_id, sealed, conversation)

    def _repeat(self) -> None:
        """Send what was acknowledged once more: the answer has to be the same."""
        kept = self._earlier()
        if kept is not None:
            self._repeated[kept.message_id] = kept
            self._send(kept.frame)

    def _forge(self) -> None:
        """Use an id for something else: that has to be refused."""
        kept = self._earlier()
        if kept is not None:
            self._forged.add(kept.message_id)
            body = seal(*kept.sealed, 100)[:-1] + b"?"
            self._send(encode(Message(self.address, self.member.user, kept.message_id, "", body)))

    def _earlier(self) -> Kept | None:
        """A message that the relay remembers and that is not being repeated yet."""
        kept = self._dice.choice(self._answered) if self._answered else None
        if kept is None or kept.message_id in self._repeated or kept.message_id in self._forged:
            return None
        return kept if self._next_id - kept.message_id < MESSAGE_WINDOW else None

    def _acknowledge_soon(self) -> None:
        self._stage.loop.later(self._around(self.member.habit.ack_s), self._acknowledge)

    def _acknowledge(self) -> None:
        """Tell the relay how far we are, and now and then ask whether it has noted that."""
        if self.phase is not Phase.OPEN:
            return
        for index, offset in self.received.acknowledge():
            self._send(encode(Ack(self._books.conversations[index].name, offset, None)))
        if self._dice.random() < self.member.habit.syncs:
            told = self.received.told()
            self.call("messages.sync", {}, lambda answer: self.received.confirm(told))

    def call(self, method: str, arguments: dict[str, Any], done: Callable[[Any], None]) -> None:
        """Call the relay; `done` gets its answer, and nothing if the connection breaks before."""
        self._call_id += 1
        self._calls[self._call_id] = method, done
        content_type, body = encode_body(arguments)
        self._send(encode(Call(self.address, RELAY, self._call_id, method, _CALL_MS, content_type, body)))

    def _complain(self, kind: str, what: str, conversation: str = "") -> None:
        self._books.findings.add(kind, conversation, what)
