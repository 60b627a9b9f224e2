"""Test tool: a reception over a socket pair, and what a guest gets from it."""

from collections.abc import Iterator
from contextlib import contextmanager

import gevent
import h11
from gevent import socket

from relay.http.reception import House, Reception
from relay.http.site import Site
from relay.transport.stream import Stream
from tests.loop import deadline


class Guest:
    """A client of a reception; `greenlet` is how it is served."""

    def __init__(self, house: House, first: bytes) -> None:
        ours, self.sock = socket.socketpair()
        self.ours = ours
        self.sock.sendall(first[4096:])
        self.greenlet = gevent.spawn(Reception(house), ours, "10.0.0.1:1", first[:4096])
        self.protocol = h11.Connection(h11.CLIENT)

    def served(self) -> Stream | None:
        with deadline("the reception"):
            stream: Stream | None = self.greenlet.get()
        return stream

    def answer(self, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
        """The next answer: status, headers, body."""
        self.protocol = h11.Connection(h11.CLIENT)
        self.protocol.send(h11.Request(method=method, target="/", headers=[("Host", "x"), ("Upgrade", "websocket")]))
        self.protocol.send(h11.EndOfMessage())
        body = b""
        with deadline("an answer"):
            while True:
                event = self.protocol.next_event()
                if event is h11.NEED_DATA:
                    self.protocol.receive_data(self.sock.recv(65536))
                elif isinstance(event, h11.Response | h11.InformationalResponse):
                    response = event
                    if response.status_code == 101:
                        break
                elif isinstance(event, h11.Data):
                    body += event.data
                else:
                    break
        headers = {name.decode(): value.decode() for name, value in response.headers}
        return response.status_code, headers, body

    def close(self) -> None:
        self.greenlet.kill()
        self.ours.close()
        self.sock.close()


def house(
    site: Site | None = None, *, origins: tuple[str, ...] = (), limit_s: float = 20.0, trouble: str | None = None
) -> House:
    return House(site, frozenset(origins), limit_s, lambda: trouble)


@contextmanager
def visiting(first: bytes, at: House) -> Iterator[Guest]:
    guest = Guest(at, first)
    try:
        yield guest
    finally:
        guest.close()


def get(path: str = "/", *headers: str, method: str = "GET", host: str = "relay.test") -> bytes:
    """A request as bytes."""
    return "\r\n".join([f"{method} {path} HTTP/1.1", f"Host: {host}", *headers, "", ""]).encode("latin-1")


def upgrade(*headers: str, path: str = "/ws") -> bytes:
    """A request for a WebSocket."""
    return get(
        path,
        "Upgrade: websocket",
        "Connection: keep-alive, Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        *headers,
    )
