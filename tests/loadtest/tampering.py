"""A man in the middle: forwards bytes between users and a real relay, and does to deliveries what a test says."""

from collections.abc import Callable
from typing import Any

import gevent
from gevent import socket
from gevent.server import StreamServer

from relay.protocol.frames import FrameReader, encode_frame
from relay.protocol.limits import FRAME_MAX
from relay.protocol.packets import Delivery, decode

# From the deliveries so far and the new one, as payloads, to what is passed on in its place.
Tamper = Callable[[list[bytes], bytes], list[bytes]]


class TamperingProxy:
    """Listens on `port`. `tamper` changes the deliveries of all users; `cut` ends all connections."""

    def __init__(self, relay_port: int, tamper: Tamper | None = None) -> None:
        self._relay_port = relay_port
        self._tamper = tamper
        self._seen: list[bytes] = []
        self._sockets: list[Any] = []
        self._server = StreamServer(("127.0.0.1", 0), self._serve)
        self._server.start()
        self.port: int = self._server.server_port

    def cut(self) -> None:
        """End all connections, without a word."""
        sockets, self._sockets = self._sockets, []
        for sock in sockets:
            sock.close()

    def stop(self) -> None:
        self.cut()
        self._server.stop()

    def _serve(self, client: Any, _address: object) -> None:
        relay = socket.create_connection(("127.0.0.1", self._relay_port))
        self._sockets += [client, relay]
        upwards = gevent.spawn(self._pump, client, relay.sendall)
        frames = FrameReader(FRAME_MAX)

        def pass_on(data: bytes) -> None:
            frames.feed(data)
            while (payload := frames.next_payload()) is not None:
                for each in self._changed(payload):
                    client.sendall(encode_frame(each))

        self._pump(relay, client.sendall if self._tamper is None else pass_on)
        client.close()
        relay.close()
        upwards.kill()

    def _pump(self, source: Any, give: Callable[[bytes], None]) -> None:
        try:
            while data := source.recv(65536):
                give(data)
        except OSError:
            pass  # one of the two was closed

    def _changed(self, payload: bytes) -> list[bytes]:
        if self._tamper is None or not isinstance(decode(payload), Delivery):
            return [payload]
        self._seen.append(payload)
        return self._tamper(self._seen[:-1], payload)
