"""A raw peer of the relay: writes any bytes, reads packets. Blocking, and every wait fails at a deadline."""

import socket
import time
from collections.abc import Callable
from typing import Any, TypeVar

from relay.protocol.frames import FrameReader
from relay.protocol.limits import FRAME_MAX
from relay.protocol.packets import (
    Call,
    Challenge,
    Close,
    Delivery,
    Fault,
    Hello,
    Message,
    Packet,
    Ping,
    Pong,
    Proof,
    Result,
    Signal,
    Stored,
    StoredRun,
    Unknown,
    Welcome,
    decode,
    encode,
    unfold,
)
from relay.protocol.payloads import decode_body, encode_body
from relay.protocol.scram import MECHANISM, ClientLogin

P = TypeVar("P", bound=Packet)

PASSWORD = "secret"

# Far more than any answer takes: a test that waits so long has found a hang.
DEADLINE_S = 15.0


class Peer:
    """One connection to a relay. `name` is how the relay's log calls it. `source` is the address to connect from."""

    def __init__(self, address: str, source: str = "127.0.0.1", receive_buffer_bytes: int | None = None) -> None:
        self.sock = _connect(address, source, receive_buffer_bytes)
        self.name = "" if self.sock.family == socket.AF_UNIX else _text(self.sock.getsockname())
        self.address = ""
        self.welcome: Welcome | None = None
        self.payloads: list[bytes] = []
        self._frames = FrameReader(FRAME_MAX)
        self._unfolded: list[Stored] = []
        self._call_id = 1000

    @property
    def user(self) -> str:
        """The user who is logged in."""
        return self.address.partition("/")[0]

    def close(self) -> None:
        """Hang up."""
        self.sock.close()

    # Out.

    def send_bytes(self, data: bytes) -> None:
        self.sock.sendall(data)

    def send(self, *packets: Packet) -> None:
        self.send_bytes(b"".join(map(encode, packets)))

    def signal(self, to: str, body: bytes = b"", packet_id: int | None = None) -> None:
        self.send(Signal(self.address, to, packet_id, "", body))

    def message(self, to: str, message_id: int, body: bytes = b"") -> None:
        self.send(Message(self.address, to, message_id, "", body))

    def call(self, to: str, call_id: int, method: str = "work", timeout_ms: int = 20_000) -> None:
        self.send(Call(self.address, to, call_id, method, timeout_ms, "", b""))

    # In.

    def packet(self) -> Packet | Unknown:
        """The next packet, whatever it is. Fails at the end of the connection."""
        if self._unfolded:
            return self._unfolded.pop(0)
        while (payload := self._frames.next_payload()) is None:
            data = self._receive()
            assert data, f"the relay hung up on {self.name}"
            self._frames.feed(data)
        self.payloads.append(payload)
        packet = decode(payload)
        if isinstance(packet, StoredRun):
            first, *self._unfolded = unfold(packet)
            return first
        return packet

    def expect(self, kind: type[P]) -> P:
        """The next packet, which must be of this kind. A PING is answered on the way."""
        packet = self.packet()
        while isinstance(packet, Ping) and kind is not Ping:
            self.send(Pong(packet.token))
            packet = self.packet()
        assert isinstance(packet, kind), f"expected {kind.__name__}, got {str(packet)[:300]}"
        return packet

    def expect_delivery(self) -> Delivery:
        """The next packet, which must be a message."""
        return self.expect(Delivery)

    def expect_ping(self) -> None:
        """The next packet, which must be a PING; answered."""
        self.send(Pong(self.expect(Ping).token))

    def closing(self, stay: bool = False) -> Close:
        """The CLOSE that ends this connection, with nothing behind it; other packets before it are skipped.

        Like every client, hangs up then; `stay` does not.
        """
        packet = self.packet()
        while not isinstance(packet, Close):
            packet = self.packet()
        self.await_end()
        if not stay:
            self.close()
        return packet

    def await_end(self) -> None:
        """The relay hangs up, without another byte."""
        assert self._receive() == b""

    def has_news(self) -> bool:
        """Whether something has arrived, or the connection has ended. Does not wait."""
        self.sock.setblocking(False)
        try:
            return self.sock.recv(1, socket.MSG_PEEK) is not None
        except BlockingIOError:
            return False
        finally:
            self.sock.settimeout(DEADLINE_S)

    def _receive(self) -> bytes:
        try:
            return self.sock.recv(65536)
        except TimeoutError:
            raise AssertionError(f"the relay says nothing to {self.name or 'the peer'}") from None

    # Conversations of several packets.

    def hello(self, login: ClientLogin, user: str, device: str = "device") -> Challenge:
        """Begin a login; the relay's challenge."""
        self.send(Hello(1, 1, user, device, MECHANISM, login.first(), "test/1"))
        return self.expect(Challenge)

    def log_in(self, user: str, device: str = "device", password: str = PASSWORD) -> Welcome:
        """A whole login, the relay's proof included."""
        login = ClientLogin(user, password)
        self.send(Proof(login.final(self.hello(login, user, device).data)))
        self.welcome = self.expect(Welcome)
        login.check(self.welcome.data)
        self.address = self.welcome.session
        return self.welcome

    def ask(self, method: str, arguments: Any = None, to: str = "relay") -> Result | Fault:
        """Make a call and wait for its answer; nothing else may come before it."""
        self.call_relay(method, arguments, to)
        answer = self.packet()
        assert isinstance(answer, Result | Fault), answer
        assert (answer.to, answer.id) == (self.address, self._call_id)
        return answer

    def call_relay(self, method: str, arguments: Any = None, to: str = "relay") -> None:
        """Make a call with arguments, and do not wait."""
        self._call_id += 1
        content_type, body = encode_body(arguments or {})
        self.send(Call(self.address, to, self._call_id, method, 20_000, content_type, body))

    def receive_messages(self, start: int | None = None) -> None:
        """Have the relay deliver to this session."""
        assert isinstance(self.ask("messages.receive", {"start": start}), Result)

    def store(self, to: str, message_id: int, body: bytes = b"") -> Stored:
        """Send a message and wait for its acknowledgement; nothing else may come before it."""
        self.message(to, message_id, body)
        stored = self.expect(Stored)
        assert stored.id == message_id
        return stored

    def alive(self) -> None:
        """The session is open: it answers a ping, and has nothing else to say."""
        self.send(Ping(77))
        assert self.expect(Pong) == Pong(77)


def message_in(delivery: Delivery) -> Message:
    """The sender's packet inside a delivery."""
    packet = decode(delivery.packet)
    assert isinstance(packet, Message)
    return packet


def value_in(result: Result | Fault) -> Any:
    """What a method returned."""
    assert isinstance(result, Result), result
    return decode_body(result.content_type, result.body)


def eventually(condition: Callable[[], bool], what: Callable[[], object] = lambda: "the condition") -> None:
    """Poll until `condition` holds. Fails, saying `what`, at the deadline."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"still not: {what()}"
        time.sleep(0.01)


def _connect(address: str, source: str, receive_buffer_bytes: int | None) -> socket.socket:
    family, place = _place(address)
    sock = socket.socket(family)
    sock.settimeout(DEADLINE_S)
    if receive_buffer_bytes is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
    try:
        if family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.bind((source, 0))
        sock.connect(place)
    except OSError:
        sock.close()
        raise
    return sock


def _place(address: str) -> tuple[socket.AddressFamily, Any]:
    if address.startswith("unix:"):
        return socket.AF_UNIX, address.removeprefix("unix:")
    host, _, port = address.rpartition(":")
    if host.startswith("["):
        return socket.AF_INET6, (host[1:-1], int(port))
    return socket.AF_INET, (host, int(port))


def _text(name: tuple[Any, ...]) -> str:
    return f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}"
