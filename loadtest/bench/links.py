"""Connections of the generator: non-blocking sockets, thousands opened at once, logged in side by side."""

import contextlib
import errno
import resource
import select
import socket
import struct
import time
from array import array
from collections.abc import Callable, Iterable
from typing import NamedTuple

from loadtest.bench.dialects.base import Login, Seat

# One address has 28,232 ephemeral ports; half of them leaves room for those that linger after a close.
_PER_SOURCE = 14_000

# How many logins run at once: enough to keep a server busy, few enough for any listen backlog.
TOGETHER = 128

_RECEIVE_BYTES = 65_536

# More than a loop has in flight on one connection, where it does not watch for a full buffer.
_SEND_BUFFER_BYTES = 1 << 20


class ConnectError(Exception):
    """A connection could not be opened or logged in; the text says which and why."""


class Task(NamedTuple):
    """One connection to open: its place among all, for whom, and how it logs in."""

    number: int
    seat: Seat
    login: Login


class Link:
    """One connection, logged in."""

    __slots__ = ("fd", "seat", "sock")

    def __init__(self, sock: socket.socket, seat: Seat) -> None:
        self.sock = sock
        self.fd = sock.fileno()
        self.seat = seat

    def close(self) -> None:
        """Hang up with a reset, so that the port is free again at once."""
        with contextlib.suppress(OSError):
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


def allow_descriptors() -> int:
    """Raise the limit of open files as far as it goes; returns it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def open_socket(address: tuple[str, int], number: int) -> socket.socket:
    """Begin to connect; `number` decides the source address within 127.0.0.0/8."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
    source = number // _PER_SOURCE
    if source:
        # The kernel then chooses the port when it knows the whole pair of addresses (Linux 4.2).
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_IP, getattr(socket, "IP_BIND_ADDRESS_NO_PORT", 24), 1)
        sock.bind((f"127.{source // 200 + 1}.{source % 200}.1", 0))
    code = sock.connect_ex(address)
    if code not in (0, errno.EINPROGRESS):
        sock.close()
        raise ConnectError(f"connecting to {address[0]}:{address[1]} failed: {errno.errorcode.get(code, code)}")
    return sock


class Entrance:
    """Logs connections in, `together` at a time, in the order given. `step` is called until `finished`."""

    def __init__(self, address: tuple[str, int], tasks: Iterable[Task], together: int = TOGETHER) -> None:
        self._address = address
        self._tasks = iter(tasks)
        self._together = together
        self._poller = select.epoll()
        # By descriptor: the socket, its task, when it began, and whether it is connected.
        self._going: dict[int, tuple[socket.socket, Task, float, bool]] = {}
        self._exhausted = False
        self.links: list[tuple[int, Link]] = []
        self.durations_s: array[float] = array("d")

    @property
    def finished(self) -> bool:
        """Whether all are in."""
        return self._exhausted and not self._going

    def step(self, timeout_s: float) -> None:
        """Start what may start, then handle what has happened. Raises ConnectError."""
        while not self._exhausted and len(self._going) < self._together:
            self._begin()
        for fd, event in self._poller.poll(timeout_s):
            self._advance(fd, event)

    def drop_rest(self) -> None:
        """Start no more, and give up those under way."""
        self._exhausted = True
        for sock, *_ in self._going.values():
            sock.close()
        self._going.clear()
        self._poller.close()

    def _begin(self) -> None:
        task = next(self._tasks, None)
        if task is None:
            self._exhausted = True
            return
        sock = open_socket(self._address, task.number)
        self._going[sock.fileno()] = (sock, task, time.monotonic(), False)
        self._poller.register(sock.fileno(), select.EPOLLOUT)

    def _advance(self, fd: int, event: int) -> None:
        sock, task, began_at, connected = self._going[fd]
        try:
            if not connected:
                error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if error:
                    raise ConnectError(f"connecting as {task.seat} failed: {errno.errorcode.get(error, error)}")
                self._going[fd] = (sock, task, began_at, True)
                self._poller.modify(fd, select.EPOLLIN)
                sock.send(next(task.login))
                return
            data = sock.recv(_RECEIVE_BYTES)
            if not data:
                raise ConnectError(f"the server hung up while {task.seat} logged in")
            out = task.login.send(data)
            if out:
                sock.send(out)
        except StopIteration:
            self._poller.unregister(fd)
            del self._going[fd]
            self.durations_s.append(time.monotonic() - began_at)
            self.links.append((task.number, Link(sock, task.seat)))
        except OSError as error:
            raise ConnectError(f"logging in as {task.seat} failed: {error.strerror or error}") from None


def connect_all(
    address: tuple[str, int], tasks: Iterable[Task], progress: Callable[[int], None], limit_s: float
) -> list[Link]:
    """Open and log in all; returns them in the order of `tasks`. Raises ConnectError, also after `limit_s`."""
    entrance = Entrance(address, tasks)
    deadline_at = time.monotonic() + limit_s
    while not entrance.finished:
        entrance.step(1.0)
        progress(len(entrance.links))
        if time.monotonic() > deadline_at:
            raise ConnectError(f"only {len(entrance.links)} connections were in after {limit_s:g} s")
    return [link for _, link in sorted(entrance.links, key=lambda pair: pair[0])]
