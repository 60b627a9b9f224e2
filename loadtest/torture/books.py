"""The ledgers: what was acknowledged where, and what arrived on which device. Each entry is judged as it is made.

Every message is known by its key: the number of the device that sent it and the message's number among those of that
device. One array per conversation maps offsets to keys, one per device maps numbers to places, so that a million
messages take some 20 MB.
"""

from array import array
from collections.abc import Iterable, Iterator

from loadtest.torture.body import Seal
from loadtest.torture.findings import Findings

_SERIAL_BITS = 40

# Numbers of conversations and offsets are kept together as one integer.
_OFFSET_BITS = 40


# Higher than any offset.
_UNKNOWN = 1 << _OFFSET_BITS


class Conversation:
    """A conversation's log as everybody saw it: at each offset the key of its message, 0 while nobody saw any."""

    def __init__(self, index: int, name: str, users: frozenset[str]) -> None:
        self.index = index
        self.name = name
        self.users = users
        self._keys = array("Q")

    @property
    def head(self) -> int:
        """The highest offset that anybody saw."""
        return len(self._keys)

    def key_at(self, offset: int) -> int:
        """The key of the message at an offset; 0 if nobody saw it."""
        return self._keys[offset - 1] if 0 < offset <= len(self._keys) else 0

    def put(self, offset: int, key: int) -> bool:
        """Note what stands at an offset (1 or higher). False if something else was seen there."""
        keys = self._keys
        if offset > len(keys):
            keys.extend([0] * (offset - len(keys)))
        known = keys[offset - 1]
        if not known:
            keys[offset - 1] = key
        return known in (0, key)

    def holes(self) -> Iterator[int]:
        """Offsets below the head that nobody ever saw."""
        return (offset for offset, key in enumerate(self._keys, 1) if not key)


class Sent:
    """What one device sent: for each serial its message id, where it belongs, where it was stored, and whether that
    was acknowledged.
    """

    def __init__(self, device: int) -> None:
        self.device = device
        self.ids = array("Q", [0])
        self.conversations = array("H", [0])
        self._places = array("Q", [0])
        self._acknowledged = bytearray(1)

    def __len__(self) -> int:
        return len(self.ids) - 1

    def add(self, message_id: int, conversation: int) -> int:
        """A new message; returns its serial."""
        self.ids.append(message_id)
        self.conversations.append(conversation)
        self._places.append(0)
        self._acknowledged.append(0)
        return len(self)

    def place(self, serial: int, conversation: int, offset: int) -> bool:
        """Note where a message stands. False if it stands somewhere else already."""
        place = conversation << _OFFSET_BITS | offset
        known = self._places[serial]
        if not known:
            self._places[serial] = place
        return known in (0, place)

    def acknowledge(self, serial: int) -> None:
        """Its sender was told that it is stored."""
        self._acknowledged[serial] = 1

    def is_acknowledged(self, serial: int) -> bool:
        """Whether its sender was told."""
        return bool(self._acknowledged[serial])

    def acknowledged(self) -> int:
        """How many of them were acknowledged."""
        return self._acknowledged.count(1)


class Line:
    """One device in one conversation.

    `cursor`: it has everything up to here, but for `missing`. `at` and `told`: the last offset that came, and the last
    acknowledged, on this connection, 0 at its beginning. `asked`: the highest offset ever acknowledged; `confirmed`:
    the highest that the relay confirmed, and `settled` that before this connection.
    """

    __slots__ = ("asked", "at", "confirmed", "cursor", "missing", "settled", "told")

    def __init__(self) -> None:
        self.cursor = 0
        self.at = 0
        self.told = 0
        self.asked = 0
        self.confirmed = 0
        self.settled = 0
        self.missing: set[int] = set()

    @property
    def due(self) -> int:
        """The offset up to which nothing more has to come, but for what is missing."""
        return max(self.cursor, self.asked)

    @property
    def processed(self) -> int:
        """The offset up to which nothing is missing."""
        return min(self.missing) - 1 if self.missing else self.cursor


class Books:
    """All ledgers of a run."""

    def __init__(self, conversations: dict[str, frozenset[str]], addresses: Iterable[str], findings: Findings) -> None:
        """`addresses`: of all devices, by number."""
        self.findings = findings
        self.conversations = [
            Conversation(index, name, users) for index, (name, users) in enumerate(sorted(conversations.items()))
        ]
        self.by_name = {conversation.name: conversation for conversation in self.conversations}
        self.addresses = list(addresses)
        self.sent = [Sent(device) for device in range(len(self.addresses))]
        self.acknowledged = 0
        self.delivered = 0

    def stored(self, seal: Seal, conversation: Conversation, offset: int) -> None:
        """STORED came for a message."""
        sent = self.sent[seal.device]
        self._locate(seal, conversation, offset)
        if not sent.is_acknowledged(seal.serial):
            sent.acknowledge(seal.serial)
            self.acknowledged += 1

    def known(self, seal: Seal, message_id: int, conversation: Conversation) -> bool:
        """Whether somebody sent this message, under this id, to this conversation."""
        sent = self.sent[seal.device] if seal.device < len(self.sent) else None
        if sent is None or not 0 < seal.serial <= len(sent):
            return False
        return sent.ids[seal.serial] == message_id and sent.conversations[seal.serial] == conversation.index

    def seen(self, seal: Seal, conversation: Conversation, offset: int) -> None:
        """A known message was found at this offset."""
        self._locate(seal, conversation, offset)

    def arrived(self, book: "Received", conversation: Conversation, offset: int) -> None:
        """A DELIVERY of a known message came to a device."""
        self.delivered += 1
        problem = book.take(conversation, offset)
        if problem is not None:
            kind, what, count = problem
            self.findings.add(kind, conversation.name, f"{book.address}: {what}", count)

    def _locate(self, seal: Seal, conversation: Conversation, offset: int) -> None:
        address, key = self.addresses[seal.device], key_of(seal)
        if not conversation.put(offset, key):
            other = seal_of(conversation.key_at(offset))
            what = f"offset {offset} holds message {seal.serial} of {address}, and held {other.serial} of "
            self.findings.add("unexpected", conversation.name, what + self.addresses[other.device])
        if not self.sent[seal.device].place(seal.serial, conversation.index, offset):
            what = f"message {seal.serial} of {address} stands at offset {offset}, and somewhere else, too"
            self.findings.add("duplicated", conversation.name, what)


class Received:
    """What arrived on one device, and what it acknowledged. `sent` is what the same device sent."""

    def __init__(self, address: str, sent: Sent) -> None:
        self.address = address
        self.lines: dict[int, Line] = {}
        self.again = 0
        # Conversations with something to acknowledge.
        self.moved: set[int] = set()
        self._sent = sent

    def line(self, conversation: Conversation) -> Line:
        """Where the device is in a conversation."""
        line = self.lines.get(conversation.index)
        if line is None:
            line = self.lines[conversation.index] = Line()
        return line

    def connect(self) -> None:
        """A new connection begins."""
        for index, line in self.lines.items():
            line.at = line.told = 0
            line.settled = line.confirmed
            if line.cursor > line.confirmed:
                self.moved.add(index)

    def die(self) -> None:
        """The program ended and begins anew: what it did not acknowledge it does not know any more."""
        self.moved.clear()
        for line in self.lines.values():
            if line.asked != _UNKNOWN:
                line.cursor = line.asked
            line.missing = {offset for offset in line.missing if offset <= line.asked}

    def begin(self, conversation: Conversation, known: int) -> None:
        """The user is about to become a member: everything up to `known` was stored before."""
        line = self.lines[conversation.index] = Line()
        line.cursor = line.settled = line.confirmed = known
        line.asked = _UNKNOWN

    def begun(self, conversation: Conversation, head: int, certain: bool) -> None:
        """The user is a member now, and `head` was the last offset when that was said; `certain`: and when it began."""
        line = self.line(conversation)
        if certain and line.cursor < head:
            line.cursor = line.settled = line.confirmed = head
        line.asked = max(head, line.cursor)

    def end(self, conversation: Conversation) -> None:
        """The user is no member any more."""
        self.lines.pop(conversation.index, None)
        self.moved.discard(conversation.index)

    def take(self, conversation: Conversation, offset: int) -> tuple[str, str, int] | None:
        """A DELIVERY. Returns what is wrong with it: class, sentence and how often."""
        line = self.line(conversation)
        problem = None
        if not line.at and offset <= line.settled:
            problem = "duplicated", f"offset {offset} came again, though {line.settled} was confirmed", 1
        elif line.at and offset <= line.at:
            problem = "duplicated", f"offset {offset} came again after {line.at} on the same connection", 1
        else:
            # Where the relay may begin: behind what was acknowledged, whether it got the acknowledgement or not.
            before = line.at or line.asked
            skipped = [] if offset <= before + 1 else self._unaccounted(conversation, before + 1, offset)
            if skipped:
                line.missing.update(skipped)
                problem = "lost", f"offset {offset} came after {before}", 0
        line.at = max(line.at, offset)
        self._process(conversation, line, offset)
        if offset in line.missing:
            line.missing.remove(offset)
            return problem or ("reordered", f"offset {offset} came late", 1)
        return problem

    def stored(self, conversation: Conversation, offset: int) -> None:
        """An own message was acknowledged: it is not going to come on this connection."""
        line = self.line(conversation)
        if offset == line.cursor + 1:
            self._process(conversation, line, offset)

    def acknowledge(self) -> list[tuple[int, int]]:
        """What to acknowledge now: conversations, and up to which offset."""
        acks = []
        for index in self.moved:
            line = self.lines[index]
            if line.asked == _UNKNOWN:
                continue
            if line.processed > max(line.told, line.confirmed):
                line.told = line.processed
                line.asked = max(line.asked, line.told)
                acks.append((index, line.told))
        self.moved.clear()
        return acks

    def told(self) -> dict[int, int]:
        """All that was acknowledged on this connection."""
        return {index: line.told for index, line in self.lines.items() if line.told}

    def confirm(self, acks: dict[int, int]) -> None:
        """The relay has these on its disk."""
        for index, offset in acks.items():
            if line := self.lines.get(index):
                line.confirmed = max(line.confirmed, offset)

    def _process(self, conversation: Conversation, line: Line, offset: int) -> None:
        self.moved.add(conversation.index)
        if offset <= line.cursor:
            self.again += 1
            return
        line.cursor = offset
        while self._is_own(conversation.key_at(line.cursor + 1)):
            line.cursor += 1

    def _unaccounted(self, conversation: Conversation, first: int, end: int) -> list[int]:
        """The offsets in this range that are not own messages, which need not come."""
        return [offset for offset in range(first, end) if not self._is_own(conversation.key_at(offset))]

    def _is_own(self, key: int) -> bool:
        return key >> _SERIAL_BITS == self._sent.device + 1 and self._sent.is_acknowledged(seal_of(key).serial)


def key_of(seal: Seal) -> int:
    """A message's key: one integer, never 0."""
    return (seal.device + 1) << _SERIAL_BITS | seal.serial


def seal_of(key: int) -> Seal:
    """The opposite of `key_of`."""
    return Seal((key >> _SERIAL_BITS) - 1, key & ((1 << _SERIAL_BITS) - 1))
