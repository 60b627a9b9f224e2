"""What happens to a client unasked. `on_event` gets those that are not messages, signals or calls."""

import logging
from collections.abc import Mapping
from typing import NamedTuple

from relay.protocol import packets
from relay.protocol.payloads import Value
from relay_client.errors import RelayError
from relay_client.received import Call

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


class GapNoticed(NamedTuple):
    """Messages `first` to `last` of the conversation will not come. `told`: the relay said so (retention)."""

    conversation: str
    first: int
    last: int
    told: bool


class Notice(NamedTuple):
    """The relay tells of something: `event` names it (`dropped`: signals we did not read in time), `details` are its
    own. Programs ignore those they do not know."""

    event: str
    details: Mapping[str, Value]


class Complaint(NamedTuple):
    """The relay refused a packet that nobody waits for (a signal, an acknowledgement, an answer)."""

    code: int
    sentence: str


Event = (
    Connected | Disconnected | Ended | MessageReceived | SignalReceived | CallReceived | GapNoticed | Notice | Complaint
)


def log_event(session: str, event: Event) -> None:
    """Nothing that goes wrong between client and relay is silent."""
    match event:
        case Disconnected(reason, retry_s):
            log.warning("%s: %s; connecting again in %.1f s", session, reason, retry_s)
        case GapNoticed(conversation, first, last):
            log.warning("%s: messages %d to %d of %s no longer exist", session, first, last, conversation)
        case Notice("dropped", details):
            count = details.get("signals")
            log.warning("%s: %s signals were dropped, because they were not read fast enough", session, count)
        case Complaint(code, sentence):
            log.warning("%s: the relay refused something: %s (%d)", session, sentence, code)
        case _:
            log.debug("%s: %s", session, event)
