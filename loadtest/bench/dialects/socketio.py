"""python-socketio on gevent: rooms over WebSocket, the usual way to push to browsers from Python.

Socket.IO protocol 5 over Engine.IO protocol 4 over WebSocket (RFC 6455). A user is a room. The client masks with a key
of zeros, so that a masked frame can be prepared once for all connections.
"""

import importlib.util
import json
import sys
from importlib.metadata import version as version_of
from typing import ClassVar

from loadtest.bench.dialects.base import Dialect, DialectError, Login, Place, Seat, Wire

_MODULES = ("socketio", "geventwebsocket")

# Join a room, and send to one; nothing else.
_SERVER = """
from gevent import monkey; monkey.patch_all()
import socketio
from gevent.pywsgi import WSGIServer
from geventwebsocket.handler import WebSocketHandler

hub = socketio.Server(
    async_mode="gevent", ping_interval=3600, max_http_buffer_size=1 << 20, transports=["websocket"], logger=False
)

@hub.event
def join(sid, room):
    hub.enter_room(sid, room)

@hub.event
def signal(sid, room, text):
    hub.emit("signal", text, to=room)

application = socketio.WSGIApp(hub)
server = WSGIServer(("127.0.0.1", 0), application, handler_class=WebSocketHandler, log=None, backlog=4096)
server.start()
print(f"listening on 127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
"""

_UPGRADE = (
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: bench\r\n"
    b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class SocketioDialect(Dialect):
    """A room for each user."""

    name: ClassVar[str] = "socketio"
    install: ClassVar[str] = f"{sys.executable} -m pip install python-socketio gevent-websocket"
    announces_port: ClassVar[bool] = True

    def version(self) -> str | None:
        if any(importlib.util.find_spec(name) is None for name in _MODULES):
            return None
        return version_of("python-socketio")

    def command(self, place: Place) -> list[str]:
        return [sys.executable, "-c", _SERVER]

    def login(self, seat: Seat, listen: bool) -> Login:
        # Each step is answered: 101, Engine.IO's open packet, Socket.IO's connect packet, the event's acknowledgement.
        data = yield _UPGRADE
        while b"\r\n\r\n" not in data or b'"sid"' not in data:
            data += yield b""
        if b" 101 " not in data:
            raise DialectError(f"no WebSocket: {data[:100]!r}")
        data = yield frame(b"40")
        while b'40{"sid"' not in data or not data.endswith(b"}"):
            data += yield b""
        if listen:
            data = yield frame(b"420" + json.dumps(["join", seat.inbox]).encode())
            while not data.endswith(b"430[]"):
                data += yield b""

    def signal(self, sender: Seat, to: Seat, payload: bytes) -> Wire:
        text = payload.decode("latin-1")
        event = json.dumps(["signal", to.inbox, text], separators=(",", ":")).encode()
        delivered = json.dumps(["signal", text], separators=(",", ":")).encode()
        return Wire(frame(b"42" + event), len(b"42" + delivered) + _header_bytes(len(delivered) + 2))


def frame(text: bytes) -> bytes:
    """A text frame from a client (RFC 6455 section 5.2), masked with zeros."""
    size = len(text)
    if size < 126:
        header = bytes((0x81, 0x80 | size))
    elif size < 65_536:
        header = bytes((0x81, 0x80 | 126)) + size.to_bytes(2, "big")
    else:
        header = bytes((0x81, 0x80 | 127)) + size.to_bytes(8, "big")
    return header + bytes(4) + text


def _header_bytes(size: int) -> int:
    """The size of the header of a frame from a server, which is not masked."""
    return 2 if size < 126 else 4 if size < 65_536 else 10
