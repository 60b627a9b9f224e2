"""Both ends of a connection as pure objects: bytes in, packets out, bytes to send. No sockets, no clock, no threads.

Call contract, the same for both: `receive_data` with what arrived, then `next_packet` until it returns None, then
send what `data_to_send` returns. After a RemoteError, send `data_to_send` (it ends with a CLOSE) and close.

The relay uses `ServerConnection` for the login only and then hands the socket to a session, which reads the same
frames and packets without an object in between; a client stays with its `ClientConnection`.
"""

from collections import deque

from relay.protocol.codes import CloseCode
from relay.protocol.errors import LocalError, RemoteError
from relay.protocol.frames import FrameReader
from relay.protocol.limits import (
    FRAME_MAX,
    FRAME_MAX_BEFORE_LOGIN,
    MESSAGE_WINDOW,
    SENTENCE_MAX_BYTES,
    VERSION_MAX,
    VERSION_MIN,
)
from relay.protocol.packets import (
    Challenge,
    Close,
    Hello,
    Packet,
    Ping,
    Pong,
    Proof,
    Stored,
    StoredRun,
    Unknown,
    Welcome,
    decode,
    encode,
    name_of,
    unfold,
)
from relay.protocol.scram import MECHANISM, ClientLogin, Credentials, LoginRefusedError, ServerLogin
from relay.protocol.states import FROM_CLIENT, FROM_RELAY, State, next_state
from relay.protocol.tickets import MECHANISM as TICKET
from relay.protocol.tickets import TICKET_MAX_BYTES, ClientTicket, Resume

# What other protocols say first; named in the refusal, because the person who connected wants to know.
_STRANGERS = {
    b"GET ": "HTTP",
    b"POST": "HTTP",
    b"HEAD": "HTTP",
    b"PUT ": "HTTP",
    b"OPTI": "HTTP",
    b"CONN": "HTTP",
    b"SSH-": "SSH",
    b"PRI ": "HTTP",
    b"\x16\x03": "TLS",
}


def clip_sentence(sentence: str) -> str:
    """The sentence, cut to what a packet may carry."""
    return sentence.encode()[:SENTENCE_MAX_BYTES].decode("utf-8", "ignore")


class _Connection:
    """What both ends share: the frame reader, the state, and the bytes to send."""

    def __init__(self) -> None:
        self.state = State.GREETING
        self.closed_by_peer: Close | None = None
        self.closed_with: CloseCode | None = None
        self._frames = FrameReader(FRAME_MAX_BEFORE_LOGIN)
        self._out = bytearray()

    def receive_data(self, data: bytes) -> None:
        """Take in bytes from the peer. After the connection closed they are ignored."""
        if self.state is not State.CLOSED:
            self._frames.feed(data)

    def data_to_send(self) -> bytes:
        """The bytes to send now; each is returned once."""
        data = bytes(self._out)
        self._out.clear()
        return data

    def close(self, code: CloseCode, sentence: str, retry_ms: int | None = None) -> None:
        """Say goodbye (once) and ignore what arrives from now on."""
        if self.state is not State.CLOSED:
            self.state = State.CLOSED
            self.closed_with = code
            self._out += encode(Close(code, clip_sentence(sentence), retry_ms))

    def _take(self, table: dict[tuple[State, type[Packet]], State]) -> Packet | Unknown | None:
        if self.state is State.CLOSED:
            return None
        try:
            payload = self._frames.next_payload()
            if payload is None:
                return None
            packet = decode(payload)
            self.state = next_state(table, self.state, packet)
        except RemoteError as error:
            self.close(error.code, error.sentence)
            raise
        if isinstance(packet, Close):
            self.closed_by_peer = packet
        return packet


class ServerConnection(_Connection):
    """The relay's end, up to the moment the login is complete.

    `next_packet` returns the client's HELLO; answer with `challenge`. It returns the PROOF; check it with `prove`,
    then `welcome`. `take_rest` gives what the client sent after its PROOF.
    """

    def __init__(self) -> None:
        super().__init__()
        self.version = 0
        self._login: ServerLogin | None = None
        self._first = True

    def next_packet(self) -> Packet | Unknown | None:
        """The client's next packet. Raises RemoteError for anything but a valid login in the right order."""
        if self._first:
            self._refuse_strangers()
        packet = self._take(FROM_CLIENT)
        if isinstance(packet, Hello):
            self._first = False
            self._agree(packet)
        return packet

    def challenge(self, user: str, credentials: Credentials, client_first: bytes) -> None:
        """Answer HELLO. Raises LoginRefusedError for a malformed SCRAM message."""
        if self.state is not State.CHALLENGED:
            raise LocalError(f"there is no HELLO to answer; the connection is: {self.state.value}")
        self._login = ServerLogin(user, credentials)
        self._out += encode(Challenge(self.version, self._login.first(client_first)))

    def prove(self, proof: Proof) -> bytes:
        """The data for WELCOME, if the proof is right. Raises LoginRefusedError."""
        if self._login is None:
            raise LocalError("there was no challenge")
        return self._login.final(proof.data)

    def welcome(self, welcome: Welcome) -> None:
        """Complete the login. From here on a frame may be as long as FRAME_MAX."""
        if self.state not in (State.PROVED, State.CHALLENGED):
            raise LocalError(f"WELCOME cannot be sent while the connection is: {self.state.value}")
        self.state = State.OPEN
        self._frames.limit = FRAME_MAX
        self._out += encode(welcome)

    def take_rest(self) -> bytes:
        """What arrived behind the login, for the session to begin with."""
        return self._frames.take_rest()

    def _agree(self, hello: Hello) -> None:
        version = min(hello.version_max, VERSION_MAX)
        if version < max(hello.version_min, VERSION_MIN):
            sentence = (
                f"this relay speaks versions {VERSION_MIN} to {VERSION_MAX} of the protocol, "
                f"the client {hello.version_min} to {hello.version_max}"
            )
            self.close(CloseCode.UNSUPPORTED_VERSION, sentence)
            raise RemoteError(CloseCode.UNSUPPORTED_VERSION, sentence)
        self.version = version

    def _refuse_strangers(self) -> None:
        if self._frames.starts_with(b"\0"):
            return
        for beginning, protocol in _STRANGERS.items():
            if self._frames.starts_with(beginning):
                sentence = f"this port speaks the Relay protocol, not {protocol}"
                self.close(CloseCode.NOT_THE_PROTOCOL, sentence)
                raise RemoteError(CloseCode.NOT_THE_PROTOCOL, sentence)


class ClientConnection(_Connection):
    """A client's end, for the whole life of a connection.

    The first packet out of `next_packet` is WELCOME or CLOSE; the login happens inside. PING is answered inside, too,
    and a STOREDRUN comes out as the STOREDs it stands for.
    """

    def __init__(self, user: str, password: str, device: str, agent: str, resume: Resume | None = None) -> None:
        """With `resume`, what an earlier login left for this user and device, that is tried instead of the password."""
        super().__init__()
        self._login: ClientLogin | ClientTicket = ClientTicket(resume) if resume else ClientLogin(user, password)
        # Once open: what the next login may use.
        self.resume: Resume | None = None
        self._stored: deque[Stored] = deque()
        mechanism = TICKET if resume else MECHANISM
        self._out += encode(Hello(VERSION_MIN, VERSION_MAX, user, device, mechanism, self._login.first(), agent))

    def next_packet(self) -> Packet | Unknown | None:
        """The relay's next packet that concerns the program. Raises RemoteError when the relay breaks the rules.

        Answering a CHALLENGE derives a key, which takes milliseconds of CPU.
        """
        while not self._stored and (packet := self._take(FROM_RELAY)) is not None:
            if isinstance(packet, Ping):
                self._out += encode(Pong(packet.token))
            elif isinstance(packet, Challenge):
                self._answer(packet)
            elif isinstance(packet, StoredRun):
                self._unfold(packet)
            else:
                if isinstance(packet, Welcome):
                    self._check(packet)
                return packet
        return self._stored.popleft() if self._stored else None

    def send(self, packet: Packet) -> None:
        """Queue a packet. Raises LocalError while the connection is not open, for a packet that only the relay may
        send, or if it does not fit into a frame. CLOSE is said with `close`.
        """
        if self.state is not State.OPEN:
            raise LocalError(f"nothing can be sent while the connection is: {self.state.value}")
        if FROM_CLIENT.get((State.OPEN, type(packet))) is not State.OPEN:
            raise LocalError(f"a client does not send a {name_of(type(packet))} packet here")
        self._out += encode(packet)

    def _answer(self, challenge: Challenge) -> None:
        try:
            if not VERSION_MIN <= challenge.version <= VERSION_MAX:
                raise RemoteError(CloseCode.UNSUPPORTED_VERSION, f"the relay chose version {challenge.version}")
            if isinstance(self._login, ClientTicket):
                raise RemoteError(CloseCode.NOT_ALLOWED_NOW, "the relay answered a ticket with a challenge")
            self._out += encode(Proof(self._login.final(challenge.data)))
        except RemoteError as error:
            self.close(error.code, error.sentence)
            raise

    def _unfold(self, run: StoredRun) -> None:
        if not 0 < run.total <= MESSAGE_WINDOW:
            sentence = f"a STOREDRUN stands for 1 to {MESSAGE_WINDOW} messages, not {run.total}"
            self.close(CloseCode.BAD_PACKET, sentence)
            raise RemoteError(CloseCode.BAD_PACKET, sentence)
        self._stored += unfold(run)

    def _check(self, welcome: Welcome) -> None:
        try:
            self._login.check(welcome.data)
        except RemoteError as error:
            self.close(error.code, error.sentence)
            raise
        self._frames.limit = FRAME_MAX
        if welcome.ticket and len(welcome.ticket) <= TICKET_MAX_BYTES:
            self.resume = Resume(welcome.ticket, self._login.server_key)


__all__ = ["ClientConnection", "LoginRefusedError", "ServerConnection", "clip_sentence"]
