"""A socket that became a WebSocket: bytes in and out as on a socket, for a login that waits."""

import os
import socket

from loadtest.crowd.login import LoginError
from loadtest.websocket_wire import Unframer, UpgradeError, client_frame, split_answer, upgrade_request

_RECEIVE_BYTES = 4096


class WebSocket:
    """The part of a socket's interface that a login uses. `unframer` goes on where the login has ended."""

    def __init__(self, sock: socket.socket) -> None:
        """Ask the relay for a WebSocket. Waits. Raises OSError, LoginError."""
        self.sock = sock
        self.unframer = Unframer()
        sock.sendall(upgrade_request("relay"))
        answer = b""
        try:
            while (rest := split_answer(answer)) is None:
                data = sock.recv(_RECEIVE_BYTES)
                if not data:
                    raise LoginError("the relay hung up instead of agreeing to a WebSocket")
                answer += data
        except UpgradeError as error:
            raise LoginError(str(error)) from None
        self._ahead = self.unframer.feed(rest)

    def sendall(self, data: bytes) -> None:
        """As on a socket."""
        self.sock.sendall(client_frame(data, os.urandom(4)))

    def recv(self, size: int) -> bytes:
        """As on a socket: empty at the end, with a close frame or without."""
        payload, self._ahead = self._ahead, b""
        while not payload and not self.unframer.closed:
            data = self.sock.recv(size)
            if not data:
                break
            payload = self.unframer.feed(data)
        return payload
