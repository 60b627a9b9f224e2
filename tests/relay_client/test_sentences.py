"""Each trouble with a connection is told with what to check."""

import errno
import socket

import pytest
from relay_client.sentences import why_lost, why_unreachable


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (TimeoutError("timed out"), "within 5 s.*firewalls"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), "check that the relay runs"),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "cannot be resolved.*spelling"),
        (FileNotFoundError(errno.ENOENT, "No such file"), "no such socket"),
        (PermissionError(errno.EACCES, "Permission denied"), "permissions"),
        (OSError(errno.EMFILE, "Too many open files"), "ulimit -n"),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), "Network is unreachable; check"),
        (OSError("AF_UNIX path too long"), "path too long"),
    ],
)
def test_a_relay_that_cannot_be_reached(error: OSError, hint: str) -> None:
    import re

    assert re.search(hint, why_unreachable(error, 5))


def test_a_connection_that_broke() -> None:
    assert why_lost(ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")) == (
        "the connection broke (Connection reset by peer)"
    )
