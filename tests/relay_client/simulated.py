"""A small relay in memory, for one process's tests: the semantics that clients rely on, and hooks to misbehave.

Bytes in, bytes out, like the protocol objects it is made of: no sockets, threads or clock. What it does is meant to be
obvious rather than fast: a list per conversation, a cursor per device.
"""

from collections.abc import Callable
from typing import Any

from relay.protocol.addresses import conversation_for, user_of
from relay.protocol.codes import CloseCode, ErrorCode
from relay.protocol.connection import ServerConnection
from relay.protocol.errors import RemoteError
from relay.protocol.frames import FrameReader
from relay.protocol.limits import FRAME_MAX
from relay.protocol.packets import (
    Ack,
    Call,
    Close,
    Delivery,
    Error,
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
    Unknown,
    Welcome,
    decode,
    encode,
    encode_payload,
)
from relay.protocol.payloads import MSGPACK, decode_body, encode_body
from relay.protocol.scram import Credentials, LoginRefusedError, make_credentials

PASSWORD = "secret"
TIME_MS = 1_700_000_000_000
# One derivation for all users: only their names differ.
CREDENTIALS: Credentials = make_credentials(PASSWORD, 4096)

Device = tuple[str, str]
# Called with each packet a logged-in session sends; True means that it was dealt with.
Hook = Callable[["Session", Packet], bool]


class SimulatedRelay:
    """All users exist and have the password PASSWORD, except those in `strangers`."""

    def __init__(self) -> None:
        self.strangers: set[str] = set()
        self.logs: dict[str, list[Message]] = {}
        self.cursors: dict[Device, dict[str, int]] = {}
        self.ids: dict[Device, dict[int, tuple[str, int, Message]]] = {}
        self.sessions: dict[str, Session] = {}
        self.methods: dict[str, set[str]] = {}
        self.received: list[Packet] = []  # everything that logged-in sessions sent, in order
        self.keepalive_ms = 25_000
        self.generation = "g1"
        self.sessions_lag = False  # whether new sessions begin lagging
        self.hook: Hook = lambda session, packet: False
        # What a new connection gets instead of a login, if set.
        self.refusal: Close | None = None
        # The answer to a call that nobody here is asked, by method.
        self.answers: dict[str, Callable[[Any], Any]] = {"presence.list": self._presence}

    def connect(self) -> "Session":
        """A new connection."""
        return Session(self)

    def store(self, sender: str, to: str, content_type: str, body: bytes, message_id: int = 0) -> tuple[str, int]:
        """Append a message and deliver it, as if `sender` had sent it. Returns (conversation, offset)."""
        return self.append(Message(sender, to, message_id, content_type, body))

    def say(self, sender: str, to: str, text: str) -> tuple[str, int]:
        """`store` of a text."""
        return self.store(sender, to, *encode_body(text))

    def append(self, message: Message) -> tuple[str, int]:
        conversation = conversation_for(user_of(message.sender), message.to)
        log = self.logs.setdefault(conversation, [])
        log.append(message)
        for session in self.sessions.values():
            if session.receiving and session.is_in(conversation):
                session.offer(conversation, len(log), own=session.address == message.sender)
        return conversation, len(log)

    def sent(self, kind: type[Packet]) -> list[Any]:
        """The packets of this type that sessions sent."""
        return [packet for packet in self.received if isinstance(packet, kind)]

    def _presence(self, arguments: Any) -> Any:
        users: dict[str, list[str]] = {}
        for address in sorted(self.sessions):
            users.setdefault(user_of(address), []).append(address.partition("/")[2])
        return {"users": [{"user": user, "sessions": devices, "bot": False} for user, devices in users.items()]}


class Session:
    """One connection of a client: `receive` takes its bytes, `take_out` gives those for it."""

    def __init__(self, relay: SimulatedRelay) -> None:
        self.relay = relay
        self.device: Device = ("", "")
        self.receiving = False
        self.lagging = False  # whether deliveries are held back, as for a session that is read to from the log
        self.closed = False
        self._behind: list[tuple[str, int]] = []
        self._out = bytearray()
        self._login: ServerConnection | None = ServerConnection()
        self._frames = FrameReader(FRAME_MAX)

    @property
    def address(self) -> str:
        return "/".join(self.device)

    def is_in(self, conversation: str) -> bool:
        return self.device[0] in conversation.split("@")

    def receive(self, data: bytes) -> None:
        """Bytes from the client."""
        if self._login is not None:
            self._login.receive_data(data)
            self._log_in(self._login)
        else:
            self._frames.feed(data)
        while not self.closed and self._login is None and (payload := self._frames.next_payload()) is not None:
            packet = decode(payload)
            assert not isinstance(packet, Unknown)
            self.relay.received.append(packet)
            if not self.relay.hook(self, packet):
                self._handle(packet)

    def take_out(self) -> bytes:
        """Bytes for the client."""
        data = bytes(self._out)
        self._out.clear()
        return data

    def push(self, packet: Packet) -> None:
        """Send a packet to the client."""
        if not self.closed:
            self._out += encode(packet)

    def push_bytes(self, data: bytes) -> None:
        """Send anything."""
        self._out += data

    def close(self, code: int, sentence: str = "because", retry_ms: int | None = None) -> None:
        """Say CLOSE; the connection is to be closed when it is sent."""
        self.push(Close(code, sentence, retry_ms))
        self.leave()

    def leave(self) -> None:
        """The connection is gone."""
        self.closed = True
        if self.relay.sessions.get(self.address) is self:
            del self.relay.sessions[self.address]

    def offer(self, conversation: str, offset: int, own: bool = False) -> None:
        """Deliver a message now, or when `catch_up` is called. An own one comes only then, from the log."""
        if self.lagging:
            self._behind.append((conversation, offset))
        elif not own:
            self.deliver(conversation, offset)

    def catch_up(self) -> None:
        """Deliver what was held back, and stop holding back."""
        self.lagging = False
        behind, self._behind = self._behind, []
        for conversation, offset in behind:
            self.deliver(conversation, offset)

    def deliver(self, conversation: str, offset: int) -> None:
        """Send a DELIVERY."""
        message = self.relay.logs[conversation][offset - 1]
        self.push(Delivery(conversation, offset, TIME_MS + offset, encode_payload(message)))

    def _log_in(self, login: ServerConnection) -> None:
        try:
            while (packet := login.next_packet()) is not None:
                if self.relay.refusal is not None:
                    self.close(*self.relay.refusal)
                    return
                if isinstance(packet, Hello):
                    self.device = (packet.user, packet.device)
                    login.challenge(packet.user, CREDENTIALS, packet.data)
                elif isinstance(packet, Proof):
                    self._welcome(login, packet)
                    return
        except (RemoteError, LoginRefusedError):
            self.close(CloseCode.LOGIN_FAILED, "the user name or the password is wrong")
        finally:
            self._out += login.data_to_send()

    def _welcome(self, login: ServerConnection, proof: Proof) -> None:
        proven = login.prove(proof)
        if self.device[0] in self.relay.strangers:
            raise LoginRefusedError("unknown")
        if (earlier := self.relay.sessions.pop(self.address, None)) is not None:
            earlier.close(CloseCode.REPLACED, "this device logged in elsewhere")
        self.relay.sessions[self.address] = self
        last_id = max(self.relay.ids.get(self.device, {}), default=0)
        keepalive_ms = self.relay.keepalive_ms
        self.lagging = self.relay.sessions_lag
        told = (keepalive_ms, TIME_MS, last_id, FRAME_MAX, None, "simulated/1", self.relay.generation)
        login.welcome(Welcome(1, self.address, proven, *told))
        self._frames.feed(login.take_rest())
        self._login = None

    def _handle(self, packet: Packet) -> None:
        match packet:
            case Ping(token):
                self.push(Pong(token))
            case Close():
                self.close(CloseCode.NORMAL, "goodbye")
            case Message():
                self._store(packet)
            case Ack(conversation, delivered, _):
                cursors = self.relay.cursors.setdefault(self.device, {})
                assert delivered <= len(self.relay.logs.get(conversation, [])), "an ACK beyond the log"
                cursors[conversation] = max(cursors.get(conversation, 0), delivered)
            case Signal():
                for session in self._targets(packet.to):
                    session.push(packet)
            case Call():
                self._call(packet)
            case Result() | Fault():
                for session in self._targets(packet.to):
                    session.push(packet)

    def _store(self, message: Message) -> None:
        ids = self.relay.ids.setdefault(self.device, {})
        if message.id in ids:
            conversation, offset, earlier = ids[message.id]
            assert earlier == message, "a repetition changed"
        else:
            assert message.id > max(ids, default=0), "message ids must grow"
            conversation, offset = self.relay.append(message)
            ids[message.id] = (conversation, offset, message)
        self.push(Stored(message.id, conversation, offset, TIME_MS + offset))

    def _targets(self, to: str) -> list["Session"]:
        return [s for address, s in self.relay.sessions.items() if to in (address, user_of(address))]

    def _call(self, call: Call) -> None:
        if call.to == "relay":
            self._answer_own(call)
            return
        method = call.method
        for session in self._targets(call.to):
            if "/" in call.to or method in self.relay.methods.get(session.address, ()):
                session.push(call)
                return
        self.push(Fault("relay", self.address, call.id, ErrorCode.NO_SUCH_METHOD, f"nobody serves {method}"))

    def _answer_own(self, call: Call) -> None:
        arguments = decode_body(call.content_type, call.body) if call.body else {}
        assert isinstance(arguments, dict)
        known = {"messages.receive": self._receive, "messages.sync": lambda _: {}, "methods.announce": self._announce}
        answer = known.get(call.method) or self.relay.answers.get(call.method)
        if answer is None:
            self.push(Fault("relay", self.address, call.id, ErrorCode.NO_SUCH_METHOD, "there is no such method"))
            return
        self.push(Result("relay", self.address, call.id, MSGPACK, encode_body(answer(arguments))[1]))

    def _announce(self, arguments: Any) -> dict[str, Any]:
        self.relay.methods[self.address] = set(arguments["methods"])
        return {}

    def _receive(self, arguments: Any) -> dict[str, Any]:
        cursors = self.relay.cursors.get(self.device)
        if cursors is None:
            start = arguments["start"]
            heads = {name: len(log) for name, log in self.relay.logs.items() if self.is_in(name)}
            cursors = {name: 0 if start is None else max(0, head - start) for name, head in heads.items()}
            self.relay.cursors[self.device] = cursors
        if not self.receiving:
            self.receiving = True
            for name, log in self.relay.logs.items():
                if self.is_in(name):
                    for offset in range(cursors.get(name, 0) + 1, len(log) + 1):
                        self.offer(name, offset)
        return {}


def refuse_messages(code: int, sentence: str = "no") -> Hook:
    """A hook: every message is refused."""

    def hook(session: Session, packet: Packet) -> bool:
        if isinstance(packet, Message):
            session.push(Error(17, packet.id, code, sentence))
        return isinstance(packet, Message)

    return hook


def ignore(*kinds: type[Packet]) -> Hook:
    """A hook: packets of these types get no answer."""
    return lambda session, packet: isinstance(packet, kinds)
