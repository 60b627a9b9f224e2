"""The relay's WebSocket against the library `websockets` as the other end: the same bytes, by two implementations.

    python -m tests.conformance.fuzz [SECONDS] [SEED]

A session sends itself signals of random sizes. The client's bytes are made by `websockets`, in random messages and
fragments with pings and pongs between them, and written in random pieces; what the relay answers is read by
`websockets`, too, and has to be the same signals in the same order, with a pong for the last ping.
"""

import random
import socket
import sys
import tempfile
import time
from pathlib import Path

from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.uri import parse_uri

from relay.protocol.connection import ClientConnection
from relay.protocol.frames import FrameReader
from relay.protocol.limits import FRAME_MAX
from relay.protocol.packets import Ping, Pong, Signal, Welcome, decode, encode
from tests.conformance.client import DEADLINE_S
from tests.integration.peer import PASSWORD
from tests.integration.stage import RelayProcess

_SIZES = (0, 1, 100, 110, 125, 126, 500, 600, 4000, 65_000, 65_536, 200_000)


class MismatchError(AssertionError):
    """The two ends do not agree; the text says on what, and with which seed."""


class OtherEnd:
    """A client made of the `websockets` library's protocol object, and a socket."""

    def __init__(self, address: str, user: str) -> None:
        host, _, port = address.rpartition(":")
        self._sock = socket.create_connection((host, int(port)), DEADLINE_S)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.protocol = ClientProtocol(parse_uri(f"ws://{address}/ws"), max_size=None)
        self.frames = FrameReader(FRAME_MAX)
        self.pongs: list[bytes] = []
        self.protocol.send_request(self.protocol.connect())
        self.write(None)
        self.read()
        self.address = self._log_in(user)

    def close(self) -> None:
        self._sock.close()

    def write(self, chance: random.Random | None) -> None:
        """Send what the protocol has made, in random pieces."""
        data = b"".join(self.protocol.data_to_send())
        at = 0
        while at < len(data):
            size = len(data) if chance is None else chance.choice((1, 2, 3, 7, 1000, 5000, 60_000, len(data)))
            self._sock.sendall(data[at : at + size])
            at += size

    def read(self) -> None:
        """Take in what has arrived, at least something."""
        data = self._sock.recv(65536)
        if not data:
            raise MismatchError(f"the relay hung up: {self.protocol.close_exc if self.protocol.close_code else ''}")
        self.protocol.receive_data(data)
        for event in self.protocol.events_received():
            if isinstance(event, Response):
                continue
            assert isinstance(event, Frame)
            if event.opcode is Opcode.PONG:
                self.pongs.append(bytes(event.data))
            elif event.opcode in (Opcode.BINARY, Opcode.CONT):
                self.frames.feed(bytes(event.data))
            else:
                raise MismatchError(f"the relay sent {event}")

    def _log_in(self, user: str) -> str:
        ends = ClientConnection(user, PASSWORD, "fuzz", "fuzz/1")
        while True:
            self.protocol.send_binary(ends.data_to_send())
            self.write(None)
            while (payload := self.frames.next_payload()) is None:
                self.read()
            ends.receive_data(len(payload).to_bytes(4, "big") + payload)
            packet = ends.next_packet()
            if isinstance(packet, Welcome):
                return packet.session


def exchange(end: OtherEnd, seed: int) -> int:
    """One exchange with everything random; how many signals it had. Raises MismatchError."""
    chance = random.Random(seed)
    bodies = [chance.randbytes(chance.choice(_SIZES)) for _ in range(chance.randint(1, 12))]
    me = end.address
    stream = b"".join(encode(Signal(me, me, None, "", body)) for body in bodies) + encode(Ping(seed))
    end.pongs.clear()
    last_ping = _send(end, stream, chance)
    end.write(chance)
    found: list[bytes] = []
    while True:
        payload = end.frames.next_payload()
        if payload is None:
            end.read()
            continue
        packet = decode(payload)
        if isinstance(packet, Signal):
            found.append(packet.body)
        elif isinstance(packet, Pong):
            if packet.token != seed:
                raise MismatchError(f"seed {seed}: a PONG of {packet.token}")
            # Signals to oneself and PONGs are in order: everything before it has come.
            break
        elif not isinstance(packet, Ping):
            raise MismatchError(f"seed {seed}: the relay answered {packet}")
    if found != bodies:
        raise MismatchError(f"seed {seed}: {len(found)} of {len(bodies)} signals, or others, came back")
    # A pong waits for the end of the message that is half sent.
    while last_ping is not None and end.pongs[-1:] != [last_ping]:
        end.read()
    return len(bodies)


def _send(end: OtherEnd, stream: bytes, chance: random.Random) -> bytes | None:
    """Make frames of a byte stream; the payload of the last ping among them. The protocol object keeps the bytes."""
    at, last_ping, inside = 0, None, False
    while at < len(stream) or inside:
        if chance.random() < 0.2:
            last_ping = chance.randbytes(chance.randint(0, 125))
            end.protocol.send_ping(last_ping)
        if chance.random() < 0.1:
            end.protocol.send_pong(chance.randbytes(chance.randint(0, 125)))
        size = chance.choice((0, 1, 5, 125, 126, 1000, 65_535, 65_536, len(stream)))
        piece, fin = stream[at : at + size], chance.random() < 0.6
        if inside:
            end.protocol.send_continuation(piece, fin)
        else:
            end.protocol.send_binary(piece, fin)
        at, inside = at + size, not fin
    return last_ping


def fuzz(address: str, user: str, seconds: float, seed: int, exchanges_max: int = 1_000_000) -> int:
    """Exchanges on one connection until the time is over; how many there were. Raises MismatchError."""
    end, until = OtherEnd(address, user), time.monotonic() + seconds
    try:
        for count in range(exchanges_max):
            if time.monotonic() > until:
                return count
            exchange(end, seed + count)
        return exchanges_max
    finally:
        end.close()


def main(words: list[str]) -> int:
    """The command."""
    seconds, seed = float(words[0]) if words else 10.0, int(words[1]) if len(words) > 1 else 1
    with tempfile.TemporaryDirectory(prefix="relay-conformance-") as home, RelayProcess(Path(home)) as relay:
        count = fuzz(relay.address, relay.user(), seconds, seed)
        relay.check_log()
    print(f"{count} exchanges with websockets as the other end, from seed {seed}: both agree")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
