"""A client that sends and receives as its plan says, and enters everything it is told into the books."""

from collections import deque
from typing import Any, NamedTuple

from loadtest.torture.body import Seal, seal, unseal
from loadtest.torture.books import Conversation, Received
from loadtest.torture.client import Client, Phase, Stage
from loadtest.torture.plan import Member
from relay.protocol.addresses import conversation_for
from relay.protocol.codes import ErrorCode
from relay.protocol.limits import MESSAGE_WINDOW
from relay.protocol.packets import (
    NUMBERS,
    Ack,
    Delivery,
    Error,
    Message,
    Stored,
    StoredRun,
    Welcome,
    decode,
    encode,
    unfold,
)

# How often a message that was acknowledged already is sent once more, or its id with another content.
_REPEAT = 0.01
_FORGE = 0.002
_REPEATABLE = 50

_RETRY_S = 0.05

_MESSAGE = NUMBERS[Message]


class Kept(NamedTuple):
    """A message as it was sent."""

    frame: bytes
    message_id: int
    sealed: Seal
    conversation: Conversation


class Device(Client):
    """One client. `ready`: it receives, if it is one that does."""

    def __init__(self, member: Member, stage: Stage) -> None:
        super().__init__(member, stage)
        self.received = Received(self.address, stage.books.sent[member.number])
        self.ready = False
        self._conversations = [one for one in self._books.conversations if member.user in one.users]
        self._next_id = 1
        self._highest_acknowledged = 0
        self._unanswered: dict[int, Kept] = {}
        self._answered: deque[Kept] = deque(maxlen=_REPEATABLE)
        # Ids that were sent once more on this connection, and what must come of it.
        self._repeated: dict[int, Kept] = {}
        self._forged: set[int] = set()
        self._handlers |= {
            Delivery: self._handle_delivery,
            Stored: self._handle_stored,
            StoredRun: self._handle_stored_run,
            Error: self._handle_error,
        }

    @property
    def unanswered(self) -> int:
        """Messages without an answer."""
        return len(self._unanswered)

    @property
    def settled(self) -> bool:
        """Whether nothing is under way any more, as far as this device can tell."""
        return self.ready and not self._unanswered and not self.behind()

    def behind(self) -> list[tuple[Conversation, int]]:
        """The conversations of which something has not arrived, and how many messages that is."""
        if not self.member.habit.receives:
            return []
        found = []
        for conversation in self._conversations:
            line = self.received.lines.get(conversation.index)
            missing = conversation.head - line.due + len(line.missing) if line else conversation.head
            if missing:
                found.append((conversation, missing))
        return found

    def _begin(self) -> None:
        self.ready = False
        self._repeated.clear()
        self._forged.clear()
        self.received.connect()

    def _opened(self, welcome: Welcome) -> None:
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

    def _go_on(self) -> None:
        self._send_more()

    def _ended(self) -> None:
        self.ready = False
        if self._stage.sending and self._dice.random() < self.member.habit.dies:
            self._die()

    def _die(self) -> None:
        """The program ends, and with it all that it has not told the relay."""
        self.received.die()
        self._unanswered.clear()
        self._answered.clear()
        self._next_id = 0

    # What arrives.

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

    # What goes out.

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
