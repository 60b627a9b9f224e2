"""What time does to a connection: logins that do not end, sessions that say nothing, readers that do not read.

The relay of these tests waits for a second or two where one waits for half a minute; nothing here measures time.
"""

import socket

import pytest

from relay.protocol.codes import CloseCode, ErrorCode
from relay.protocol.packets import Close, Error, Hello, Ping, Pong, Proof
from relay.protocol.scram import MECHANISM, ClientLogin
from tests.integration.peer import PASSWORD, Peer
from tests.integration.samples import frame, hello, packed
from tests.integration.stage import Stage

SLOW = Close(CloseCode.HANDSHAKE_TIMEOUT, "the login was not complete within 1.5 s", 1500)

# Linux: closing a socket in this mode tells the other end nothing, as if the cable had been cut. Needs root.
TCP_REPAIR = 19


def test_one_who_says_nothing(hurry: Stage) -> None:
    peer = hurry.connect()
    assert peer.closing() == SLOW
    hurry.one_log_line(peer, "INFO", SLOW.sentence)


def test_one_who_sends_a_byte_at_a_time(hurry: Stage) -> None:
    peer = hurry.connect()
    for byte in frame(packed(hello(agent="x" * 60))):
        peer.send_bytes(bytes([byte]))
        hurry.undisturbed()
        if peer.has_news():
            break
    assert peer.closing() == SLOW
    hurry.one_log_line(peer, "WARNING", SLOW.sentence)


def test_one_who_stops_after_the_challenge(hurry: Stage) -> None:
    peer = hurry.connect()
    peer.hello(ClientLogin("somebody", PASSWORD), "somebody")
    assert peer.closing() == SLOW
    hurry.one_log_line(peer, "WARNING", SLOW.sentence)


def test_a_slow_login_is_over_though_the_peer_stays(hurry: Stage) -> None:
    peer = hurry.connect()
    assert peer.closing(stay=True) == SLOW
    hurry.back_to_before()


def test_many_who_say_nothing_cost_nobody_a_login(hurry: Stage) -> None:
    idlers = [hurry.connect() for _ in range(200)]
    hurry.session().alive()
    hurry.undisturbed()
    assert {peer.closing() for peer in idlers} == {SLOW}


def test_who_goes_on_guessing_is_sent_away(hurry: Stage) -> None:
    """A new attempt waits until earlier ones are answered; one that would wait for too long is told to come back."""
    source, users = hurry.relay.source(), [hurry.user() for _ in range(4)]
    logins = [ClientLogin(user, "guess") for user in users]
    guessers = [hurry.connect(source) for _ in users]
    challenges = [peer.hello(login, user) for peer, login, user in zip(guessers, logins, users, strict=True)]
    for peer, login, challenge in zip(guessers, logins, challenges, strict=True):
        peer.send(Proof(login.final(challenge.data)))
    for peer in guessers:
        hurry.one_log_line(peer, "WARNING", "failed")
    late = hurry.connect(source)
    late.send(Hello(1, 1, users[0], "device", MECHANISM, ClientLogin(users[0], PASSWORD).first(), "test/1"))
    close = late.closing()
    assert close.code == CloseCode.TOO_MANY_ATTEMPTS
    assert close.retry_ms is not None and 0 < close.retry_ms <= 2000
    hurry.one_log_line(late, "WARNING", close.sentence)
    hurry.session(users[0]).alive()
    assert {peer.closing().code for peer in guessers} == {CloseCode.LOGIN_FAILED, CloseCode.TOO_MANY_ATTEMPTS}


def test_silence_is_asked_and_an_answer_keeps_the_session(hurry: Stage) -> None:
    peer = hurry.session()
    for _ in range(2):
        ping = peer.expect(Ping)
        peer.send(Pong(ping.token))
    peer.alive()


def test_any_byte_is_a_sign_of_life(hurry: Stage) -> None:
    peer = hurry.session()
    beginning = frame(packed([99, "a frame that takes its time"]))
    for byte in beginning[:2]:
        peer.expect(Ping)
        peer.send_bytes(bytes([byte]))
    peer.send_bytes(beginning[2:])
    while not isinstance(peer.packet(), Ping):
        pass
    assert not hurry.relay.process.seen(peer.name, "silent")


def test_one_who_never_answers_is_dead(hurry: Stage) -> None:
    peer, friend = hurry.session(), hurry.session()
    friend.call(peer.address, 1)
    assert [type(peer.packet()).__name__ for _ in range(3)] == ["Call", "Ping", "Close"]
    hurry.one_log_line(peer, "INFO", peer.address, "silent for")


def test_a_dead_peer_that_keeps_its_socket_costs_no_descriptor(hurry: Stage) -> None:
    peer = hurry.session()
    hurry.relay.process.await_line(peer.name, "silent for")
    hurry.back_to_before()
    assert peer.closing().code == CloseCode.KEEPALIVE_TIMEOUT


def test_a_peer_that_vanished_without_a_word(hurry: Stage) -> None:
    peer = hurry.session()
    vanish(peer)
    hurry.back_to_before()
    hurry.one_log_line(peer, "INFO", peer.address, "is gone")


def test_who_vanished_is_not_listed_and_messages_wait_for_her(hurry: Stage) -> None:
    peer, friend = hurry.session(), hurry.session()
    user = peer.address.partition("/")[0]
    peer.receive_messages()
    vanish(peer)
    hurry.relay.process.await_line(peer.name, "is gone")
    friend.store(user, 1, b"see you")
    again = hurry.session(user)
    again.receive_messages()
    assert b"see you" in again.expect_delivery().packet


def vanish(peer: Peer) -> None:
    """Cut the cable. What the relay sends from now on is answered with a reset, as by a machine that was restarted."""
    try:
        peer.sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
    except OSError:
        pytest.skip("only root may close a TCP connection without telling the peer")
    peer.close()


def test_one_who_never_reads_is_closed(hurry: Stage) -> None:
    """More waits for it than the kernel's buffers take, and it reads nothing at all."""
    peer, friend = hurry.session(receive_buffer_bytes=4096), hurry.session()
    for _ in range(16):
        friend.signal(peer.address, bytes(1_000_000))
    friend.alive()
    hurry.relay.process.await_line(peer.name, "WARNING", peer.address, "it has read nothing for")
    another = hurry.session()
    another.signal(peer.address, packet_id=5)
    assert another.expect(Error).code == ErrorCode.NO_SUCH_SESSION
    peer.close()
    hurry.relay.process.await_line(peer.name, "missed")


def test_one_who_reads_slowly_stays(hurry: Stage) -> None:
    """It takes a little all the time, over several times what one who reads nothing is given."""
    peer, friend = hurry.session(receive_buffer_bytes=4096), hurry.session()
    for _ in range(16):
        friend.signal(peer.address, bytes(1_000_000))
    pings = 0
    while pings < 3:
        peer.sock.recv(2048)
        peer.send(Pong(0))
        if friend.has_news():
            friend.expect_ping()
            pings += 1
    assert not hurry.relay.process.seen(peer.name, "closing")
