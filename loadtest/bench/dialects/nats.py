"""nats-server: core publish and subscribe, request and reply, and JetStream with file storage."""

import json
import shutil
import subprocess
from collections.abc import Callable, Iterable
from typing import ClassVar

from loadtest.bench.dialects.base import AckCounter, Dialect, DialectError, Exchange, Login, Place, Seat, Wire, until

_CONFIG = """
listen: 127.0.0.1:{port}
max_connections: 1000000
ping_interval: "1h"
write_deadline: "60s"
"""


class NatsDialect(Dialect):
    """A user is a subject. No passwords: logging in costs nothing."""

    name: ClassVar[str] = "nats"
    install: ClassVar[str] = "apt install nats-server"
    kinds: ClassVar[frozenset[str]] = Dialect.kinds | {"stored", "call"}
    # The first PING comes 2 s after the login, up to 20 % more (server/client.go), whatever ping_interval says.
    settle_s: ClassVar[float] = 2.6
    pong: ClassVar[bytes] = b"PONG\r\n"

    def version(self) -> str | None:
        path = shutil.which("nats-server", path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        if path is None:
            return None
        out = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
        return (out.stdout or out.stderr).strip().rpartition("v")[2]

    def command(self, place: Place) -> list[str]:
        config = _CONFIG.format(port=place.port)
        if place.kind == "stored":
            config += f'jetstream {{ store_dir: "{place.directory / "jetstream"}" }}\n'
        file = place.directory / "nats.conf"
        file.write_text(config)
        path = shutil.which("nats-server", path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        assert path is not None
        return [path, "--config", str(file)]

    def login(self, seat: Seat, listen: bool) -> Login:
        hello = b'CONNECT {"verbose":false,"pedantic":false,"lang":"bench","version":"1","protocol":1}\r\n'
        if listen:
            hello += b"SUB %s 1\r\n" % seat.inbox.encode()
        data = yield hello + b"PING\r\n"
        yield from until(b"PONG\r\n", data)

    def signal(self, sender: Seat, to: Seat, payload: bytes) -> Wire:
        name = to.inbox.encode()
        delivered = b"MSG %s 1 %d\r\n%s\r\n" % (name, len(payload), payload)
        return Wire(b"PUB %s %d\r\n%s\r\n" % (name, len(payload), payload), len(delivered))

    def prepare(self, seats: Iterable[Seat]) -> list[Login]:
        return [self._make_stream(sorted({seat.user for seat in seats}))]

    def _make_stream(self, subjects: list[str]) -> Login:
        yield from self.login(Seat("admin"), True)
        stream = {
            "name": "BENCH",
            "subjects": subjects,
            "storage": "file",
            "retention": "limits",
            "discard": "old",
            "max_consumers": -1,
            "max_msgs": -1,
            "max_bytes": -1,
            "max_age": 0,
            "num_replicas": 1,
            "duplicate_window": 0,
        }
        body = json.dumps(stream).encode()
        data = yield b"PUB $JS.API.STREAM.CREATE.BENCH admin %d\r\n%s\r\n" % (len(body), body)
        while b"}\r\n" not in data:
            data += yield b""
        if b'"error"' in data:
            raise DialectError(f"nats-server made no stream: {data.decode(errors='replace')}")

    def message(self, sender: Seat, to: Seat, payload: bytes) -> Callable[[int], bytes]:
        # The acknowledgement comes to the sender's own subject.
        frame = b"PUB %s %s %d\r\n%s\r\n" % (to.inbox.encode(), sender.user.encode(), len(payload), payload)
        return lambda n: frame

    def acks(self) -> AckCounter:
        # {"stream":"BENCH","seq":7}: one closing brace each.
        return lambda data: data.count(b"}")

    def serve(self, seat: Seat) -> Login:
        return self.login(seat, True)

    def request(self, caller: Seat, bot: Seat, payload: bytes, number: int) -> Exchange:
        who, to, size = caller.user.encode(), bot.user.encode(), len(payload)
        return Exchange(
            request=b"PUB %s %s %d\r\n%s\r\n" % (to, who, size, payload),
            arrives=b"MSG %s 1 %s %d\r\n%s\r\n" % (to, who, size, payload),
            answer=b"PUB %s %d\r\n%s\r\n" % (who, size, payload),
            answered_bytes=len(b"MSG %s 1 %d\r\n%s\r\n" % (who, size, payload)),
        )
