"""Where the relay listens: `host:port`, `[IPv6]:port` or `unix:PATH`, from text to a bound socket and back."""

import errno
import os
import re
import socket
import stat
from pathlib import Path
from typing import NamedTuple

_PORT = re.compile("[0-9]{1,5}")

# Connections that arrive while one loop turn runs; the kernel caps it at net.core.somaxconn.
BACKLOG = 1024


class EndpointError(Exception):
    """The relay cannot listen there; the text says why and what to do."""


class Endpoint(NamedTuple):
    """A place to listen. Exactly one of `host` and `path` is set; port 0 lets the system choose."""

    host: str | None
    port: int
    path: Path | None

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in (self.host or "") else f"{self.host}:{self.port}"


def parse_endpoint(text: str) -> Endpoint:
    """The endpoint that `text` names. Raises EndpointError with the expected form."""
    if text.startswith("unix:"):
        if not text[5:]:
            raise EndpointError("unix: needs a path behind it, such as unix:/run/relay.sock")
        return Endpoint(None, 0, Path(text[5:]))
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise EndpointError(f"{text!r}: an IPv6 address goes into brackets, such as [::1]:7450")
    if not colon or not host or not _PORT.fullmatch(port) or int(port) > 65535:
        raise EndpointError(f"{text!r} is not an address to listen on; expected HOST:PORT, [IPV6]:PORT or unix:PATH")
    return Endpoint(host, int(port), None)


def bind(endpoint: Endpoint, unix_mode: int) -> tuple[socket.socket, Endpoint]:
    """A listening, non-blocking socket, and the endpoint with its real port. Raises EndpointError."""
    if endpoint.path is not None:
        return _bind_unix(endpoint.path, unix_mode), endpoint
    try:
        found = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise EndpointError(f"cannot listen on {endpoint}: the host name does not resolve ({why})") from None
    family, kind, protocol, _, address = found[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # What is accepted inherits it, which spares a call for each connection.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise EndpointError(f"cannot listen on {endpoint}: {_why(error)}") from None
    listener.setblocking(False)
    return listener, endpoint._replace(port=listener.getsockname()[1])


def socket_file(endpoint: Endpoint) -> tuple[int, int] | None:
    """Which file the path of a Unix socket leads to now: device and inode. None if there is none."""
    if endpoint.path is None:
        return None
    try:
        found = endpoint.path.lstat()
    except OSError:
        return None
    return (found.st_dev, found.st_ino)


def unlink_unix(endpoint: Endpoint, file: tuple[int, int] | None) -> None:
    """Remove a Unix socket's file, unless somebody has put another one in its place since `socket_file` told `file`."""
    if endpoint.path is None or file is None or socket_file(endpoint) != file:
        return
    try:
        endpoint.path.unlink()
    except OSError:
        return


def _bind_unix(path: Path, mode: int) -> socket.socket:
    _clear_stale(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # The umask holds for the whole process, but only here and now: the file must never be open to more than `mode`.
    umask = os.umask(0o777 & ~mode)
    try:
        listener.bind(str(path))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise EndpointError(f"cannot listen on unix:{path}: {_why(error)}") from None
    finally:
        os.umask(umask)
    listener.setblocking(False)
    return listener


def _clear_stale(path: Path) -> None:
    """Remove the socket that a killed relay left behind; refuse if somebody answers there or it is no socket."""
    try:
        kind = path.lstat().st_mode
    except OSError:
        return
    if not stat.S_ISSOCK(kind):
        raise EndpointError(f"cannot listen on unix:{path}: a file that is not a socket is there; move it away")
    try:
        if _answers(path):
            raise EndpointError(f"cannot listen on unix:{path}: another process is listening there")
        path.unlink()
    except OSError as error:
        raise EndpointError(f"cannot listen on unix:{path}: {_why(error)}") from None


def _answers(path: Path) -> bool:
    """Whether a process listens on the Unix socket. Does not wait: one whose queue is full listens, too."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return False
        except BlockingIOError:
            return True
    return True


def _why(error: OSError) -> str:
    remedies = {
        errno.EADDRINUSE: "another process is listening there; stop it or choose another port",
        errno.EACCES: "permission denied; ports below 1024 and foreign directories need more rights",
        errno.EADDRNOTAVAIL: "this machine does not have that address",
        errno.ENOENT: "the directory does not exist; create it first",
    }
    return remedies.get(error.errno or 0, error.strerror or str(error))
