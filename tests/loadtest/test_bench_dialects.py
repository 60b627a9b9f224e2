"""The bytes that each server is spoken to with, checked against this relay's protocol code and the specifications."""

import json

import pytest

from loadtest.bench.dialects import DIALECTS
from loadtest.bench.dialects.base import DialectError, Login, Seat
from loadtest.bench.dialects.mqtt import MosquittoDialect
from loadtest.bench.dialects.nats import NatsDialect
from loadtest.bench.dialects.redis import RedisDialect
from loadtest.bench.dialects.relay import FIRST_ID, METHOD, PASSWORD, RelayDialect
from loadtest.bench.dialects.socketio import SocketioDialect, frame
from loadtest.bench.works import Work, everybody
from relay.protocol.connection import LoginRefusedError, ServerConnection
from relay.protocol.frames import HEADER_BYTES
from relay.protocol.packets import (
    Call,
    Error,
    Hello,
    Message,
    Proof,
    Result,
    Signal,
    Stored,
    StoredRun,
    Welcome,
    decode,
    encode,
)
from relay.protocol.scram import ITERATIONS_MIN, make_credentials

ALICE, BOB = Seat("alice", "phone"), Seat("bob", "desk")
STORED = encode(Stored(7, "alice:bob", 3, 1_700_000_000_000))


def finish(login: Login, *received: bytes) -> bytes:
    """Feed a login to its end, one byte at a time; what it sent."""
    sent = next(login)
    for data in received:
        for place in range(len(data)):
            try:
                sent += login.send(data[place : place + 1])
            except StopIteration:
                assert place == len(data) - 1
                return sent
    raise AssertionError("the login wants more")


class TestRelay:
    def welcome(self, data: bytes) -> Welcome:
        return Welcome(1, "alice/phone", data, 1, 1, 0, 1, None, "t", "g1")

    def log_in(self, password: str, forge: bool = False) -> None:
        server, login = ServerConnection(), RelayDialect().login(ALICE, True)
        server.receive_data(next(login))
        hello = server.next_packet()
        assert isinstance(hello, Hello)
        assert (hello.user, hello.device) == ("alice", "phone")
        server.challenge(hello.user, make_credentials(password, ITERATIONS_MIN), hello.data)
        server.receive_data(login.send(server.data_to_send()))
        proof = server.next_packet()
        assert isinstance(proof, Proof)
        server.welcome(self.welcome(b"v=forged" if forge else server.prove(proof)))
        with pytest.raises(StopIteration):
            login.send(server.data_to_send())

    def test_login(self) -> None:
        self.log_in(PASSWORD)

    def test_the_proof_is_one(self) -> None:
        with pytest.raises(LoginRefusedError):
            self.log_in("another")

    def test_a_forged_signature_is_noticed(self) -> None:
        with pytest.raises(DialectError, match="signature"):
            self.log_in(PASSWORD, forge=True)

    def test_a_refused_login_says_so(self) -> None:
        login = RelayDialect().login(ALICE, True)
        next(login)
        with pytest.raises(DialectError, match="no"):
            login.send(encode(Error(1, None, 100, "no")))

    def test_signals_arrive_as_they_are_sent(self) -> None:
        wire = RelayDialect().signal(ALICE, BOB, b"x")
        assert decode(wire.sent[HEADER_BYTES:]) == Signal("alice/phone", "bob", None, "", b"x")
        assert wire.received_bytes == len(wire.sent)

    def test_a_room_is_marked_as_one(self) -> None:
        wire = RelayDialect().signal(ALICE, Seat("bob", room="ops"), b"x")
        assert decode(wire.sent[HEADER_BYTES:]) == Signal("alice/phone", "#ops", None, "", b"x")

    def test_messages_are_numbered(self) -> None:
        message = RelayDialect().message(ALICE, BOB, b"x")
        for n in (1, 255, 70_000):
            assert decode(message(n)[HEADER_BYTES:]) == Message("alice/phone", "bob", FIRST_ID - 1 + n, "", b"x")

    @pytest.mark.parametrize("size", [1, 3, len(STORED), 1000])
    def test_acks_are_counted_however_they_arrive(self, size: int) -> None:
        count, stream = RelayDialect().acks(), STORED * 5
        assert sum(count(stream[at : at + size]) for at in range(0, len(stream), size)) == 5

    def test_a_run_acknowledges_all_of_its_messages(self) -> None:
        run = encode(StoredRun(8, "alice:bob", 4, 1_700_000_000_000, 20))
        assert RelayDialect().acks()(STORED + run + STORED) == 22

    def test_a_refusal_is_no_ack(self) -> None:
        with pytest.raises(DialectError, match="no such user"):
            RelayDialect().acks()(STORED + encode(Error(17, 1, 200, "no such user")))

    def test_a_call_and_its_result(self) -> None:
        exchange = RelayDialect().request(ALICE, BOB, b"x", 7)
        assert decode(exchange.request[HEADER_BYTES:]) == Call(
            "alice/phone", "bob", FIRST_ID + 7, METHOD, 60_000, "", b"x"
        )
        assert exchange.arrives == exchange.request
        assert decode(exchange.answer[HEADER_BYTES:]) == Result("bob/desk", "alice/phone", FIRST_ID + 7, "", b"x")
        assert exchange.answered_bytes == len(exchange.answer)


class TestNats:
    def test_login(self) -> None:
        sent = finish(NatsDialect().login(ALICE, True), b"INFO {}\r\n", b"PONG\r\n")
        assert b"SUB alice 1\r\n" in sent
        assert sent.endswith(b"PING\r\n")

    def test_a_publication_says_how_long_it_is(self) -> None:
        wire = NatsDialect().signal(ALICE, BOB, b"x" * 12)
        assert wire.sent == b"PUB bob 12\r\nxxxxxxxxxxxx\r\n"
        assert wire.received_bytes == len(b"MSG bob 1 12\r\nxxxxxxxxxxxx\r\n")

    def test_the_stream_holds_all_receivers(self) -> None:
        (login,) = NatsDialect().prepare([ALICE, BOB])
        sent = finish(login, b"INFO {}\r\nPONG\r\n", b'MSG admin 1 5\r\n{"a":{}}\r\n')
        stream = json.loads(sent[sent.index(b'{"name"') :])
        assert stream["subjects"] == ["alice", "bob"]
        assert stream["storage"] == "file"

    def test_a_stream_that_is_refused(self) -> None:
        (login,) = NatsDialect().prepare([ALICE])
        with pytest.raises(DialectError, match="no room"):
            finish(login, b"PONG\r\n", b'MSG admin 1 5\r\n{"error":{"description":"no room"}}\r\n')

    def test_requests_name_where_the_answer_goes(self) -> None:
        exchange = NatsDialect().request(ALICE, BOB, b"x", 7)
        assert exchange.request == b"PUB bob alice 1\r\nx\r\n"
        assert exchange.arrives == b"MSG bob 1 alice 1\r\nx\r\n"
        assert exchange.answer == b"PUB alice 1\r\nx\r\n"


class TestRedis:
    def test_login(self) -> None:
        answers = [b"%7\r\n$7\r\nmodules\r\n*0\r\n", b">3\r\n$9\r\nsubscribe\r\n$5\r\nalice\r\n:1\r\n"]
        sent = finish(RedisDialect().login(ALICE, True), *answers)
        assert sent.endswith(b"*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$3\r\nOFF\r\n")
        assert finish(RedisDialect().login(ALICE, False), answers[0])

    def test_a_publication(self) -> None:
        wire = RedisDialect().signal(ALICE, BOB, b"xy")
        assert wire.sent == b"*3\r\n$7\r\nPUBLISH\r\n$3\r\nbob\r\n$2\r\nxy\r\n"
        assert wire.received_bytes == len(b">3\r\n$7\r\nmessage\r\n$3\r\nbob\r\n$2\r\nxy\r\n")


class TestMqtt:
    def test_login(self) -> None:
        sent = finish(MosquittoDialect().login(ALICE, True), b"\x20\x02\x00\x00", b"\x90\x03\x00\x01\x00")
        assert sent.startswith(b"\x10\x17\x00\x04MQTT\x04\x02\x00\x00\x00\x0balice/phone")
        assert sent.endswith(b"\x82\x0a\x00\x01\x00\x05alice\x00")

    @pytest.mark.parametrize("answer", [b"\x20\x02\x00\x05", b"\x90\x03\x00\x01\x80"])
    def test_a_refusal(self, answer: bytes) -> None:
        accepted = [b"\x20\x02\x00\x00"] if answer[0] == 0x90 else []
        with pytest.raises(DialectError, match="refused"):
            finish(MosquittoDialect().login(ALICE, True), *accepted, answer)

    @pytest.mark.parametrize(
        ("size", "header"), [(1, b"\x30\x06"), (200, b"\x30\xcd\x01"), (20_000, b"\x30\xa5\x9c\x01")]
    )
    def test_lengths_take_seven_bits_a_byte(self, size: int, header: bytes) -> None:
        wire = MosquittoDialect().signal(ALICE, BOB, b"x" * size)
        assert wire.sent == header + b"\x00\x03bob" + b"x" * size

    def test_a_stored_message_has_an_id(self) -> None:
        message = MosquittoDialect().message(ALICE, BOB, b"x")
        assert message(1) != message(2)
        assert message(1)[:9] == b"\x32\x08\x00\x03bob" + message(1)[7:9]
        assert 0 not in {int.from_bytes(message(n)[7:9], "big") for n in range(1, 2000)}

    def test_acks_are_counted_however_they_arrive(self) -> None:
        count, stream = MosquittoDialect().acks(), b"\x40\x02\x00\x01" * 5
        assert sum(count(stream[at : at + 3]) for at in range(0, len(stream), 3)) == 5


class TestSocketio:
    def test_login(self) -> None:
        answers = [b'HTTP/1.1 101 ...\r\n\r\n\x81\x0e0{"sid":"a"}', b'\x81\x0e40{"sid":"b"}', b"\x81\x05430[]"]
        sent = finish(SocketioDialect().login(ALICE, True), *answers)
        assert sent.startswith(b"GET /socket.io/")
        assert sent.endswith(b'420["join", "alice"]')

    def test_a_server_without_websocket(self) -> None:
        with pytest.raises(DialectError, match="no WebSocket"):
            finish(SocketioDialect().login(ALICE, True), b'HTTP/1.1 400 Bad\r\n\r\n"sid"')

    @pytest.mark.parametrize(("size", "header"), [(3, b"\x81\x83"), (200, b"\x81\xfe\0\xc8"), (70_000, b"\x81\xff")])
    def test_frames_are_masked_with_zeros(self, size: int, header: bytes) -> None:
        made = frame(b"x" * size)
        assert made.startswith(header)
        assert made.endswith(bytes(4) + b"x" * size)

    def test_what_arrives_is_shorter_than_what_was_sent(self) -> None:
        wire = SocketioDialect().signal(ALICE, BOB, b"y")
        assert wire.sent.endswith(b'42["signal","bob","y"]')
        assert wire.received_bytes == 2 + len(b'42["signal","y"]')


@pytest.mark.parametrize("name", DIALECTS)
@pytest.mark.parametrize("kind", ["pipe", "fan", "pingpong", "spread"])
def test_messages_to_all_receivers_of_a_work_have_one_size(name: str, kind: str) -> None:
    dialect, seats = DIALECTS[name], everybody(Work(kind, 20))
    wires = [dialect.signal(Seat("s000000"), seat, b"x") for seat in seats if seat.user != "sender"]
    assert len({wire.received_bytes for wire in wires}) <= (2 if kind == "spread" else 1)
