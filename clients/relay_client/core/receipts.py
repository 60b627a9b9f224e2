"""How far others are, in the conversations in which the program follows a message.

The relay tells what moves (`receipt` events), which are signals and may be dropped, and how it stands (`receipts.of`),
which is asked when following begins, after a reconnect and after a drop. Cursors only move forwards, so both are taken
over in any order.
"""

from collections.abc import Iterable, Mapping

from relay_client.answers import DeviceCursor
from relay_client.events import Receipt
from relay_client.fate import Progress

# Conversations followed at the same time; beyond that the longest followed one is let go.
FOLLOWED_MAX = 1000


class Receipts:
    """Conversations that are followed, with how far everybody in them is."""

    def __init__(self) -> None:
        self._followed: dict[str, dict[str, Progress]] = {}

    @property
    def followed(self) -> list[str]:
        """The names of the conversations."""
        return list(self._followed)

    def follow(self, conversation: str) -> bool:
        """Keep what is told about this one. False if it was followed before."""
        known = conversation in self._followed
        if not known and len(self._followed) >= FOLLOWED_MAX:
            del self._followed[next(iter(self._followed))]
        self._followed.setdefault(conversation, {})
        return not known

    def forget(self, conversation: str) -> None:
        """It cannot be followed any more."""
        self._followed.pop(conversation, None)

    def renew(self) -> None:
        """What is known of offsets is void."""
        self._followed = {conversation: {} for conversation in self._followed}

    def people(self, conversation: str) -> Mapping[str, Progress]:
        """How far each user is, as far as it was told."""
        return self._followed.get(conversation, {})

    def move(self, receipt: Receipt) -> bool:
        """Take over what the relay tells. Whether it is news; of conversations that are not followed it always is."""
        people = self._followed.get(receipt.conversation)
        if people is None:
            return True
        return people.setdefault(receipt.user, Progress()).move(receipt.devices, receipt.read or 0)

    def learn(self, conversation: str, cursors: Iterable[DeviceCursor]) -> list[Receipt]:
        """Take over how it stands; as receipts, what is news in it."""
        devices: dict[str, dict[str, int]] = {}
        read: dict[str, int] = {}
        for cursor in cursors:
            devices.setdefault(cursor.user, {})[cursor.device] = cursor.delivered
            read[cursor.user] = max(read.get(cursor.user, 0), cursor.read)
        receipts = (
            Receipt(conversation, user, max(moved.values()), read[user] or None, moved)
            for user, moved in devices.items()
        )
        return [receipt for receipt in receipts if self.move(receipt)]
