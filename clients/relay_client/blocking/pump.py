"""The thread that carries bytes between a core and its socket. Under gevent the thread is a greenlet.

Strategy: one lock around the core. Whoever changes the core, the pump or a thread of the program, sends at once what
came of it; what the socket does not take is left to the pump. So a request costs one system call and no switch, and
nobody ever waits for a socket while holding the lock.
"""

import contextlib
import logging
import selectors
import socket
import threading
import time
from collections.abc import Callable
from types import TracebackType

from relay_client.core import Core, Phase
from relay_client.errors import RelayError
from relay_client.events import Event
from relay_client.sentences import LOST_BY_END, why_lost, why_unreachable
from relay_client.tls import TlsSocket
from relay_client.url import Endpoint

log = logging.getLogger("relay_client")

RECEIVE_MAX_BYTES = 256 * 1024

# After our CLOSE: how long to read on, so that the relay's kernel does not lose what we said last (a socket closed
# with unread data resets the connection).
GOODBYE_S = 1.0

_AWAKE = float("-inf")


class Pump:
    """Use it as a context manager around every use of the core: it yields the core, with the lock held, and sends.

    `on_event` is called with the lock held; it must not wait. `changed` is notified after every use of the core.
    """

    def __init__(self, core: Core, endpoint: Endpoint, dial_timeout_s: float, on_event: Callable[[Event], None]):
        self.changed = threading.Condition()
        self.core = core
        self._endpoint = endpoint
        self._dial_timeout_s = dial_timeout_s
        self._on_event = on_event
        self._socket: socket.socket | TlsSocket | None = None
        self._unsent = bytearray()
        self._selector = selectors.DefaultSelector()
        self._waker, self._wakened = socket.socketpair()
        self._wakened.setblocking(False)
        self._waker.setblocking(False)
        self._selector.register(self._wakened, selectors.EVENT_READ)
        self._watched = 0
        self._sleeps_until = _AWAKE
        self._thread = threading.Thread(target=self._run, name=f"relay {core.session}", daemon=True)

    @property
    def unsent_bytes(self) -> int:
        """What the socket has not taken yet."""
        return len(self._unsent)

    def start(self) -> None:
        """Begin to connect."""
        self._thread.start()

    def join(self, timeout_s: float) -> None:
        """Wait for the end of the thread, which comes soon after the end of the core."""
        self._thread.join(timeout_s)

    def __enter__(self) -> Core:
        self.changed.acquire()
        return self.core

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._follow_up()
        finally:
            self.changed.release()

    def _follow_up(self) -> None:
        """Hand out events, send, and wake the pump if it sleeps for longer than it should now."""
        self._send()
        while events := self.core.take_events():
            for event in events:
                self._on_event(event)
            self._send()
        self.changed.notify_all()
        if self._sleeps_until != _AWAKE and self._must_wake():
            self._sleeps_until = _AWAKE
            with contextlib.suppress(BlockingIOError):
                self._waker.send(b"\0")

    def _must_wake(self) -> bool:
        core = self.core
        if core.phase is Phase.ENDED or (self._socket is not None and not core.has_connection):
            return True
        wake_at = core.wake_at
        return (wake_at is not None and wake_at < self._sleeps_until) or self._interest() != self._watched

    def _interest(self) -> int:
        if self._socket is None:
            return 0
        return (selectors.EVENT_READ if self.core.wants_data else 0) | (selectors.EVENT_WRITE if self._unsent else 0)

    def _send(self) -> None:
        self._unsent += self.core.data_to_send()
        if self._socket is None:
            self._unsent.clear()
        if not self._unsent:
            return
        assert self._socket is not None
        try:
            while self._unsent:
                del self._unsent[: self._socket.send(self._unsent)]
        except BlockingIOError:
            pass
        except OSError as error:
            self._unsent.clear()
            self.core.lost(why_lost(error), time.monotonic())

    # The thread.

    def _run(self) -> None:
        try:
            while self.core.phase is not Phase.ENDED:
                self._turn()
        except BaseException as error:
            log.exception("the connection's thread failed; this is a bug")
            with self as core:
                core.end(RelayError(f"the client failed inside: {error!r}; see the log"))
        finally:
            self._shut_down()

    def _turn(self) -> None:
        now = time.monotonic()
        with self as core:
            core.tick(now)
            dial = core.should_dial(now)
            if dial:
                core.dialing()
        if dial:
            self._dial()
        else:
            self._sleep()

    def _sleep(self) -> None:
        with self.changed:
            if self.core.phase is Phase.ENDED:
                return
            self._watch(self._interest())
            wake_at = self.core.wake_at
            self._sleeps_until = wake_at if wake_at is not None else float("inf")
        ready = self._selector.select(None if wake_at is None else max(0.0, wake_at - time.monotonic()))
        self._sleeps_until = _AWAKE
        for key, mask in ready:
            if key.fileobj is self._wakened:
                with contextlib.suppress(BlockingIOError):
                    self._wakened.recv(1024)
            elif mask & selectors.EVENT_READ:
                self._receive()

    def _watch(self, interest: int) -> None:
        if interest == self._watched:
            return
        if self._watched == 0:
            self._selector.register(self._socket, interest)  # type: ignore[arg-type]
        elif interest == 0:
            self._selector.unregister(self._socket)  # type: ignore[arg-type]
        else:
            self._selector.modify(self._socket, interest)  # type: ignore[arg-type]
        self._watched = interest

    def _receive(self) -> None:
        assert self._socket is not None
        try:
            data = self._socket.recv(RECEIVE_MAX_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._lost(why_lost(error))
            return
        if not data:
            self._lost(LOST_BY_END)
            return
        with self as core:
            core.receive_data(data, time.monotonic())

    def _lost(self, reason: str) -> None:
        with self as core:
            core.lost(reason, time.monotonic())

    def _dial(self) -> None:
        with self.changed:
            self._hang_up()
        try:
            connection = self._connect()
        except OSError as error:
            self._lost(why_unreachable(error, self._dial_timeout_s))
            return
        connection.setblocking(False)
        with self as core:
            self._socket = connection
            core.connected(time.monotonic())

    def _connect(self) -> socket.socket | TlsSocket:
        endpoint = self._endpoint
        path = endpoint.path
        if path is None:
            connection = socket.create_connection((endpoint.host, endpoint.port), timeout=self._dial_timeout_s)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return TlsSocket(connection, endpoint) if endpoint.tls else connection
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(self._dial_timeout_s)
            connection.connect(path)
        except BaseException:
            connection.close()
            raise
        return connection

    def _hang_up(self) -> None:
        self._watch(0)
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._unsent.clear()

    def _shut_down(self) -> None:
        with self.changed:
            connection, rest = self._socket, bytes(self._unsent)
            self._watch(0)
        if connection is not None:
            _part(connection, rest)
        with self.changed:
            self._hang_up()
            self._selector.close()
            self._waker.close()
            self._wakened.close()


def _part(connection: socket.socket | TlsSocket, rest: bytes) -> None:
    """Send the rest, say that nothing more comes, and wait a little for the other side to have read everything."""
    until = time.monotonic() + GOODBYE_S
    with contextlib.suppress(OSError):
        connection.settimeout(GOODBYE_S)
        connection.sendall(rest)
        connection.shutdown(socket.SHUT_WR)
        while (remaining_s := until - time.monotonic()) > 0:
            connection.settimeout(remaining_s)
            if not connection.recv(RECEIVE_MAX_BYTES):
                return
