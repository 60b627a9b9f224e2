"""What a WebSocket costs the relay beside a native connection: CPU for each message, memory for each session.

    python -m loadtest.websocket_bench [--rounds 5] [--seconds 2] [--idle 2000] [--tls]

Both kinds do the same on one relay, turn and turn about, so that a noisy machine is noisy for both; shown are medians.
The client sends either one WebSocket message for each write (as a client does that gathers what it has to say) or
one for each packet. With --tls both kinds are measured through TLS as well; that needs the command `openssl`.
"""

import argparse
import os
import select
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from loadtest.bench.dialects.base import Login, Place, Seat
from loadtest.bench.dialects.relay import RelayDialect
from loadtest.bench.links import allow_descriptors
from loadtest.bench.server import Server
from loadtest.websocket_wire import Unframer, client_frame, upgrade_request

_PAYLOAD = b"x" * 128
_BURST = 16
_DEPTH = 8
_WARM_UP_S = 0.3
_TIMEOUT_S = 30.0


class Kind(NamedTuple):
    """How a client speaks: natively, or through WebSocket messages of a whole write or of one packet each."""

    name: str
    web: bool
    gathers: bool = True
    tls: bool = False


NATIVE = Kind("native", False)
GATHERED = Kind("websocket", True)
SINGLE = Kind("websocket, a message each", True, False)
NATIVE_TLS = Kind("native, TLS", False, tls=True)
WEB_TLS = Kind("websocket, TLS", True, tls=True)


class _Dialect(RelayDialect):
    """The relay, with a certificate if there is one in this directory."""

    def __init__(self, certificate: Path | None) -> None:
        super().__init__()
        self._certificate = certificate

    def command(self, place: Place) -> list[str]:
        words = super().command(place)
        if self._certificate is not None:
            cert, key = self._certificate / "cert.pem", self._certificate / "key.pem"
            words += ["--tls-cert", str(cert), "--tls-key", str(key)]
        return words


def make_certificate(directory: Path) -> None:
    """cert.pem and key.pem, self-signed, with an ECDSA key."""
    files = ("-keyout", str(directory / "key.pem"), "-out", str(directory / "cert.pem"))
    kind = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=bench")
    subprocess.run(("openssl", "req", "-x509", *kind, *files), check=True, capture_output=True)


class Client:
    """A logged-in connection. `count` says how many bytes of Relay's are in what arrived."""

    def __init__(self, address: tuple[str, int], seat: Seat, kind: Kind) -> None:
        self.kind = kind
        self.sock: Any = socket.create_connection(address, _TIMEOUT_S)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if kind.tls:
            self.sock = _client_context().wrap_socket(self.sock)
        self._unframer = Unframer()
        if kind.web:
            self.sock.sendall(upgrade_request("relay"))
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += self.sock.recv(1)
        self._log_in(RelayDialect().login(seat, True))
        self.sock.setblocking(False)

    def write_of(self, packet: bytes, count: int) -> bytes:
        """The bytes that send a packet so many times."""
        if not self.kind.web:
            return packet * count
        if self.kind.gathers:
            return client_frame(packet * count, os.urandom(4))
        return b"".join(client_frame(packet, os.urandom(4)) for _ in range(count))

    def count(self, data: bytes) -> int:
        """How many bytes of Relay's have arrived with these."""
        return len(self._unframer.feed(data)) if self.kind.web else len(data)

    def receive(self, size: int) -> bytes:
        """What has arrived; through TLS all of it, because a poll does not see what is decrypted already."""
        if not self.kind.tls:
            return bytes(self.sock.recv(size))
        parts = []
        try:
            while True:
                parts.append(self.sock.recv(size))
        except ssl.SSLWantReadError:
            return b"".join(parts)

    def _log_in(self, login: Login) -> None:
        try:
            data = next(login)
            while True:
                if data:
                    self.sock.sendall(client_frame(data, os.urandom(4)) if self.kind.web else data)
                received = self.sock.recv(65536)
                data = login.send(self._unframer.feed(received) if self.kind.web else received)
        except StopIteration:
            return


def pingpong(server: Server, kind: Kind, pairs: int, seconds: float) -> float:
    """CPU microseconds for each signal, with one in flight between two."""
    with ExitStack() as opened:
        players = [Client(server.address, Seat(f"p{n:03}"), kind) for n in range(2 * pairs)]
        for player in players:
            opened.enter_context(player.sock)
        dialect, poller = RelayDialect(), select.epoll()
        opened.callback(poller.close)
        replies, sizes, got = {}, {}, {}
        for n, player in enumerate(players):
            wire = dialect.signal(Seat(f"p{n:03}"), Seat(f"p{n ^ 1:03}"), _PAYLOAD)
            fd = player.sock.fileno()
            replies[fd], sizes[fd], got[fd] = (player, player.write_of(wire.sent, 1)), wire.received_bytes, 0
            poller.register(fd, select.EPOLLIN)
        for n in range(0, 2 * pairs, 2):
            players[n].sock.send(replies[players[n].sock.fileno()][1])

        def step() -> int:
            done = 0
            for fd, _ in poller.poll(_TIMEOUT_S):
                player, reply = replies[fd]
                got[fd] += player.count(player.receive(65536))
                if got[fd] >= sizes[fd]:
                    got[fd] -= sizes[fd]
                    player.sock.send(reply)
                    done += 1
            return done

        return _measure(server, step, seconds)


def pipe(server: Server, kind: Kind, pairs: int, seconds: float) -> float:
    """CPU microseconds for each signal, in bursts from a sender to a receiver, several bursts under way."""
    with ExitStack() as opened:
        dialect, poller = RelayDialect(), select.epoll()
        opened.callback(poller.close)
        streams = {}
        for n in range(pairs):
            sender, receiver = (Client(server.address, Seat(f"p{n * 2 + k:03}"), kind) for k in range(2))
            opened.enter_context(sender.sock)
            opened.enter_context(receiver.sock)
            wire = dialect.signal(Seat(f"p{n * 2:03}"), Seat(f"p{n * 2 + 1:03}"), _PAYLOAD)
            sender.sock.setblocking(True)
            burst = sender.write_of(wire.sent, _BURST)
            streams[receiver.sock.fileno()] = [sender, receiver, burst, 0, wire.received_bytes * _BURST]
            poller.register(receiver.sock.fileno(), select.EPOLLIN)
            for _ in range(_DEPTH):
                sender.sock.sendall(burst)

        def step() -> int:
            done = 0
            for fd, _ in poller.poll(_TIMEOUT_S):
                stream = streams[fd]
                sender, receiver, burst, got, size = stream
                got += receiver.count(receiver.receive(262_144))
                while got >= size:
                    got -= size
                    sender.sock.sendall(burst)
                    done += _BURST
                stream[3] = got
            return done

        return _measure(server, step, seconds)


def _client_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _measure(server: Server, step: Callable[[], int], seconds: float) -> float:
    end_at = time.monotonic() + _WARM_UP_S
    while time.monotonic() < end_at:
        step()
    done, before, end_at = 0, server.usage(), time.monotonic() + seconds
    while time.monotonic() < end_at:
        done += step()
    return server.usage().since(before).cpu_s / done * 1e6


def idle_kb(kind: Kind, number: int, certificate: Path | None = None) -> float:
    """Resident memory that each logged-in connection adds to a fresh relay, in KB."""
    seats = [Seat(f"i{n:06}") for n in range(number)]
    with Server(_Dialect(certificate), "idle", seats, ()) as server, ExitStack() as opened:
        for seat in seats[:100]:
            opened.enter_context(Client(server.address, seat, kind).sock)
        before = server.rss_bytes()
        for seat in seats[100:]:
            opened.enter_context(Client(server.address, seat, kind).sock)
        time.sleep(1.0)
        return (server.rss_bytes() - before) / 1024 / (number - 100)


WORKS: dict[str, tuple[Callable[[Server, Kind, int, float], float], int, tuple[Kind, ...]]] = {
    "pingpong, 1 pair": (pingpong, 1, (NATIVE, GATHERED)),
    "pingpong, 50 pairs": (pingpong, 50, (NATIVE, GATHERED)),
    "pipe, 1 sender": (pipe, 1, (NATIVE, GATHERED, SINGLE)),
    "pipe, 50 senders": (pipe, 50, (NATIVE, GATHERED, SINGLE)),
}


def rows(rounds: int, seconds: float, certificate: Path | None = None) -> Iterator[tuple[str, Kind, float]]:
    """(work, kind, median CPU in microseconds for each message), the works one after the other."""
    seats = [Seat(f"p{n:03}") for n in range(100)]
    with Server(_Dialect(certificate), "pingpong", seats, ()) as server:
        for name, (play, pairs, plain) in WORKS.items():
            kinds = (*plain, NATIVE_TLS, WEB_TLS) if certificate else plain
            found: dict[Kind, list[float]] = {kind: [] for kind in kinds}
            for _ in range(rounds):
                for kind in kinds:
                    found[kind].append(play(server, kind, pairs, seconds))
            for kind in kinds:
                yield name, kind, statistics.median(found[kind])


def main(words: list[str]) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="of each kind, alternating")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each round")
    parser.add_argument("--idle", type=int, default=2000, help="connections whose memory is weighed")
    parser.add_argument("--tls", action="store_true", help="measure both kinds through TLS, too")
    options = parser.parse_args(words)
    allow_descriptors()
    with tempfile.TemporaryDirectory(prefix="relay-bench-") as directory:
        certificate = Path(directory) if options.tls else None
        if certificate is not None:
            make_certificate(certificate)
        _run(options, certificate)
    return 0


def _run(options: argparse.Namespace, certificate: Path | None) -> None:
    print("| work | client | CPU us/message | of native |\n| --- | --- | --- | --- |", flush=True)
    native = 0.0
    for name, kind, cost in rows(options.rounds, options.seconds, certificate):
        native = cost if kind is NATIVE else native
        print(f"| {name} | {kind.name} | {cost:.2f} | {cost / native:.2f} |", flush=True)
    kinds = (NATIVE, GATHERED, NATIVE_TLS, WEB_TLS) if certificate else (NATIVE, GATHERED)
    weights = {kind: idle_kb(kind, options.idle, certificate) for kind in kinds}
    for kind, weight in weights.items():
        more = weight - weights[NATIVE]
        print(f"| idle, {options.idle} sessions | {kind.name} | {weight:.2f} KB each | {more:+.2f} KB |", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
