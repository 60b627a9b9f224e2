"""What the core tells its shell without being asked."""

from typing import NamedTuple

from relay.protocol import packets
from relay_client.errors import RelayError
from relay_client.received import Call


class Connected(NamedTuple):
    """Logged in, as `session`. `again`: not for the first time; everything is being taken up where it was."""

    session: str
    again: bool


class Disconnected(NamedTuple):
    """There is no connection, for this reason; the next attempt is `retry_s` seconds from now."""

    reason: str
    retry_s: float


class Ended(NamedTuple):
    """There will be no further attempt."""

    error: RelayError


class MessageReceived(NamedTuple):
    """A message of somebody else, for the first time. The shell calls `Core.done` when it is dealt with."""

    conversation: str
    offset: int
    time_ms: int
    packet: packets.Message


class SignalReceived(NamedTuple):
    """A signal."""

    packet: packets.Signal


class CallReceived(NamedTuple):
    """Somebody calls. The shell calls `Core.answer` or `Core.refuse`, once."""

    call: Call


class GapNoticed(NamedTuple):
    """Messages `first` to `last` of the conversation will not come. `told`: the relay said so (retention)."""

    conversation: str
    first: int
    last: int
    told: bool


class Complaint(NamedTuple):
    """The relay refused a packet that nobody waits for (a signal, an acknowledgement, an answer)."""

    code: int
    sentence: str


Event = Connected | Disconnected | Ended | MessageReceived | SignalReceived | CallReceived | GapNoticed | Complaint
