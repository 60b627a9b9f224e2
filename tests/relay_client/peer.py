"""A simulated relay behind a real socket, in threads of this process, that can be made to cut, stall and vanish.

A test tool, not a mock: it speaks the whole protocol, so clients under test run unchanged.
"""

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

from tests.relay_client.simulated import PASSWORD, Session, SimulatedRelay

# Far more than anything here takes; a test that reaches it has found a hang.
DEADLINE_S = 20.0

_RESET = struct.pack("ii", 1, 0)


class Peer:
    """Listens while it is used as a context manager. `path` makes it a Unix socket.

    `use` is how a test touches the simulated relay; what that makes it say goes out at once.
    """

    def __init__(self, path: Path | None = None, host: str = "127.0.0.1") -> None:
        self.relay = SimulatedRelay()
        self.path = path
        self.host = host
        self.port = 0
        self.connections = 0  # how many were accepted so far
        self.cut_after: int | None = None  # cut each connection once so many bytes were sent to the client
        self.stalled = False  # send nothing
        self._changed = threading.Condition()
        self._links: dict[Session, _Link] = {}
        self._listener: socket.socket | None = None

    def __enter__(self) -> "Peer":
        self.listen()
        return self

    def __exit__(self, *args: object) -> None:
        self.vanish()

    def url(self, user: str = "alice", password: str = PASSWORD) -> str:
        login = f"{quote(user)}:{quote(password)}"
        if self.path is not None:
            return f"relay+unix://{login}@{quote(str(self.path))}"
        return f"relay://{login}@{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    def listen(self) -> None:
        """Begin, or begin again, to accept connections; on the same port as before."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(str(self.path))
        else:
            listener = socket.socket(socket.AF_INET6 if ":" in self.host else socket.AF_INET)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((self.host, self.port))
            self.port = listener.getsockname()[1]
        listener.listen(100)
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def vanish(self) -> None:
        """Stop listening, and cut all connections."""
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        self.cut()

    def cut(self, reset: bool = False) -> None:
        """Cut all connections: with an end of stream, or with a reset."""
        with self._changed:
            for link in list(self._links.values()):
                link.close(reset)

    @contextlib.contextmanager
    def use(self) -> Iterator[SimulatedRelay]:
        """The relay, for as long as nobody else touches it."""
        with self._changed:
            yield self.relay
            self._flush()
            self._changed.notify_all()

    def until(self, condition: Callable[[SimulatedRelay], bool]) -> None:
        """Wait until the relay is so. Fails if it does not become so."""
        with self._changed:
            assert self._changed.wait_for(lambda: condition(self.relay), DEADLINE_S), self.relay.received

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with self._changed:
                self.connections += 1
                session = self.relay.connect()
                link = self._links[session] = _Link(connection, self.cut_after)
            threading.Thread(target=self._serve, args=(session, link), daemon=True).start()

    def _serve(self, session: Session, link: "_Link") -> None:
        while data := link.receive():
            with self.use():
                session.receive(data)
        with self.use():
            session.leave()
            link.close()
            del self._links[session]

    def _flush(self) -> None:
        for session, link in self._links.items():
            if not self.stalled:
                link.send(session.take_out())
            if session.closed and not link.closed:
                link.end()


class _Link:
    """One accepted connection."""

    def __init__(self, connection: socket.socket, cut_after: int | None) -> None:
        self._connection = connection
        self._left = cut_after
        self.closed = False

    def receive(self) -> bytes:
        try:
            return self._connection.recv(65536)
        except OSError:
            return b""

    def send(self, data: bytes) -> None:
        if self._left is not None:
            data, self._left = data[: self._left], max(0, self._left - len(data))
        with contextlib.suppress(OSError):
            self._connection.sendall(data)
        if self._left == 0:
            self.close()

    def end(self) -> None:
        """Say that nothing more comes; the client closes."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_WR)

    def close(self, reset: bool = False) -> None:
        self.closed = True
        with contextlib.suppress(OSError):
            if reset:
                self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            else:
                self._connection.shutdown(socket.SHUT_RDWR)
            self._connection.close()


def until(condition: Callable[[], bool], what: str = "it") -> None:
    """Poll until the condition holds. Fails if it does not become so."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen"
        time.sleep(0.005)
