"""The messages this device has under way: sent, or to be sent, and not known to be on the relay's disk.

A message keeps its id until the relay answers for it, over any number of connections: the relay knows a repetition by
it. So nothing here is ever dropped except by an answer.
"""

from relay.protocol import packets
from relay.protocol.limits import MESSAGE_WINDOW
from relay_client.core.pending import Pending
from relay_client.errors import RelayError
from relay_client.received import Stored


class Outbox:
    """Messages in the order of their ids, which lie within MESSAGE_WINDOW."""

    def __init__(self) -> None:
        self._under_way: dict[int, tuple[packets.Message, Pending[Stored]]] = {}
        self._next_id = 1

    def __len__(self) -> int:
        return len(self._under_way)

    @property
    def has_room(self) -> bool:
        """Whether one more may be added: the relay knows a repetition among the latest MESSAGE_WINDOW ids only, and
        answers may come in any order, so what counts is how far back the oldest one under way is."""
        return self._next_id - next(iter(self._under_way), self._next_id) < MESSAGE_WINDOW

    def welcome(self, last_message_id: int) -> None:
        """The relay has stored ids up to this one from our device."""
        self._next_id = max(self._next_id, last_message_id + 1)

    def add(self, sender: str, to: str, content_type: str, body: bytes) -> tuple[packets.Message, Pending[Stored]]:
        """The packet to send, now and after every reconnect, and its outcome to come. Only while it `has_room`."""
        assert self.has_room
        packet = packets.Message(sender, to, self._next_id, content_type, body)
        pending: Pending[Stored] = Pending(packet.id)
        self._under_way[packet.id] = packet, pending
        self._next_id += 1
        return packet, pending

    def packets(self) -> list[packets.Message]:
        """Everything under way, in the order it was added: what to send after a reconnect."""
        return [packet for packet, _ in self._under_way.values()]

    def take(self, message_id: int) -> Pending[Stored] | None:
        """The relay answered for this id; None if nothing of that id is under way."""
        entry = self._under_way.pop(message_id, None)
        return entry[1] if entry else None

    def fail_all(self, error: RelayError) -> None:
        """There will be no more answers."""
        entries, self._under_way = self._under_way, {}
        for _, pending in entries.values():
            pending.fail(error)
