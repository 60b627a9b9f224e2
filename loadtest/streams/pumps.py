"""The two ends of transfers: one process that sends on all of them, and one that receives.

Every packet is encoded before; what arrives is counted by its size and known by its first bytes. A DATA carries
CHUNK_MAX_BYTES, a CREDIT allows as much, so all counting is in chunks.
"""

import multiprocessing
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from ctypes import c_uint64
from multiprocessing.sharedctypes import RawArray
from typing import Any, NamedTuple

from relay.protocol.limits import CHUNK_MAX_BYTES

# So many chunks are granted anew at once.
GRANT_CHUNKS = 4

# A sender that may send at a rate looks at the clock this often.
_PACE_S = 0.001

_fork = multiprocessing.get_context("fork")


class Strand(NamedTuple):
    """One stream as its ends write it: DATA, the bytes it begins with, and CREDIT. Without credit: plain chunks."""

    data: bytes
    head: bytes
    credit: bytes


class Joint(NamedTuple):
    """A connection with its streams, as one end sees it. `first` is the number of its first stream among all."""

    sock: socket.socket
    strands: Sequence[Strand]
    first: int


class Pump:
    """A process that works until `stop`. Use as a context manager."""

    def __init__(self, work: Callable[..., None], cores: Sequence[int], *arguments: Any) -> None:
        self._process = _fork.Process(target=_settle, args=(work, cores, *arguments), daemon=True)

    def __enter__(self) -> "Pump":
        self._process.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.join()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Meanwhile it does nothing."""
        assert self._process.pid is not None
        os.kill(self._process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self._process.pid, signal.SIGCONT)


class Counters:
    """Received bytes of each stream, shared with the process that receives."""

    def __init__(self, streams: int) -> None:
        self.chunks: Any = RawArray(c_uint64, streams)

    def read_bytes(self) -> list[int]:
        """As they are now."""
        return [count * CHUNK_MAX_BYTES for count in self.chunks]


def _settle(work: Callable[..., None], cores: Sequence[int], *arguments: Any) -> None:
    if cores:
        os.sched_setaffinity(0, cores)
    work(*arguments)


def pour(joints: Sequence[Joint], rate_bytes: float) -> None:
    """Send for ever: as fast as there is credit and room, or `rate_bytes` a second on each connection if not 0."""
    taps = {joint.sock.fileno(): _Tap(joint, rate_bytes) for joint in joints}
    poller = select.epoll()
    for fd, tap in taps.items():
        tap.steer(time.monotonic())
        poller.register(fd, tap.events)
    while True:
        for fd, event in poller.poll(_PACE_S if rate_bytes else None):
            if event & select.EPOLLIN:
                taps[fd].take_credit()
            if event & select.EPOLLOUT:
                taps[fd].send()
        now = time.monotonic()
        for fd, tap in taps.items():
            if tap.steer(now):
                poller.modify(fd, tap.events)


class _Tap:
    """The sending end of one connection. Its streams take turns."""

    def __init__(self, joint: Joint, rate_bytes: float) -> None:
        self._sock = joint.sock
        self._data = [strand.data for strand in joint.strands]
        self._granting = {strand.credit: number for number, strand in enumerate(joint.strands)}
        self._credit_bytes = len(joint.strands[0].credit)
        self._left = [0 if self._credit_bytes else 1 << 60 for _ in joint.strands]
        self._turn = 0
        self._interval_s = CHUNK_MAX_BYTES / rate_bytes if rate_bytes else 0.0
        self._due_at = time.monotonic()
        self._rest = memoryview(b"")
        self._came = b""
        self.events = select.EPOLLIN

    def take_credit(self) -> None:
        data = self._came + self._sock.recv(1 << 16)
        size = self._credit_bytes or len(data)
        for at in range(0, len(data) - size + 1, size):
            self._left[self._granting[data[at : at + size]]] += 1
        self._came = data[len(data) - len(data) % size :]

    def send(self) -> None:
        """As much as one chunk, or what is left of one."""
        if not self._rest:
            self._rest = memoryview(self._data[self._next()])
        try:
            self._rest = self._rest[self._sock.send(self._rest) :]
        except BlockingIOError:
            return

    def steer(self, now: float) -> bool:
        """Whether other events are wanted than before."""
        ready = bool(self._rest) or (any(self._left) and now >= self._due_at)
        events = select.EPOLLIN | (select.EPOLLOUT if ready else 0)
        changed, self.events = events != self.events, events
        return changed

    def _next(self) -> int:
        while not self._left[self._turn]:
            self._turn = (self._turn + 1) % len(self._left)
        chosen = self._turn
        self._left[chosen] -= 1
        self._turn = (chosen + 1) % len(self._left)
        self._due_at = max(self._due_at + self._interval_s, time.monotonic() - 10 * self._interval_s)
        return chosen


def drain(joints: Sequence[Joint], window_chunks: int, counters: Counters) -> None:
    """Receive for ever, and grant what has been received anew; `window_chunks` of each stream at first."""
    sinks = {joint.sock.fileno(): _Sink(joint, counters.chunks) for joint in joints}
    poller = select.epoll()
    for fd, sink in sinks.items():
        sink.grant_first(window_chunks)
        poller.register(fd, select.EPOLLIN)
    while True:
        for fd, _ in poller.poll():
            sinks[fd].receive()


class _Sink:
    """The receiving end of one connection."""

    def __init__(self, joint: Joint, chunks: Any) -> None:
        self._sock = joint.sock
        self._credit = [strand.credit * GRANT_CHUNKS for strand in joint.strands]
        self._one = [strand.credit for strand in joint.strands]
        self._by_head = {strand.head: number for number, strand in enumerate(joint.strands)}
        self._head_bytes = len(joint.strands[0].head)
        self._view = memoryview(bytearray(len(joint.strands[0].data)))
        self._filled = 0
        self._first = joint.first
        self._chunks = chunks

    def grant_first(self, window_chunks: int) -> None:
        for credit in self._one:
            self._sock.sendall(credit * window_chunks)

    def receive(self) -> None:
        size = self._sock.recv_into(self._view[self._filled :])
        if not size:
            raise ConnectionError("a connection ended under the receiver")
        self._filled += size
        if self._filled == len(self._view):
            self._filled = 0
            number = self._by_head[bytes(self._view[: self._head_bytes])]
            total = self._chunks[self._first + number] + 1
            self._chunks[self._first + number] = total
            if not total % GRANT_CHUNKS and self._credit[number]:
                self._sock.send(self._credit[number])
