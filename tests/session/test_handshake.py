"""From an accepted socket to a session: each way in, and each refusal, over a socket pair."""

import logging
import socket as plain_socket
import time
from collections.abc import Callable
from itertools import pairwise
from typing import TypeVar

import gevent
import msgpack
import pytest
from gevent import socket
from gevent.event import Event

from relay.protocol.codes import CloseCode
from relay.protocol.connection import ClientConnection
from relay.protocol.frames import encode_frame
from relay.protocol.limits import FRAME_MAX
from relay.protocol.packets import Challenge, Close, Ping, Pong, Proof, Welcome, encode
from relay.store.base import StoreError
from tests.loop import deadline, turn, until
from tests.session.gate import ALICE, Gate, hello, raw
from tests.session.wire import Client

T = TypeVar("T")


def test_a_right_password_is_welcomed_with_everything_the_client_has_to_know(gate: Gate) -> None:
    client, welcome = gate.login()
    assert isinstance(welcome, Welcome)
    assert (welcome.session, welcome.last_message_id, welcome.keepalive_ms) == ("alice/phone", 41, 25_000)
    assert (welcome.frame_max, welcome.agent, welcome.time_ms) == (FRAME_MAX, "relay/test", 1_000_000)
    assert (gate.registry.connections, len(gate.registry)) == (1, 1)
    client.send(Ping(5))
    assert client.receive() == Pong(5)
    client.close()
    gate.until_empty()


def test_the_greenlet_ends_when_the_session_begins(gate: Gate) -> None:
    gate.login()
    until(gate.greenlets[0].ready)
    assert gate.greenlets[0].successful()


def test_what_a_client_sends_right_behind_its_proof_is_not_lost(gate: Gate) -> None:
    client, ends = gate.knock(), ClientConnection("alice", "wonderland", "phone", "test/1")
    client.sock.sendall(ends.data_to_send())
    with deadline():
        ends.receive_data(client.sock.recv(4096))
    ends.next_packet()
    client.sock.sendall(ends.data_to_send() + encode(Ping(1)) + encode(Ping(2))[:3])
    client.sock.sendall(encode(Ping(2))[3:])
    assert isinstance(client.receive(), Welcome)
    assert [client.receive(), client.receive()] == [Pong(1), Pong(2)]


def test_a_login_byte_by_byte_works_too(gate: Gate) -> None:
    client = gate.knock()
    ends = ClientConnection("alice", "wonderland", "phone", "test/1")
    with deadline():
        for _ in range(2):
            for byte in ends.data_to_send():
                client.sock.sendall(bytes([byte]))
                gevent.sleep(0)
            ends.receive_data(client.sock.recv(4096))
            packet = ends.next_packet()
    assert isinstance(packet, Welcome)


@pytest.mark.parametrize(
    ("user", "password"), [("alice", "wrong"), ("nobody", "wonderland"), ("gone", "wonderland"), ("gone", "wrong")]
)
def test_every_failed_login_ends_with_the_same_bytes(
    gate: Gate, user: str, password: str, caplog: pytest.LogCaptureFixture
) -> None:
    close = gate.refusal(user=user, password=password)
    assert close == Close(CloseCode.LOGIN_FAILED, "the user name or the password is wrong", None)
    assert f"login as '{user}' failed" in caplog.text
    gate.until_empty()


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", CloseCode.NOT_THE_PROTOCOL),
        (b"\x16\x03\x01\x02\x00\x01", CloseCode.NOT_THE_PROTOCOL),
        (b"SSH-2.0-OpenSSH\r\n", CloseCode.NOT_THE_PROTOCOL),
        (b"\0\0\0\0", CloseCode.BAD_FRAME),
        (b"\xff\xff\xff\xff", CloseCode.BAD_FRAME),
        (b"\0\0\x10\x01", CloseCode.BAD_FRAME),
        (encode_frame(b"\x92\x01\x90"), CloseCode.BAD_PACKET),
        (encode_frame(b"hello"), CloseCode.BAD_PACKET),
        (encode(Ping(1)), CloseCode.NOT_ALLOWED_NOW),
        (encode(Proof(b"x")), CloseCode.NOT_ALLOWED_NOW),
        (encode_frame(msgpack.packb((99, 1))), CloseCode.NOT_ALLOWED_NOW),
        (encode(hello(version_min=2, version_max=3)), CloseCode.UNSUPPORTED_VERSION),
        (encode(hello(version_min=0, version_max=0)), CloseCode.UNSUPPORTED_VERSION),
        (encode(hello(mechanism="PLAIN")), CloseCode.UNSUPPORTED_MECHANISM),
        (encode(hello(mechanism="x" * 3000)), CloseCode.UNSUPPORTED_MECHANISM),
        (encode(hello(user="Alice")), CloseCode.BAD_PACKET),
        (encode(hello(user="")), CloseCode.BAD_PACKET),
        (encode(hello(user="a" * 65)), CloseCode.BAD_PACKET),
        (encode(hello(user="a/b")), CloseCode.BAD_PACKET),
        (encode(hello(device="#x")), CloseCode.BAD_PACKET),
        (encode(hello(device="a b")), CloseCode.BAD_PACKET),
        (encode(hello(data=b"nonsense")), CloseCode.LOGIN_FAILED),
        (encode(hello(data=b"\xff")), CloseCode.LOGIN_FAILED),
        (encode(hello(data=b"n,,n=bob,r=abcdefghijklmnopqrstuvwx")), CloseCode.LOGIN_FAILED),
        (encode(hello()) + encode(Proof(b"c=biws,r=wrong,p=eA==")), CloseCode.LOGIN_FAILED),
        (encode(hello()) + encode(hello()), CloseCode.NOT_ALLOWED_NOW),
        (encode(hello()) + encode(Ping(1)), CloseCode.NOT_ALLOWED_NOW),
    ],
)
def test_whatever_is_wrong_is_said_before_the_connection_ends(gate: Gate, data: bytes, code: CloseCode) -> None:
    assert raw(gate, data).code == code


def test_a_refusal_is_one_line_in_the_log(gate: Gate, caplog: pytest.LogCaptureFixture) -> None:
    raw(gate, b"GET / HTTP/1.1\r\n\r\n")
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert record.getMessage().startswith("refused 10.0.0.1:1000: ")
    assert "HTTP" in record.getMessage()


@pytest.mark.parametrize(
    "data", [b"", b"\0\0", encode(hello())[:20], encode(Close(4000, "bye", None)), encode(hello())]
)
def test_a_client_that_leaves_during_login_leaves_nothing_behind(gate: Gate, data: bytes) -> None:
    client = gate.knock()
    client.send(data)
    turn()
    client.close()
    gate.until_empty()
    until(lambda: all(greenlet.ready() for greenlet in gate.greenlets))
    assert all(greenlet.successful() for greenlet in gate.greenlets)


@pytest.mark.parametrize("data", [b"", encode(hello())[:10], encode(hello())])
def test_the_deadline_covers_all_of_the_login(gates: Callable[..., Gate], data: bytes) -> None:
    gate = gates(timeout_s=0.05)
    client = gate.knock()
    client.send(data)
    *_, close = client.rest()
    assert isinstance(close, Close)
    assert close.code == CloseCode.HANDSHAKE_TIMEOUT
    assert close.retry_ms
    client.close()
    gate.until_empty()


def test_the_deadline_is_not_moved_by_single_bytes(gates: Callable[..., Gate]) -> None:
    gate = gates(timeout_s=0.05)
    client = gate.knock()

    def drip() -> None:
        for byte in encode(hello(agent="x" * 3000)):
            try:
                client.sock.send(bytes([byte]))
            except OSError:
                return
            gevent.sleep(0.005)

    dripping = gevent.spawn(drip)
    *_, close = client.rest()
    assert isinstance(close, Close)
    assert close.code == CloseCode.HANDSHAKE_TIMEOUT
    dripping.kill()
    client.close()
    gate.until_empty()


def test_a_login_that_runs_out_while_the_store_is_asked_leaves_nothing_behind(gates: Callable[..., Gate]) -> None:
    gate = gates(timeout_s=0.5)
    asked = gevent.event.Event()

    def prepare(user: str, device: str) -> int:
        asked.set()
        gevent.sleep(60)
        return 0

    gate.prepare = prepare
    client, close = gate.login()
    assert asked.is_set()
    assert isinstance(close, Close)
    assert close.code == CloseCode.HANDSHAKE_TIMEOUT
    assert not gate.wire.town.router.directory.concerns("alice")
    client.close()
    gate.until_empty()


def test_a_store_that_cannot_be_read_is_not_the_clients_fault(gate: Gate, caplog: pytest.LogCaptureFixture) -> None:
    def fail(name: str) -> None:
        raise StoreError("the disk is gone")

    gate.look_up = fail
    close = raw(gate, hello())
    assert close.code == CloseCode.STORE_FAILED
    assert close.retry_ms
    assert "the disk is gone" not in close.sentence
    assert "the disk is gone" in caplog.text


@pytest.mark.parametrize("key", [None, b"another"])
@pytest.mark.parametrize("moment", ["before the proof", "while the store is asked"])
def test_an_account_that_changes_during_the_login_is_not_let_in(gate: Gate, moment: str, key: bytes | None) -> None:
    def change() -> None:
        gate.wire.town.router.end_outdated("alice", key)

    def prepare(user: str, device: str) -> int:
        change()
        return 0

    if moment == "while the store is asked":
        gate.prepare = prepare
    client, ends = gate.knock(), ClientConnection("alice", "wonderland", "phone", "test/1")
    with deadline():
        client.sock.sendall(ends.data_to_send())
        ends.receive_data(client.sock.recv(4096))
        ends.next_packet()
        if moment == "before the proof":
            change()
        client.sock.sendall(ends.data_to_send())
    assert client.closing().code == CloseCode.LOGIN_FAILED
    client.close()
    gate.until_empty()
    gate.prepare = lambda user, device: 0
    _, welcome = gate.login()
    assert isinstance(welcome, Welcome)


def test_a_change_that_leaves_the_login_right_does_not_end_it(gate: Gate) -> None:
    def prepare(user: str, device: str) -> int:
        gate.wire.town.router.end_outdated("alice", ALICE.stored_key)
        return 0

    gate.prepare = prepare
    client, welcome = gate.login()
    assert isinstance(welcome, Welcome)
    gate.wire.town.router.end_outdated("alice", ALICE.stored_key)
    client.send(Ping(1))
    assert client.receive() == Pong(1)
    gate.wire.town.router.end_outdated("alice", b"another")
    assert client.closing().code == CloseCode.ACCOUNT_ENDED


def test_connections_over_the_cap_are_told_and_not_counted(gates: Callable[..., Gate]) -> None:
    gate = gates(connections_max=1)
    first, welcome = gate.login()
    assert isinstance(welcome, Welcome)
    second = gate.knock()
    (close,) = second.rest()
    assert isinstance(close, Close)
    assert (close.code, close.retry_ms) == (CloseCode.TOO_MANY_CONNECTIONS, 5000)
    assert gate.registry.connections == 1
    second.close()
    first.close()
    gate.until_empty()
    third, welcome = gate.login()
    assert isinstance(welcome, Welcome)
    third.close()
    gate.until_empty()


def test_one_session_too_many_is_told_after_its_welcome_and_counted_once(gate: Gate) -> None:
    clients = []
    for number in range(8):
        client, welcome = gate.login(device=f"d{number}")
        assert isinstance(welcome, Welcome)
        clients.append(client)
    client, welcome = gate.login(device="one-too-many")
    assert isinstance(welcome, Welcome)
    assert client.closing().code == CloseCode.TOO_MANY_SESSIONS
    client.close()
    until(lambda: gate.registry.connections == 8)
    assert len(gate.wire.town.router.directory) == 8
    for client in clients:
        client.close()
    gate.until_empty()


def test_the_second_login_of_a_device_replaces_the_first(gate: Gate) -> None:
    first, _ = gate.login()
    second, welcome = gate.login()
    assert isinstance(welcome, Welcome)
    assert first.closing().code == CloseCode.REPLACED
    first.close()
    until(lambda: gate.registry.connections == 1)
    second.send(Ping(1))
    assert second.receive() == Pong(1)


def test_the_last_message_id_is_asked_for_when_the_older_session_can_send_nothing_more(gate: Gate) -> None:
    first, _ = gate.login()
    directory = gate.wire.town.router.directory
    asked: list[bool] = []

    def prepare(user: str, device: str) -> int:
        asked.append(directory.session("alice/phone") is not None)
        if len(asked) == 1:
            # Meanwhile a third program has logged in as the same device, and may have sent something.
            gate.login()
        return len(asked)

    gate.prepare = prepare
    _, welcome = gate.login()
    assert isinstance(welcome, Welcome)
    assert welcome.last_message_id == len(asked) == 3
    assert not any(asked)
    assert first.closing().code == CloseCode.REPLACED


def test_a_failed_login_is_answered_late_but_others_are_not(gates: Callable[..., Gate]) -> None:
    gate = gates(delay_max_s=60.0)
    for _ in range(12):
        gate.throttle.fail("10.0.0.9", "alice", time.monotonic())
    waiting = gevent.spawn(gate.refusal, password="wrong")
    until(lambda: gate.throttle.wait_s("10.0.0.1", time.monotonic()) > 50)
    client, welcome = gate.login(host="10.0.0.2")
    assert isinstance(welcome, Welcome)
    assert not waiting.ready()
    waiting.kill()
    client.close()


def test_an_address_that_has_to_wait_long_is_told_so_at_once(gates: Callable[..., Gate]) -> None:
    gate = gates(delay_max_s=60.0)
    for _ in range(12):
        gate.throttle.fail("10.0.0.1", "bob", time.monotonic())
    close = raw(gate, hello())
    assert close.code == CloseCode.TOO_MANY_ATTEMPTS
    assert 50_000 < (close.retry_ms or 0) <= 60_000


def test_an_address_that_has_to_wait_a_little_waits(gates: Callable[..., Gate]) -> None:
    gate = gates(delay_max_s=60.0)
    gate.throttle.fail("10.0.0.1", "bob", time.monotonic())
    quiet_at = time.monotonic() + gate.throttle.wait_s("10.0.0.1", time.monotonic())
    client, welcome = gate.login()
    assert isinstance(welcome, Welcome)
    assert time.monotonic() >= quiet_at
    client.close()


def test_guesses_made_at_the_same_time_are_judged_one_after_the_other(gates: Callable[..., Gate]) -> None:
    gate = gates(delay_max_s=0.02)
    judged: list[tuple[float, float]] = []
    fail = gate.throttle.fail

    def note(host: str, user: str, now: float) -> float:
        delay_s = fail(host, user, now)
        judged.append((now, now + delay_s))
        return delay_s

    gate.throttle.fail = note  # type: ignore[method-assign]
    guesses = [gevent.spawn(gate.refusal, password=f"guess {number}") for number in range(8)]
    with deadline():
        for guess in guesses:
            assert guess.get().code == CloseCode.LOGIN_FAILED
    assert len(judged) == 8
    for (_, quiet_at), (next_at, _) in pairwise(judged):
        assert next_at >= quiet_at


def test_a_right_password_among_wrong_ones_waits_for_its_turn_and_is_let_in(gates: Callable[..., Gate]) -> None:
    gate = gates(delay_max_s=0.02)
    guesses = [gevent.spawn(gate.refusal, password="wrong") for _ in range(3)]
    _, welcome = gate.login()
    assert isinstance(welcome, Welcome)
    gevent.joinall(guesses)


class Counter:
    """A store that answers nobody before `open`: who stands before it, and how many did at most."""

    def __init__(self, gate: Gate) -> None:
        self.names: list[str] = []
        self.open = Event()
        gate.look_up = lambda name: self._stand("look-up", gate.accounts.get(name))
        gate.prepare = lambda user, device: self._stand(f"in {device}", 41)

    def _stand(self, name: str, answer: T) -> T:
        self.names.append(name)
        self.open.wait()
        return answer


def test_logins_over_the_bound_wait_and_are_let_in_at_their_turn(gates: Callable[..., Gate]) -> None:
    gate = gates(at_once_max=2)
    counter = Counter(gate)
    logins = [gevent.spawn(gate.login, device=f"d{number}") for number in range(5)]
    until(lambda: len(counter.names) == 2)
    turn()
    assert counter.names == ["look-up"] * 2
    assert gate.registry.connections == 5
    counter.open.set()
    with deadline():
        assert all(isinstance(login.get()[1], Welcome) for login in logins)


def test_the_time_of_a_login_begins_at_its_turn(gates: Callable[..., Gate]) -> None:
    """Nobody is answered: each runs out of its time, one after the other, and none of it goes by in the queue."""
    gate = gates(at_once_max=1, timeout_s=0.05)
    counter = Counter(gate)
    clients = [gate.knock() for _ in range(4)]
    for client in clients:
        client.send(hello())
    for client in clients:
        assert client.closing().code == CloseCode.HANDSHAKE_TIMEOUT
    assert counter.names == ["look-up"] * 4


def test_who_waits_too_long_for_a_turn_is_told_when_to_come_back(
    gates: Callable[..., Gate], caplog: pytest.LogCaptureFixture
) -> None:
    gate = gates(at_once_max=1, wait_max_s=0.05)
    counter = Counter(gate)
    first = gevent.spawn(gate.login, device="first")
    until(lambda: len(counter.names) == 1)
    late = gate.knock()
    late.send(hello())
    close = late.closing()
    assert (close.code, close.sentence) == (
        CloseCode.HANDSHAKE_TIMEOUT,
        "too many others log in at this moment; come back later",
    )
    assert 5 <= (close.retry_ms or 0) <= 25
    assert close.sentence in caplog.text
    late.close()
    counter.open.set()
    with deadline():
        assert isinstance(first.get()[1], Welcome)


@pytest.mark.parametrize("data", [b"", encode(hello())[:20], encode(hello())])
def test_who_keeps_the_relay_waiting_holds_no_place(gates: Callable[..., Gate], data: bytes) -> None:
    gate = gates(at_once_max=1)
    for _ in range(5):
        gate.knock().send(data)
    _, welcome = gate.login()
    assert isinstance(welcome, Welcome)


def test_who_waits_behind_failed_attempts_holds_no_place(gates: Callable[..., Gate]) -> None:
    gate = gates(at_once_max=1, delay_max_s=60.0)
    gate.throttle.fail("10.0.0.1", "bob", time.monotonic())
    waiting = gate.knock()
    waiting.send(hello())
    turn()
    _, welcome = gate.login(host="10.0.0.2")
    assert isinstance(welcome, Welcome)


def test_guesses_that_queue_for_the_same_place_are_judged_one_after_the_other(gates: Callable[..., Gate]) -> None:
    gate = gates(at_once_max=1, delay_max_s=0.02)
    quiet_at: list[tuple[float, float]] = []
    fail = gate.throttle.fail

    def note(host: str, user: str, now: float) -> float:
        delay_s = fail(host, user, now)
        quiet_at.append((now, now + delay_s))
        return delay_s

    gate.throttle.fail = note  # type: ignore[method-assign]
    clients = [gate.knock() for _ in range(4)]
    for client in clients:
        client.send(hello())
        assert isinstance(client.receive(), Challenge)
    counter = Counter(gate)
    gate.prepare = lambda user, device: 41
    holder = gate.knock(host="10.0.0.2")
    holder.send(hello())
    until(lambda: counter.names)
    for client in clients:
        client.send(Proof(b"c=biws,r=wrong,p=eA=="))
    turn()
    counter.open.set()
    for client in clients:
        assert client.closing().code == CloseCode.LOGIN_FAILED
    assert len(quiet_at) == 4
    for (_, at), (next_at, _) in pairwise(quiet_at):
        assert next_at >= at


def test_stopping_ends_those_who_wait_for_a_turn(gates: Callable[..., Gate]) -> None:
    gate = gates(at_once_max=1)
    counter = Counter(gate)
    clients = [gate.knock() for _ in range(3)]
    for client in clients:
        client.send(hello())
    until(lambda: counter.names)
    turn()
    stopping = gevent.spawn(gate.handshake.stop)
    for client in clients:
        assert client.closing().code == CloseCode.SHUTTING_DOWN
        client.close()
    with deadline():
        stopping.get()
    gate.until_empty()
    assert counter.names == ["look-up"]


def test_stopping_ends_logins_under_way_and_those_that_still_come(gate: Gate) -> None:
    under_way = gate.knock()
    under_way.send(hello())
    assert isinstance(under_way.receive(), Challenge)
    stopping = gevent.spawn(gate.handshake.stop)
    late = gate.knock()
    for client in (under_way, late):
        close = client.closing()
        assert close.code == CloseCode.SHUTTING_DOWN
        assert close.retry_ms
        client.close()
    with deadline():
        stopping.get()
    gate.until_empty()


def test_stopping_leaves_established_sessions_alone(gate: Gate) -> None:
    client, _ = gate.login()
    gate.handshake.stop()
    client.send(Ping(1))
    assert client.receive() == Pong(1)


def test_a_refused_client_that_goes_on_talking_still_reads_why(gate: Gate) -> None:
    ours, theirs = plain_socket.socketpair()
    gate.greenlets.append(gevent.spawn(gate.handshake, socket.socket(fileno=ours.detach()), "10.0.0.1:1"))
    client = Client(socket.socket(fileno=theirs.detach()))
    gate.clients.append(client)
    client.send(b"GET / HTTP/1.1\r\n" + bytes(10_000))
    assert client.closing().code == CloseCode.NOT_THE_PROTOCOL


def test_credentials_of_the_wrong_kind_do_not_escape(gate: Gate) -> None:
    gate.accounts["alice"] = gate.accounts["alice"]._replace(credentials=ALICE._replace(stored_key=b"", server_key=b""))
    assert gate.refusal().code == CloseCode.LOGIN_FAILED
