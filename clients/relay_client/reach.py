"""Why a relay cannot be reached, in words for a person; the same for both shells."""

import errno
import socket


def why_unreachable(error: OSError, timeout_s: float) -> str:
    """A failure to connect a socket, and what to check."""
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
