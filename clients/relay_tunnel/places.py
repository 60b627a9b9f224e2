"""Where a tunnel begins and ends on a machine: `PORT`, `HOST:PORT`, `[IPV6]:PORT` or `unix:PATH`."""

import asyncio
import errno
import os
import re
import socket
import stat
import struct
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from relay_client import BadAddress, RelayError

LOCAL_HOST = "127.0.0.1"

# Connections that arrive while one loop turn runs; the kernel caps it at net.core.somaxconn.
BACKLOG = 1024

# What is read of a socket at once, at most. A quarter of what a stream takes ahead.
READ_BYTES = 64 * 1024

_PORT = re.compile("[0-9]{1,5}")


class PlaceError(RelayError):
    """One cannot listen there; the text says why and what to do."""


class Place(NamedTuple):
    """A TCP address or the path of a Unix socket. Port 0 lets the system choose where one listens."""

    host: str
    port: int
    path: str = ""

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Ends(NamedTuple):
    """The two halves of a connected socket."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


def parse_place(text: str) -> Place:
    """The place that `text` names; a port alone is one of this machine only. Raises BadAddress."""
    if text.startswith("unix:"):
        if not text[5:]:
            raise BadAddress("unix: needs a path behind it, such as unix:/run/web.sock")
        return Place("", 0, text[5:])
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise BadAddress(f"{text!r}: an IPv6 address goes into brackets, such as [::1]:8080")
    if not _PORT.fullmatch(port) or int(port) > 65535 or (colon and not host):
        raise BadAddress(f"{text!r} is no place; expected PORT, HOST:PORT, [IPV6]:PORT or unix:PATH")
    return Place(host or LOCAL_HOST, int(port))


async def connect(place: Place, timeout_s: float) -> Ends:
    """Connect. Raises OSError, which a TimeoutError is, too."""
    async with asyncio.timeout(timeout_s):
        if place.path:
            return Ends(*await asyncio.open_unix_connection(place.path, limit=READ_BYTES))
        return Ends(*await asyncio.open_connection(place.host, place.port, limit=READ_BYTES))


def bind(place: Place) -> tuple[socket.socket, Place]:
    """A listening socket, and the place with its real port. Raises PlaceError.

    The file of a Unix socket is for its owner only.
    """
    try:
        return (_bind_unix(place.path), place) if place.path else _bind_tcp(place)
    except (OSError, UnicodeError) as error:
        raise PlaceError(f"cannot listen on {place}: {why(error)}") from None


def unbind(listener: socket.socket, place: Place) -> None:
    """Close the listening socket, and remove its file unless it is somebody else's by now."""
    listener.close()
    if place.path and not _answers(place.path):
        with suppress(OSError):
            Path(place.path).unlink()


def hang_up(writer: asyncio.StreamWriter) -> None:
    """End a connection at once. Over TCP the peer sees a reset, on a Unix socket an end."""
    sock = writer.get_extra_info("socket")
    if sock is not None and sock.family != socket.AF_UNIX:
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def why(error: OSError | UnicodeError) -> str:
    """What went wrong with a place, for a person."""
    remedies = {
        errno.EADDRINUSE: "another process is listening there; stop it or choose another port",
        errno.EACCES: "permission denied; ports below 1024 and foreign directories need more rights",
        errno.EADDRNOTAVAIL: "this machine does not have that address",
        errno.ENOENT: "there is no such file or directory",
        errno.ECONNREFUSED: "connection refused",
    }
    if isinstance(error, TimeoutError):
        return "no answer in time"
    number = error.errno if isinstance(error, OSError) and not isinstance(error, socket.gaierror) else None
    return remedies.get(number or 0) or getattr(error, "strerror", None) or str(error)


def _bind_tcp(place: Place) -> tuple[socket.socket, Place]:
    found = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, address = found[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener, place._replace(port=listener.getsockname()[1])


def _bind_unix(path: str) -> socket.socket:
    _clear_stale(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # The umask holds for the whole process, but only here and now.
    umask = os.umask(0o177)
    try:
        listener.bind(path)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    finally:
        os.umask(umask)
    return listener


def _clear_stale(path: str) -> None:
    """Remove the socket that a killed program left behind; anything else stays, and is in the way."""
    try:
        if stat.S_ISSOCK(Path(path).lstat().st_mode) and not _answers(path):
            Path(path).unlink()
    except FileNotFoundError:
        return


def _answers(path: str) -> bool:
    """Whether a process may be listening on the Unix socket. Does not wait: one whose queue is full listens, too."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            return True
    return True
