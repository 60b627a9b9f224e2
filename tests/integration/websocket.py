"""A peer that speaks through a WebSocket, by the library `websockets`; otherwise like any peer."""

import contextlib
import socket
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.integration.peer import DEADLINE_S, Peer


class WebSocketPeer(Peer):
    """`Peer` over a WebSocket. `last_code` is that of the close frame that the relay sent."""

    def __init__(self, address: str, source: str = "127.0.0.1", **options: Any) -> None:
        super().__init__(address, source)
        headers = options.pop("headers", {})
        # Entered by hand: it lives as long as the peer.
        self.websocket = connect(
            f"{'wss' if 'ssl' in options else 'ws'}://{address}/ws",
            sock=self.sock,
            compression=None,
            proxy=None,
            additional_headers=headers,
            open_timeout=DEADLINE_S,
            close_timeout=DEADLINE_S,
            ping_interval=None,
            **options,
        ).__enter__()
        self.last_code: int | None = None

    def close(self) -> None:
        self.websocket.close()

    def vanish(self) -> None:
        """Cut the connection without a close frame."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)

    def send_bytes(self, data: bytes) -> None:
        self.websocket.send(data)

    def _receive(self) -> bytes:
        try:
            data = self.websocket.recv(timeout=DEADLINE_S)
        except TimeoutError:
            raise AssertionError(f"the relay says nothing to {self.name or 'the peer'}") from None
        except ConnectionClosed as closed:
            self.last_code = closed.rcvd.code if closed.rcvd else None
            return b""
        assert isinstance(data, bytes)
        return data
