"""How far this device is in each conversation: what was received, what the program is done with, what to acknowledge.

The relay delivers a conversation in order and without holes, but after a cut it begins again behind the last
acknowledgement it knows of. What makes that exactly-once for the program is here.
"""

from collections import Counter, deque
from enum import Enum


class Arrival(Enum):
    """What an offset is, measured by the cursor of its conversation."""

    NEW = "the next one"
    SEEN = "received before"
    HOLE = "something before it is missing"


class _Conversation:
    """One conversation's cursor.

    `cursor`: everything up to here arrived. `waiting`: offsets handed to the program and not acknowledged, ascending;
    `done`: those among them it is done with. `own_ahead`: own messages stored beyond the cursor. `acked`: the last
    acknowledgement sent.
    """

    __slots__ = ("acked", "cursor", "done", "own_ahead", "waiting")

    def __init__(self, cursor: int) -> None:
        self.cursor = cursor
        self.acked = cursor
        self.waiting: deque[int] = deque()
        self.done: set[int] = set()
        self.own_ahead: set[int] = set()

    def move_to(self, offset: int) -> None:
        self.cursor = offset
        while self.cursor + 1 in self.own_ahead:
            self.cursor += 1
            self.own_ahead.remove(self.cursor)

    def finish(self, offset: int) -> bool:
        """Whether `offset` was waiting."""
        if not self.waiting or offset < self.waiting[0] or offset in self.done:
            return False
        self.done.add(offset)
        while self.waiting and self.waiting[0] in self.done:
            self.done.remove(self.waiting.popleft())
        return True

    @property
    def acknowledgeable(self) -> int:
        return self.waiting[0] - 1 if self.waiting else self.cursor


class Cursors:
    """All conversations of one client's life."""

    def __init__(self) -> None:
        self._conversations: dict[str, _Conversation] = {}
        self._dirty: dict[str, None] = {}  # an ordered set: conversations with something to acknowledge
        self._unconfirmed: dict[str, int] = {}  # acknowledged, and not known to be on the relay's disk
        self._stale: Counter[tuple[str, int]] = Counter()  # handed to the program before `renew`, and not done with
        self.outstanding = 0  # messages handed to the program and not done with

    def arrive(self, name: str, offset: int, own: bool) -> Arrival:
        """A DELIVERY came. NEW moves the cursor, and the program has to be `done` with it unless it is its own.

        The first one of a conversation is NEW wherever it stands: the relay knows where the device was.
        """
        conversation = self._conversations.get(name)
        if conversation is None:
            conversation = self._conversations[name] = _Conversation(offset - 1)
        if offset <= conversation.cursor:
            # The relay does not know that we have it: an acknowledgement got lost, or is still to come.
            conversation.acked = min(conversation.acked, offset - 1)
            self._dirty[name] = None
            return Arrival.SEEN
        if offset > conversation.cursor + 1:
            return Arrival.HOLE
        if own:
            self._dirty[name] = None
        else:
            conversation.waiting.append(offset)
            self.outstanding += 1
        conversation.move_to(offset)
        return Arrival.NEW

    def stored(self, name: str, offset: int) -> None:
        """An own message got this offset. A conversation nothing arrived in yet stays unknown: there may be earlier
        messages under way to us."""
        conversation = self._conversations.get(name)
        if conversation is None or offset <= conversation.cursor:
            return
        if offset == conversation.cursor + 1:
            conversation.move_to(offset)
        else:
            conversation.own_ahead.add(offset)

    def missing_before(self, name: str, offset: int) -> tuple[int, int]:
        """The offsets that a HOLE at `offset` skips, first and last."""
        return self._conversations[name].cursor + 1, offset - 1

    def skip(self, name: str, last: int) -> bool:
        """Everything up to `last` will not come. False if it was known to be behind us."""
        conversation = self._conversations.get(name)
        if conversation is None:
            conversation = self._conversations[name] = _Conversation(0)
        if last <= conversation.cursor:
            return False
        conversation.own_ahead = {offset for offset in conversation.own_ahead if offset > last}
        conversation.move_to(last)
        self._dirty[name] = None
        return True

    def done(self, name: str, offset: int) -> bool:
        """The program is done with a message. False if it was before, or if it is one from before `renew`: the program
        gets those first."""
        if self._stale and self._stale[name, offset]:
            self._stale[name, offset] -= 1
            self.outstanding -= 1
            return False
        conversation = self._conversations.get(name)
        if conversation is None or not conversation.finish(offset):
            return False
        self.outstanding -= 1
        self._dirty[name] = None
        return True

    def renew(self) -> None:
        """The logs are others from now on: nothing was received of them, nor is anything to be acknowledged."""
        for name, conversation in self._conversations.items():
            self._stale.update((name, offset) for offset in conversation.waiting if offset not in conversation.done)
        self._conversations.clear()
        self._dirty.clear()
        self._unconfirmed.clear()

    def take_acks(self) -> list[tuple[str, int]]:
        """(conversation, delivered) for all conversations in which there is something new to acknowledge."""
        acks = []
        for name in self._dirty:
            conversation = self._conversations[name]
            delivered = conversation.acknowledgeable
            if delivered > conversation.acked:
                conversation.acked = delivered
                acks.append((name, delivered))
                self._unconfirmed[name] = delivered
        self._dirty.clear()
        return acks

    def acked(self, name: str) -> int:
        """What was acknowledged last; 0 where nothing was."""
        conversation = self._conversations.get(name)
        return 0 if conversation is None else conversation.acked

    def unconfirmed(self) -> dict[str, int]:
        """The acknowledgements sent that may not be on the relay's disk."""
        return dict(self._unconfirmed)

    def confirm(self, acks: dict[str, int]) -> None:
        """These are on the relay's disk; what was acknowledged later is not yet."""
        for name, delivered in acks.items():
            if self._unconfirmed.get(name) == delivered:
                del self._unconfirmed[name]

    def lost(self) -> None:
        """The connection broke: acknowledgements that are not confirmed have to be sent again."""
        for name in self._unconfirmed:
            self._conversations[name].acked = 0
            self._dirty[name] = None

    @property
    def dirty(self) -> bool:
        """Whether `take_acks` may have something."""
        return bool(self._dirty)
