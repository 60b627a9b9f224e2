"""Accepting connections: gevent's StreamServer on a bound socket, a greenlet per connection until it is established."""

import errno
import logging
import os
import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from gevent.server import StreamServer

from relay.transport.endpoint import Endpoint, bind, socket_file, unlink_unix

log = logging.getLogger("relay.listener")

_NO_ROOM = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}

# Running out of descriptors is reported this often at most; it would be a line per connection otherwise.
_COMPLAINT_S = 10.0


class Listener(StreamServer):  # type: ignore[misc]
    """One endpoint. `handle(sock, peer)` runs in a greenlet of its own for each connection and owns the socket.

    The relay keeps its connection cap below the descriptor limit, so that accepting cannot fail for lack of one. Where
    it fails all the same, a descriptor held in reserve takes the connection and hangs up, so that the peer is told
    and the loop does not spin (nor print a traceback each time, as gevent would).
    """

    def __init__(self, endpoint: Endpoint, unix_mode: int, handle: Callable[[socket.socket, str], None]) -> None:
        self._bound, self.endpoint = bind(endpoint, unix_mode)
        self._file = socket_file(self.endpoint)
        self._serve = handle
        self._complained_at = -_COMPLAINT_S
        self._reserve = _open_reserve()
        super().__init__(self._bound, handle=self._greet)

    def do_read(self) -> Any:
        """Accept one connection; None if there is none."""
        try:
            return super().do_read()
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            self._turn_away(error)
            return None

    def do_close(self, *args: object) -> None:
        """Does nothing: the connection outlives the greenlet that accepted it."""

    def stop(self, timeout: float | None = None) -> None:
        """Stop accepting and remove a Unix socket's file."""
        if not self.closed:
            unlink_unix(self.endpoint, self._file)
            self._release_reserve()
        super().stop(timeout)

    def _greet(self, sock: socket.socket, address: tuple[Any, ...]) -> None:
        if sock.family == socket.AF_UNIX:
            peer = f"unix:uid={_peer_uid(sock)}"
        else:
            host, port = address[:2]
            peer = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._serve(sock, peer)

    def _turn_away(self, error: OSError) -> None:
        now = time.monotonic()
        if now - self._complained_at >= _COMPLAINT_S:
            self._complained_at = now
            log.error("turning connections away on %s: %s", self.endpoint, error.strerror)
        self._release_reserve()
        with suppress(OSError):
            # The bare descriptor: a socket object of gevent's would close it later than now.
            os.close(self._bound._accept()[0])  # type: ignore[attr-defined]
        self._reserve = _open_reserve()

    def _release_reserve(self) -> None:
        """Give the descriptor back, once: its number may be somebody else's afterwards."""
        reserve, self._reserve = self._reserve, None
        if reserve is not None:
            os.close(reserve)


def _open_reserve() -> int | None:
    """A descriptor to give up when there is no other; None if there is none left even for that."""
    try:
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None


def peer_host(peer: str) -> str:
    """The part of a peer's name that caps and delays count by: the host without the port, or the local user."""
    return peer if peer.startswith("unix:") else peer.rpartition(":")[0]


def _peer_uid(sock: socket.socket) -> int:
    size = struct.calcsize("3i")
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    uid: int = struct.unpack("3i", credentials)[1]
    return uid
