"""Both ends of a connection, wired to each other or to a peer that breaks the rules."""

import pytest

from relay.protocol.codes import CloseCode
from relay.protocol.connection import ClientConnection, ServerConnection, clip_sentence
from relay.protocol.errors import LocalError, RemoteError
from relay.protocol.frames import FrameReader, encode_frame
from relay.protocol.limits import FRAME_MAX, FRAME_MAX_BEFORE_LOGIN, SENTENCE_MAX_BYTES
from relay.protocol.packets import (
    NUMBERS,
    Ack,
    Call,
    Challenge,
    Close,
    Delivery,
    Hello,
    Message,
    Packet,
    Ping,
    Pong,
    Proof,
    Signal,
    Unknown,
    Welcome,
    decode,
    encode,
    name_of,
)
from relay.protocol.scram import MECHANISM, ClientLogin, LoginRefusedError
from relay.protocol.states import FROM_CLIENT, FROM_RELAY, State
from tests.protocol.examples import EXAMPLES
from tests.protocol.pair import (
    CREDENTIALS,
    DEVICE,
    PASSWORD,
    SESSION,
    USER,
    Pair,
    RelayEnd,
    logged_in,
    welcome_for,
)

UNKNOWN = encode_frame(b"\x92\x28\x01")


def packets_in(data: bytes) -> list[Packet | Unknown]:
    """What somebody has to say, decoded; it has to be whole frames."""
    reader = FrameReader(FRAME_MAX)
    reader.feed(data)
    packets = [decode(payload) for payload in iter(reader.next_payload, None)]
    assert reader.take_rest() == b""
    return packets


def hello(first: int = 1, last: int = 1) -> Hello:
    return Hello(first, last, USER, DEVICE, MECHANISM, ClientLogin(USER, PASSWORD).first(), "test")


def new_client() -> ClientConnection:
    return ClientConnection(USER, PASSWORD, DEVICE, "test")


def refuse(end: ServerConnection | ClientConnection, data: bytes) -> Close:
    """Feed what must be refused; the CLOSE that the end says."""
    end.data_to_send()
    end.receive_data(data)
    with pytest.raises(RemoteError) as caught:
        while end.next_packet() is not None:
            pass
    assert end.state is State.CLOSED
    *_, close = packets_in(end.data_to_send())
    assert isinstance(close, Close)
    assert (close.code, close.sentence) == (caught.value.code, clip_sentence(caught.value.sentence))
    return close


@pytest.mark.parametrize("size", [1, 2, 7, 64, 2**20])
def test_a_login_in_pieces_of_any_size(size: int) -> None:
    pair = Pair()
    pair.settle(size)
    assert pair.client.state is pair.relay.connection.state is State.OPEN
    (welcome,) = pair.received
    assert isinstance(welcome, Welcome)
    assert welcome.session == SESSION


def test_what_the_client_says_first() -> None:
    client = new_client()
    (packet,) = packets_in(client.data_to_send())
    assert isinstance(packet, Hello)
    assert packet[:5] == (1, 1, USER, DEVICE, MECHANISM)
    assert packet.agent == "test"
    assert client.data_to_send() == b""


def test_a_wrong_password_ends_in_a_close() -> None:
    pair = Pair(password="wrong")
    pair.settle()
    assert pair.received == [Close(CloseCode.LOGIN_FAILED, "wrong user or password", None)]
    assert pair.client.closed_by_peer == pair.received[0]
    assert pair.client.state is State.CLOSED
    assert not pair.relay.greeted


def test_packets_go_both_ways_after_the_login() -> None:
    pair = logged_in()
    signal = Signal(SESSION, "bob", None, "", b"x")
    delivery = Delivery("alice@bob", 1, 2, b"\x90")
    pair.client.send(signal)
    pair.relay_sends(delivery)
    pair.settle()
    assert pair.relay.received == [signal]
    assert pair.received[1:] == [delivery]


def test_what_comes_behind_the_login_is_handed_over() -> None:
    relay = RelayEnd()
    client = new_client()
    relay.receive(client.data_to_send())
    client.receive_data(relay.connection.data_to_send())
    assert client.next_packet() is None
    server = relay.connection
    server.receive_data(client.data_to_send() + b"\x00\x00\x00\x05half")
    proof = server.next_packet()
    assert isinstance(proof, Proof)
    server.welcome(welcome_for(server.prove(proof)))
    assert server.take_rest() == b"\x00\x00\x00\x05half"


@pytest.mark.parametrize(("first", "last", "chosen"), [(1, 1, 1), (1, 9, 1), (0, 1, 1), (0, 2**53 - 1, 1)])
def test_the_highest_common_version_is_chosen(first: int, last: int, chosen: int) -> None:
    server = ServerConnection()
    server.receive_data(encode(hello(first, last)))
    packet = server.next_packet()
    assert isinstance(packet, Hello)
    server.challenge(USER, CREDENTIALS, packet.data)
    (challenge,) = packets_in(server.data_to_send())
    assert isinstance(challenge, Challenge)
    assert challenge.version == server.version == chosen


@pytest.mark.parametrize(("first", "last"), [(2, 9), (0, 0), (2, 1)])
def test_no_common_version(first: int, last: int) -> None:
    close = refuse(ServerConnection(), encode(hello(first, last)))
    assert close.code == CloseCode.UNSUPPORTED_VERSION
    assert f"{first} to {last}" in close.sentence


@pytest.mark.parametrize("version", [0, 2])
def test_a_client_refuses_a_version_it_did_not_offer(version: int) -> None:
    close = refuse(new_client(), encode(Challenge(version, b"r=x,s=AAAA,i=4096")))
    assert close.code == CloseCode.UNSUPPORTED_VERSION


STRANGERS = {
    "HTTP": [
        b"GET / HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1",
        b"HEAD / ",
        b"PUT /x ",
        b"OPTIONS *",
        b"CONNECT x:1",
        b"PRI * HTTP/2.0",
    ],
    "SSH": [b"SSH-2.0-OpenSSH_9.2\r\n"],
    "TLS": [b"\x16\x03\x01\x02\x00\x01", b"\x16\x03\x03\x00\x50\x01", b"\x16\x03\x02\x00\x50\x01"],
}
STRANGER_CASES = [pytest.param(name, data, id=ascii(data)) for name, list_ in STRANGERS.items() for data in list_]


@pytest.mark.parametrize(("protocol", "data"), STRANGER_CASES)
def test_other_protocols_are_told_what_this_is(protocol: str, data: bytes) -> None:
    close = refuse(ServerConnection(), data)
    assert close.code == CloseCode.NOT_THE_PROTOCOL
    assert protocol in close.sentence


@pytest.mark.parametrize(("protocol", "data"), STRANGER_CASES)
def test_other_protocols_are_recognised_byte_by_byte(protocol: str, data: bytes) -> None:
    server = ServerConnection()
    with pytest.raises(RemoteError, match=protocol):
        for byte in data:
            server.receive_data(bytes([byte]))
            assert server.next_packet() is None


@pytest.mark.parametrize("kind", NUMBERS, ids=name_of)
def test_only_a_hello_or_a_close_begins_a_login(kind: type[Packet]) -> None:
    server = ServerConnection()
    data = encode(EXAMPLES[name_of(kind)])
    if (State.GREETING, kind) in FROM_CLIENT:
        server.receive_data(data)
        assert type(server.next_packet()) is kind
    else:
        assert refuse(server, data).code == CloseCode.NOT_ALLOWED_NOW


@pytest.mark.parametrize("kind", NUMBERS, ids=name_of)
def test_only_a_challenge_a_welcome_or_a_close_answers_a_hello(kind: type[Packet]) -> None:
    if (State.GREETING, kind) not in FROM_RELAY:
        assert refuse(new_client(), encode(EXAMPLES[name_of(kind)])).code == CloseCode.NOT_ALLOWED_NOW


@pytest.mark.parametrize("kind", NUMBERS, ids=name_of)
def test_packets_for_clients_are_refused_by_the_relay_and_the_other_way_round(kind: type[Packet]) -> None:
    data = encode(EXAMPLES[name_of(kind)])
    if (State.OPEN, kind) not in FROM_CLIENT:
        assert refuse(logged_in().relay.connection, data).code == CloseCode.NOT_ALLOWED_NOW
    if (State.OPEN, kind) not in FROM_RELAY:
        assert refuse(logged_in().client, data).code == CloseCode.NOT_ALLOWED_NOW


def test_unknown_packets_are_refused_before_the_login_and_reported_after_it() -> None:
    assert refuse(ServerConnection(), UNKNOWN).code == CloseCode.NOT_ALLOWED_NOW
    assert refuse(new_client(), UNKNOWN).code == CloseCode.NOT_ALLOWED_NOW
    pair = logged_in()
    pair.client.receive_data(UNKNOWN)
    assert pair.client.next_packet() == Unknown(40, None)
    pair.relay.receive(UNKNOWN)
    assert pair.relay.received == [Unknown(40, None)]


def test_a_second_hello_is_refused() -> None:
    server = ServerConnection()
    server.receive_data(encode(hello()))
    assert isinstance(server.next_packet(), Hello)
    assert refuse(server, encode(hello())).code == CloseCode.NOT_ALLOWED_NOW


def test_frames_are_short_before_the_login_and_long_after_it() -> None:
    header = (FRAME_MAX_BEFORE_LOGIN + 1).to_bytes(4, "big")
    assert refuse(ServerConnection(), header).code == CloseCode.BAD_FRAME
    assert refuse(new_client(), header).code == CloseCode.BAD_FRAME
    pair = logged_in()
    long = Message(SESSION, "bob", 1, "", bytes(FRAME_MAX - 100))
    pair.client.send(long)
    pair.relay_sends(Delivery("alice@bob", 1, 1, bytes(FRAME_MAX - 100)))
    pair.settle(65_536)
    assert pair.relay.received == [long]
    too_long = (FRAME_MAX + 1).to_bytes(4, "big")
    assert refuse(pair.relay.connection, too_long).code == CloseCode.BAD_FRAME
    assert refuse(pair.client, too_long).code == CloseCode.BAD_FRAME


def test_a_long_frame_right_behind_the_welcome_is_read() -> None:
    pair = Pair()
    while not pair.relay.greeted:
        pair.carry_to_relay(2**20)
        if not pair.relay.greeted:
            pair.carry_to_client(2**20)
    long = Delivery("alice@bob", 1, 1, bytes(100_000))
    pair.relay_sends(long)
    pair.settle()
    assert pair.received[1:] == [long]


def test_a_welcome_without_a_challenge_is_refused() -> None:
    """It is allowed by the table, for mechanisms of one step; SCRAM is none, and an impostor would like it."""
    assert refuse(new_client(), encode(welcome_for(b"v=AAAA"))).code == CloseCode.LOGIN_FAILED


@pytest.mark.parametrize("data", [b"", b"v=AAAA", b"v=" + b"A" * 43 + b"=", b"e=other-error"])
def test_a_relay_that_does_not_prove_itself_is_refused(data: bytes) -> None:
    pair = Pair()
    pair.carry_to_relay(2**20)
    pair.carry_to_client(2**20)
    assert refuse(pair.client, encode(welcome_for(data))).code == CloseCode.LOGIN_FAILED
    assert pair.received == []


def test_pings_are_answered_inside() -> None:
    pair = logged_in()
    pair.client.receive_data(encode(Ping(7)) + encode(Ping(8)) + encode(Pong(9)))
    assert pair.client.next_packet() == Pong(9)
    assert packets_in(pair.client.data_to_send()) == [Pong(7), Pong(8)]


def test_a_close_of_the_peer_is_kept_and_ends_everything() -> None:
    pair = logged_in()
    close = Close(CloseCode.SHUTTING_DOWN, "back soon", 100)
    pair.client.receive_data(encode(close) + encode(Ping(1)))
    assert pair.client.next_packet() == close
    assert pair.client.closed_by_peer == close
    assert pair.client.next_packet() is None
    assert pair.client.data_to_send() == b""
    pair.client.close(CloseCode.NORMAL, "too late")
    assert pair.client.data_to_send() == b""


def test_closing_says_so_once_and_hears_nothing_more() -> None:
    pair = logged_in()
    pair.client.close(CloseCode.NORMAL, "bye")
    pair.client.close(CloseCode.INTERNAL_ERROR, "again")
    pair.client.receive_data(b"\xff" * 100)
    assert pair.client.next_packet() is None
    assert packets_in(pair.client.data_to_send()) == [Close(CloseCode.NORMAL, "bye", None)]
    assert pair.client.closed_by_peer is None


def test_a_sentence_is_cut_between_characters() -> None:
    assert clip_sentence("short") == "short"
    cut = clip_sentence("x" + "é" * SENTENCE_MAX_BYTES)
    assert cut == "x" + "é" * ((SENTENCE_MAX_BYTES - 1) // 2)


@pytest.mark.parametrize("kind", NUMBERS, ids=name_of)
def test_a_client_sends_what_clients_may_send(kind: type[Packet]) -> None:
    client = logged_in().client
    packet = EXAMPLES[name_of(kind)]
    if FROM_CLIENT.get((State.OPEN, kind)) is State.OPEN:
        client.send(packet)
        assert packets_in(client.data_to_send()) == [packet]
    else:
        with pytest.raises(LocalError, match=name_of(kind)):
            client.send(packet)
        assert client.data_to_send() == b""


def test_our_own_mistakes_are_loud() -> None:
    client = new_client()
    with pytest.raises(LocalError, match="waiting for HELLO"):
        client.send(Ack("alice@bob", 1, None))
    client.close(CloseCode.NORMAL, "bye")
    with pytest.raises(LocalError, match="closed"):
        client.send(Ack("alice@bob", 1, None))
    with pytest.raises(LocalError, match="holds 1 to"):
        logged_in().client.send(Call(SESSION, "bob", 1, "m", 1, "", bytes(FRAME_MAX)))
    server = ServerConnection()
    with pytest.raises(LocalError, match="no challenge"):
        server.prove(Proof(b""))
    with pytest.raises(LocalError, match="WELCOME cannot be sent"):
        server.welcome(welcome_for(b""))
    with pytest.raises(LocalError, match="no HELLO to answer"):
        server.challenge(USER, CREDENTIALS, b"")


def test_a_malformed_scram_message_is_a_refused_login() -> None:
    server = ServerConnection()
    server.receive_data(encode(hello()._replace(data=b"nonsense")))
    packet = server.next_packet()
    assert isinstance(packet, Hello)
    with pytest.raises(LoginRefusedError):
        server.challenge(packet.user, CREDENTIALS, packet.data)
    assert server.data_to_send() == b""


def test_the_scram_user_is_the_one_in_hello() -> None:
    server = ServerConnection()
    server.receive_data(encode(hello()._replace(user="bob")))
    packet = server.next_packet()
    assert isinstance(packet, Hello)
    with pytest.raises(LoginRefusedError):
        server.challenge(packet.user, CREDENTIALS, packet.data)


def test_a_name_that_cannot_log_in_is_said_at_once() -> None:
    with pytest.raises(ValueError, match="cannot be used to log in"):
        ClientConnection("\uab30", PASSWORD, DEVICE, "test")
