"""MQTT 3.1.1 (OASIS standard, chapters 2 and 3) as mosquitto speaks it: QoS 0, and QoS 1 with persistence."""

import shutil
import subprocess
from collections.abc import Callable, Iterable
from typing import ClassVar

from loadtest.bench.dialects.base import AckCounter, Dialect, DialectError, Login, Place, Seat, Wire

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_CONFIG = """
listener {port} 127.0.0.1
allow_anonymous true
user root
max_queued_messages 0
max_inflight_messages 0
set_tcp_nodelay true
log_dest none
persistence {persistence}
persistence_location {directory}/
"""


class MqttDialect(Dialect):
    """What any MQTT broker understands. A user is a topic."""

    kinds: ClassVar[frozenset[str]] = Dialect.kinds | {"stored"}

    def login(self, seat: Seat, listen: bool) -> Login:
        data = yield _connect(f"{seat.user}/{seat.device}", clean=True)
        yield from _expect(data, 4)
        if listen:
            data = yield _subscribe(seat.inbox, 0)
            yield from _expect(data, 5)

    def signal(self, sender: Seat, to: Seat, payload: bytes) -> Wire:
        frame = _packet(0x30, _text(to.inbox) + payload)
        return Wire(frame, len(frame))

    def prepare(self, seats: Iterable[Seat]) -> list[Login]:
        return [self._subscribe_for_good(seat) for seat in seats]

    def _subscribe_for_good(self, seat: Seat) -> Login:
        data = yield _connect(f"{seat.user}/offline", clean=False)
        yield from _expect(data, 4)
        data = yield _subscribe(seat.user, 1)
        yield from _expect(data, 5)

    def message(self, sender: Seat, to: Seat, payload: bytes) -> Callable[[int], bytes]:
        # Packet ids may be used again once acknowledged; no sender has as many in flight.
        frames = [_packet(0x32, _text(to.inbox) + n.to_bytes(2, "big") + payload) for n in range(1, 1025)]
        return lambda n: frames[n % 1024]

    def acks(self) -> AckCounter:
        received = 0

        def count(data: bytes) -> int:
            nonlocal received
            before, received = received // 4, received + len(data)
            return received // 4 - before

        return count


class MosquittoDialect(MqttDialect):
    """mosquitto from the system's packages."""

    name: ClassVar[str] = "mosquitto"
    install: ClassVar[str] = "apt install mosquitto"

    def version(self) -> str | None:
        path = shutil.which("mosquitto", path=_PATH)
        if path is None:
            return None
        out = subprocess.run([path, "-h"], capture_output=True, text=True, check=False).stdout
        return out.partition("version ")[2].partition("\n")[0]

    def command(self, place: Place) -> list[str]:
        persistence = "true" if place.kind == "stored" else "false"
        file = place.directory / "mosquitto.conf"
        file.write_text(_CONFIG.format(port=place.port, persistence=persistence, directory=place.directory))
        path = shutil.which("mosquitto", path=_PATH)
        assert path is not None
        return [path, "-c", str(file)]


def _packet(first: int, body: bytes) -> bytes:
    size, length = len(body), b""
    while True:
        size, digit = size >> 7, size & 0x7F
        length += bytes((digit | (0x80 if size else 0),))
        if not size:
            return bytes((first,)) + length + body


def _text(text: str) -> bytes:
    encoded = text.encode()
    return len(encoded).to_bytes(2, "big") + encoded


def _connect(client: str, clean: bool) -> bytes:
    """Keepalive 0: the broker never asks whether we are there."""
    return _packet(0x10, _text("MQTT") + bytes((4, 2 if clean else 0, 0, 0)) + _text(client))


def _subscribe(topic: str, quality: int) -> bytes:
    return _packet(0x82, b"\0\1" + _text(topic) + bytes((quality,)))


def _expect(data: bytes, size: int) -> Login:
    while len(data) < size:
        data += yield b""
    # The last byte is the reason; a subscription's tells the quality granted, or 0x80.
    if data[size - 1] >= 0x80 or (data[0] == 0x20 and data[size - 1]):
        raise DialectError(f"the broker refused: {data.hex()}")
