"""What happens to a client unasked. `on_event` gets those that are not messages, signals or calls."""

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from relay.protocol import packets
from relay.protocol.payloads import Value
from relay_client.answers import Presence
from relay_client.errors import RelayError
from relay_client.received import Call

if TYPE_CHECKING:
    from relay_client.core.streams import StreamEnd

log = logging.getLogger("relay_client")


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


class StreamOffered(NamedTuple):
    """Somebody opens a stream to a service of ours. The shell hands it to the service's handler."""

    end: "StreamEnd"


class GapNoticed(NamedTuple):
    """Messages `first` to `last` of the conversation will not come. `told`: the relay said so (retention)."""

    conversation: str
    first: int
    last: int
    told: bool


class Notice(NamedTuple):
    """The relay tells of something that this version has no type for: `event` names it, `details` are its own. Programs
    ignore those they do not know."""

    event: str
    details: Mapping[str, Value]


class SignalsDropped(NamedTuple):
    """So many signals to us did not fit into the relay's queue, because we did not read fast enough."""

    signals: int


class RoomChanged(NamedTuple):
    """Something happened in a room of ours, or to us in one.

    `what`: `joined`, `left`, `invited`, `removed`, `banned`, `unbanned`, `role`: to `user`, who is `role` now (None:
    outside); or `changed`: the title, or who may enter. `by`: who did it.
    """

    room: str
    what: str
    user: str
    by: str
    role: str | None


class Receipt(NamedTuple):
    """How far somebody is in a conversation, after `watch_receipts` or while a message is followed.

    `delivered`: everything up to this offset is on one of the user's devices; `devices`: the same by device, for those
    that moved. `read`: so far the user has read; None if nothing is new about that.
    """

    conversation: str
    user: str
    delivered: int
    read: int | None
    devices: Mapping[str, int]


class Complaint(NamedTuple):
    """The relay refused a packet that nobody waits for (a signal, an acknowledgement, an answer)."""

    code: int
    sentence: str


Event = (
    Connected
    | Disconnected
    | Ended
    | MessageReceived
    | SignalReceived
    | CallReceived
    | StreamOffered
    | GapNoticed
    | SignalsDropped
    | RoomChanged
    | Presence
    | Receipt
    | Notice
    | Complaint
)


def typed_event(event: str, details: Mapping[str, Any]) -> Event:
    """What the relay tells, as the type for it; a Notice if this version knows no such event, or not its form."""
    try:
        return _TYPED[event](details)
    except (KeyError, TypeError, ValueError, OverflowError):
        return Notice(event, details)


_TYPED: Mapping[str, Callable[[Mapping[str, Any]], Event]] = {
    "dropped": lambda told: SignalsDropped(told["signals"]),
    "room": lambda told: RoomChanged(told["room"], told["what"], told["user"], told["by"], told.get("role")),
    "presence": Presence.from_row,
    "receipt": lambda told: Receipt(
        told["conversation"], told["user"], told["delivered"], told.get("read"), dict(told["devices"])
    ),
}


def log_event(session: str, event: Event) -> None:
    """Nothing that goes wrong between client and relay is silent."""
    match event:
        case Disconnected(reason, retry_s):
            log.warning("%s: %s; connecting again in %.1f s", session, reason, retry_s)
        case GapNoticed(conversation, first, last):
            log.warning("%s: messages %d to %d of %s no longer exist", session, first, last, conversation)
        case SignalsDropped(count):
            log.warning("%s: %d signals were dropped, because they were not read fast enough", session, count)
        case Complaint(code, sentence):
            log.warning("%s: the relay refused something: %s (%d)", session, sentence, code)
        case _:
            log.debug("%s: %s", session, event)
