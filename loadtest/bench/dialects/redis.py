"""redis-server: publish and subscribe over RESP3, which lets one connection do both."""

import shutil
import subprocess
from typing import ClassVar

from loadtest.bench.dialects.base import Dialect, Login, Place, Seat, Wire


class RedisDialect(Dialect):
    """A user is a channel. Replies to PUBLISH are switched off: a signal has none here either."""

    name: ClassVar[str] = "redis"
    install: ClassVar[str] = "apt install redis-server"

    def version(self) -> str | None:
        path = shutil.which("redis-server")
        if path is None:
            return None
        out = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout
        return next((word[2:] for word in out.split() if word.startswith("v=")), out.strip())

    def command(self, place: Place) -> list[str]:
        settings = {
            "bind": "127.0.0.1",
            "port": str(place.port),
            "dir": str(place.directory),
            "save": "",
            "appendonly": "no",
            "maxclients": "100000",
            "tcp-backlog": "4096",
            # Otherwise only 127.0.0.1 itself may connect, not the rest of 127.0.0.0/8.
            "protected-mode": "no",
            "client-output-buffer-limit": "pubsub 0 0 0",
        }
        return ["redis-server", *(text for name, value in settings.items() for text in (f"--{name}", value))]

    def login(self, seat: Seat, listen: bool) -> Login:
        commands, ending = _command(b"HELLO", b"3"), b"*0\r\n"
        if listen:
            commands, ending = commands + _command(b"SUBSCRIBE", seat.inbox.encode()), b":1\r\n"
        data = yield commands + _command(b"CLIENT", b"REPLY", b"OFF")
        while b"modules" not in data or not data.endswith(ending):
            data += yield b""

    def signal(self, sender: Seat, to: Seat, payload: bytes) -> Wire:
        delivered = b">3\r\n" + _bulk(b"message") + _bulk(to.inbox.encode()) + _bulk(payload)
        return Wire(_command(b"PUBLISH", to.inbox.encode(), payload), len(delivered))


def _bulk(text: bytes) -> bytes:
    return b"$%d\r\n%s\r\n" % (len(text), text)


def _command(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(map(_bulk, words))
