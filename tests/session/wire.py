"""Test tool: a real session over a real socket pair in gevent's loop, and the client's end of it."""

from collections.abc import Callable

import gevent
from gevent import socket

from relay.protocol.frames import FrameReader
from relay.protocol.limits import FRAME_MAX
from relay.protocol.packets import Close, Packet, StoredRun, Unknown, decode, encode, unfold
from relay.session.outbox import Turn
from relay.session.session import Identity, Session, Surroundings
from relay.transport.connection import Connection
from tests.loop import deadline, until
from tests.router.town import Town


def _unfolded(payload: bytes) -> list[Packet | Unknown]:
    """The packet, or the STOREDs that a STOREDRUN stands for."""
    packet = decode(payload)
    return [*unfold(packet)] if isinstance(packet, StoredRun) else [packet]


class Client:
    """The other end: sends packets or bytes, reads packets. Reading yields to the loop."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._frames = FrameReader(FRAME_MAX)
        self._unfolded: list[Packet | Unknown] = []

    def send(self, *packets: Packet | bytes) -> None:
        self.sock.sendall(b"".join(packet if isinstance(packet, bytes) else encode(packet) for packet in packets))

    def unread(self, data: bytes) -> None:
        """Bytes that somebody else read from this connection."""
        self._frames.feed(data)

    def receive_frame(self) -> bytes | None:
        """The next payload, or None at the end of the stream."""
        with deadline("a packet"):
            while (payload := self._frames.next_payload()) is None:
                data = self.sock.recv(65536)
                if not data:
                    assert self._frames.take_rest() == b"", "the stream ends inside a frame"
                    return None
                self._frames.feed(data)
        return payload

    def receive(self) -> Packet | Unknown:
        if not self._unfolded:
            payload = self.receive_frame()
            assert payload is not None, "the connection was closed"
            self._unfolded = _unfolded(payload)
        return self._unfolded.pop(0)

    def rest(self) -> list[Packet | Unknown]:
        """All packets up to the end of the stream."""
        packets, self._unfolded = self._unfolded, []
        while (payload := self.receive_frame()) is not None:
            packets += _unfolded(payload)
        return packets

    def closing(self) -> Close:
        """The CLOSE that ends the stream."""
        *_, last = self.rest()
        assert isinstance(last, Close)
        return last

    def close(self) -> None:
        self.sock.close()


class Wire:
    """A town, and in it sessions that are real."""

    def __init__(self, *users: str, outbox_max_bytes: int = 1 << 20) -> None:
        self.town = Town(*users)
        self.gone: list[Session] = []
        self.turn = Turn(gevent.get_hub().loop.run_callback)
        self.surroundings = Surroundings(self.town.router, self.turn, outbox_max_bytes, self.gone.append)
        self._opened: list[Callable[[], None]] = []

    def connect(
        self,
        user: str,
        device: str = "phone",
        *,
        rooms: tuple[str, ...] = (),
        blocked: tuple[str, ...] = (),
        start: bool = True,
        buffer_bytes: int | None = None,
    ) -> tuple[Session, Client]:
        """A session that has logged in, and its client."""
        ours, theirs = socket.socketpair()
        if buffer_bytes is not None:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer_bytes)
        connection = Connection(ours, f"test:{user}", gevent.get_hub().loop)
        session = Session(Identity(user, device, False), connection, self.surroundings)
        if start:
            session.start()
            self._opened.append(session.abort)
        self._opened.append(theirs.close)
        with self.town.router.expecting(user):
            self.town.router.learn(user, rooms, blocked)
            self.town.router.enter(session)
        return session, Client(theirs)

    def until_gone(self, session: Session) -> None:
        until(lambda: session in self.gone, f"the end of {session}")

    def close(self) -> None:
        """Close whatever is still open."""
        for close in self._opened:
            close()
