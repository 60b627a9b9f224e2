"""What a shell reports when it waited in vain; the same for both."""

from relay_client.core import Core, Phase
from relay_client.errors import ConnectFailed, TimedOut

# How much may wait to be sent before a program that sends signals is made to wait, too.
UNSENT_MAX_BYTES = 1024 * 1024


def not_stored(core: Core, to: str) -> TimedOut:
    """A message was not acknowledged in time."""
    return TimedOut(
        f"the message to {to} was not stored in time ({_state(core)}); it stays under way while this client is open"
    )


def no_room(core: Core) -> TimedOut:
    """No further message may be under way."""
    return TimedOut(f"{core.under_way} messages are under way, as many as may be at once ({_state(core)})")


def not_taken(core: Core) -> TimedOut:
    """The socket takes no more bytes."""
    return TimedOut(f"{UNSENT_MAX_BYTES} bytes are waiting to be sent ({_state(core)}); send more slowly")


def not_connected(core: Core, place: str) -> ConnectFailed:
    """The first connection took too long."""
    return ConnectFailed(f"cannot connect to the relay at {place} in time: {core.reason}")


def left_unstored(core: Core, count: int) -> TimedOut:
    """The client was closed while messages were under way."""
    return TimedOut(
        f"{count} messages were not stored in time ({_state(core)}); it is unknown whether they will be: "
        "send them again if a repetition does no harm"
    )


def _state(core: Core) -> str:
    return "the relay has not answered yet" if core.phase is Phase.OPEN else f"there is no connection: {core.reason}"
