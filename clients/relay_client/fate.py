"""What became of a message: under way, stored, delivered, read, or refused."""

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

from relay.protocol.addresses import conversation_for
from relay_client.errors import RelayError
from relay_client.received import Stored


class FateState(StrEnum):
    """How far a message is. Each includes those before it, but for REFUSED."""

    UNDER_WAY = "under way"
    STORED = "stored"
    DELIVERED = "delivered"
    READ = "read"
    REFUSED = "refused"


class Fate(NamedTuple):
    """A message as it stands now.

    `delivered_to`: the devices of others that have it (`bob/phone`), as far as the relay has told. `read_by`: those who
    have read it. `error`: why it was refused (a Refused, with code and sentence), or what ended the client before
    the relay answered.
    """

    state: FateState
    stored: Stored | None = None
    delivered_to: tuple[str, ...] = ()
    read_by: tuple[str, ...] = ()
    error: RelayError | None = None


class Progress:
    """How far one user is in a conversation: by device, and what she has read."""

    __slots__ = ("devices", "read")

    def __init__(self) -> None:
        self.devices: dict[str, int] = {}
        self.read = 0

    def move(self, devices: Mapping[str, int], read: int) -> bool:
        """Take over what is further than before. Whether anything is."""
        further = {name: at for name, at in devices.items() if at > self.devices.get(name, -1)}
        self.devices.update(further)
        before, self.read = self.read, max(self.read, read)
        return bool(further) or self.read > before


def fate_of(stored: Stored, sender: str, people: Mapping[str, Progress]) -> Fate:
    """The fate of a message that `sender` stored, by how far everybody is. In a note to oneself the others are one's
    own other devices."""
    user = sender.partition("/")[0]
    own_notes = stored.conversation == conversation_for(user, user)
    others = {name: progress for name, progress in people.items() if name != user or own_notes}
    delivered_to = sorted(
        address
        for name, progress in others.items()
        for device, at in progress.devices.items()
        if at >= stored.offset and (address := f"{name}/{device}") != sender
    )
    read_by = sorted(name for name, progress in others.items() if progress.read >= stored.offset)
    reached = FateState.DELIVERED if delivered_to else FateState.STORED
    return Fate(FateState.READ if read_by else reached, stored, tuple(delivered_to), tuple(read_by))
