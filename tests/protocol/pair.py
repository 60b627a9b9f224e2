"""A wired pair: a client connection and a relay's end, joined by two byte queues that a test moves at will."""

from relay.protocol.codes import CloseCode
from relay.protocol.connection import ClientConnection, ServerConnection
from relay.protocol.packets import Hello, Packet, Proof, Unknown, Welcome, encode
from relay.protocol.scram import ITERATIONS_MIN, Credentials, LoginRefusedError, make_credentials

USER, PASSWORD, DEVICE = "alice", "correct horse", "laptop"
SESSION = f"{USER}/{DEVICE}"
CREDENTIALS = make_credentials(PASSWORD, ITERATIONS_MIN)


def welcome_for(data: bytes) -> Welcome:
    """A WELCOME with the given server-final message."""
    return Welcome(1, SESSION, data, 25_000, 0, 0, 2**20, None, "test", "g1")


class RelayEnd:
    """A ServerConnection driven the way the relay drives it; what arrives after the login is kept in `received`."""

    def __init__(self, credentials: Credentials = CREDENTIALS) -> None:
        self.connection = ServerConnection()
        self.received: list[Packet | Unknown] = []
        self.greeted = False
        self._credentials = credentials

    def receive(self, data: bytes) -> None:
        """Take in bytes and act on the login. Raises RemoteError as the connection does."""
        self.connection.receive_data(data)
        while (packet := self.connection.next_packet()) is not None:
            try:
                self._act(packet)
            except LoginRefusedError:
                self.connection.close(CloseCode.LOGIN_FAILED, "wrong user or password")

    def _act(self, packet: Packet | Unknown) -> None:
        if isinstance(packet, Hello):
            self.connection.challenge(packet.user, self._credentials, packet.data)
        elif isinstance(packet, Proof):
            self.connection.welcome(welcome_for(self.connection.prove(packet)))
            self.greeted = True
        else:
            self.received.append(packet)


class Pair:
    """Both ends and the bytes on their way. Nothing moves by itself."""

    def __init__(self, user: str = USER, password: str = PASSWORD) -> None:
        self.client = ClientConnection(user, password, DEVICE, "test")
        self.relay = RelayEnd()
        self.received: list[Packet | Unknown] = []
        self.to_relay = bytearray()
        self.to_client = bytearray()

    def carry_to_relay(self, size: int) -> None:
        """Move up to `size` bytes to the relay."""
        self.to_relay += self.client.data_to_send()
        chunk = bytes(self.to_relay[:size])
        del self.to_relay[:size]
        self.relay.receive(chunk)

    def carry_to_client(self, size: int) -> None:
        """Move up to `size` bytes to the client."""
        self.to_client += self.relay.connection.data_to_send()
        chunk = bytes(self.to_client[:size])
        del self.to_client[:size]
        self.client.receive_data(chunk)
        while (packet := self.client.next_packet()) is not None:
            self.received.append(packet)

    def settle(self, size: int = 2**20) -> None:
        """Move bytes in pieces of `size` until none are left."""
        while True:
            self.carry_to_relay(size)
            self.carry_to_client(size)
            self.to_relay += self.client.data_to_send()
            self.to_client += self.relay.connection.data_to_send()
            if not self.to_relay and not self.to_client:
                return

    def relay_sends(self, packet: Packet) -> None:
        """Queue a packet of the relay's, as a session does after the login."""
        self.to_client += self.relay.connection.data_to_send() + encode(packet)


def logged_in() -> Pair:
    """A pair whose login is complete; the WELCOME is in `received`."""
    pair = Pair()
    pair.settle()
    return pair
