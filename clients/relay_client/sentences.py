"""What both shells say when they waited in vain, or could not reach the relay: what happened, and what to check."""

import errno
import socket
import ssl

from relay_client.core import Core, Phase
from relay_client.errors import ConnectFailed, TimedOut
from relay_client.tls import UntrustedError, explain

# How much may wait to be sent before a program that sends signals is made to wait, too.
UNSENT_MAX_BYTES = 1024 * 1024


def not_stored(core: Core, to: str) -> TimedOut:
    """A message was not acknowledged in time."""
    return TimedOut(
        f"the message to {to} was not acknowledged in time ({_state(core)}); it may be stored "
        "already, and stays under way while this client is open"
    )


def not_reached(core: Core, to: str, wanted: str) -> TimedOut:
    """A stored message did not get further in time."""
    where = "" if core.phase is Phase.OPEN else f"; {_state(core)}"
    return TimedOut(f"the message to {to} was not {wanted} in time; it is stored, and waits on the relay{where}")


def no_room(core: Core) -> TimedOut:
    """No further message may be under way."""
    if not core.was_open:
        return TimedOut(f"the message was not sent: the client has not been connected yet ({core.reason})")
    return TimedOut(f"{core.under_way} messages are under way, as many as may be at once ({_state(core)})")


def not_agreed(core: Core) -> TimedOut:
    """The relay has not answered to a wish that the client keeps: to receive messages, to serve a method."""
    return TimedOut(f"the relay has not agreed in time ({_state(core)}); the client goes on asking")


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


def why_unreachable(error: OSError, timeout_s: float) -> str:
    """A failure to connect a socket, and what to check."""
    if isinstance(error, UntrustedError):
        return str(error)
    if isinstance(error, ssl.SSLError):
        return explain(error)
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout_s:g} s; check the address, the network and firewalls"
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens there; check that the relay runs and that the port is right"
    if isinstance(error, socket.gaierror):
        return f"the host name cannot be resolved ({error.strerror}); check its spelling and the network"
    if isinstance(error, FileNotFoundError):
        return "there is no such socket; check that the relay runs and that the path is right"
    if isinstance(error, PermissionError):
        return "this user may not open it; check the socket's permissions"
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return "this process has no file descriptors left; raise the limit (ulimit -n) or close some"
    return f"{error.strerror or error}; check the address and the network"


def why_lost(error: OSError) -> str:
    """A failure of a connected socket."""
    return f"the connection broke ({error.strerror or error})"


LOST_BY_END = "the relay, or something on the way, ended the connection without a word"
