"""What carries bytes between two sockets: this relay with streams between its users, or socat."""

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from loadtest.bench.dialects.base import Seat
from loadtest.bench.dialects.relay import RelayDialect
from loadtest.bench.links import Link, Task, connect_all
from loadtest.bench.server import Server
from loadtest.processes import free_port
from loadtest.streams.pumps import Joint, Strand
from relay.protocol.frames import FrameReader
from relay.protocol.limits import CHUNK_MAX_BYTES, FRAME_MAX
from relay.protocol.packets import Accept, Credit, Data, Open, Packet, decode, encode

SOCAT_BUFFER_BYTES = CHUNK_MAX_BYTES
BODY = bytes(range(256)) * (CHUNK_MAX_BYTES // 256)
CONNECT_S = 30.0
_SNDBUF_BYTES = 1 << 20


class Route(NamedTuple):
    """Both ends of some transfers, and the process between them."""

    sending: list[Joint]
    receiving: list[Joint]
    pid: int
    streams: int


def transfer_seats(pairs: int) -> list[Seat]:
    """Senders and receivers of so many transfers, in pairs."""
    return [Seat(f"{role}{number:02}") for number in range(pairs) for role in ("sender", "receiver")]


def route(server: Server, dialect: RelayDialect, pairs: int, streams_each: int) -> Route:
    """Log in so many pairs of users on a relay that has their accounts, and open streams between the two of each."""
    seats = transfer_seats(pairs)
    tasks = [Task(number, seat, dialect.login(seat, False)) for number, seat in enumerate(seats)]
    links = connect_all(server.address, tasks, lambda count: None, CONNECT_S)
    sending, receiving = [], []
    for pair in range(pairs):
        sender, receiver = links[2 * pair], links[2 * pair + 1]
        strands = [_open(sender, receiver, 4 + 2 * number) for number in range(streams_each)]
        sending.append(Joint(sender.sock, strands, pair * streams_each))
        receiving.append(Joint(receiver.sock, strands, pair * streams_each))
    return Route(sending, receiving, server.pid, pairs * streams_each)


def _open(sender: Link, receiver: Link, id: int) -> Strand:
    here, there = (f"{link.seat.user}/{link.seat.device}" for link in (sender, receiver))
    _say(sender, Open(here, there, id, "bytes", 10_000, "", b""))
    _expect(receiver, Open)
    _say(receiver, Accept(there, here, id + 1, "", b""))
    _expect(sender, Accept)
    data = encode(Data(here, there, id, BODY))
    return Strand(data, data[: -len(BODY)], encode(Credit(there, here, id + 1, CHUNK_MAX_BYTES)))


def _say(link: Link, packet: Packet) -> None:
    link.sock.setblocking(True)
    link.sock.sendall(encode(packet))
    link.sock.setblocking(False)


def _expect(link: Link, kind: type[Packet]) -> None:
    reader = FrameReader(FRAME_MAX)
    link.sock.settimeout(CONNECT_S)
    while (payload := reader.next_payload()) is None:
        reader.feed(link.sock.recv(1 << 16))
    packet = decode(payload)
    assert isinstance(packet, kind), f"instead of {kind.__name__} came {packet}"
    link.sock.setblocking(False)


@contextlib.contextmanager
def socat(pairs: int, cores: Sequence[int]) -> Iterator[Route]:
    """One socat for each transfer, with a buffer of a chunk; `pid` is that of the first."""
    with contextlib.ExitStack() as stack:
        sending, receiving, pids = [], [], []
        strand = Strand(BODY, BODY[:0], b"")
        for pair in range(pairs):
            near, far, pid = _through_socat(stack, cores)
            sending.append(Joint(near, [strand], pair))
            receiving.append(Joint(far, [strand], pair))
            pids.append(pid)
        yield Route(sending, receiving, pids[0], pairs)


def _through_socat(stack: contextlib.ExitStack, cores: Sequence[int]) -> tuple[socket.socket, socket.socket, int]:
    listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    listener.settimeout(CONNECT_S)
    port = free_port()
    options = "reuseaddr,bind=127.0.0.1,nodelay"
    process = subprocess.Popen(
        [
            "socat", "-b", str(SOCAT_BUFFER_BYTES),
            f"TCP-LISTEN:{port},{options}", f"TCP:127.0.0.1:{listener.getsockname()[1]},nodelay",
        ],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,  # it complains of our hanging up
    )  # fmt: skip
    stack.callback(process.wait)
    stack.callback(process.terminate)
    if cores:
        os.sched_setaffinity(process.pid, cores)
    near = stack.enter_context(_dial(port))
    far = stack.enter_context(listener.accept()[0])
    near.setblocking(False)
    far.setblocking(False)
    return near, far, process.pid


def _dial(port: int) -> socket.socket:
    deadline_at = time.monotonic() + CONNECT_S
    while True:
        sock = socket.socket()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SNDBUF_BYTES)
        try:
            sock.connect(("127.0.0.1", port))
        except ConnectionRefusedError:
            sock.close()
            if time.monotonic() > deadline_at:
                raise
            time.sleep(0.01)
        else:
            return sock
