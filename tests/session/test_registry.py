"""Caps, keepalive, slow readers and the drain. Time is a number of ticks; nothing here waits for a clock."""

import logging

import pytest

from relay.protocol.codes import CloseCode
from relay.protocol.packets import Close, Message, Ping, Pong, Signal, encode
from relay.protocol.payloads import decode_body
from relay.session.registry import Registry, TooManyConnectionsError
from relay.session.session import CLOSING_S, Phase, Session
from tests.loop import deadline, turn
from tests.router.recording import packets
from tests.session.wire import Client, Wire

PING_AFTER, DEAD_AFTER, SLOW_AFTER = 5, 3, 10


def registry(connections_max: int = 10, per_address_max: int = 10) -> Registry:
    return Registry(connections_max, per_address_max, (PING_AFTER, DEAD_AFTER), SLOW_AFTER)


def test_connections_are_counted_up_and_down() -> None:
    counted = registry()
    for host in ("a", "b", "a"):
        counted.admit(host)
    assert counted.connections == 3
    assert repr(counted) == "<Registry: 3 connections, 0 sessions>"
    for host in ("a", "a", "b"):
        counted.release(host)
    assert counted.connections == 0


def test_one_connection_too_many_is_refused_and_not_counted() -> None:
    counted = registry(connections_max=2)
    counted.admit("a")
    counted.admit("b")
    with pytest.raises(TooManyConnectionsError, match="2 connections"):
        counted.admit("c")
    assert counted.connections == 2
    counted.release("a")
    counted.admit("c")


def test_one_address_may_not_take_all() -> None:
    counted = registry(per_address_max=2)
    counted.admit("a")
    counted.admit("a")
    with pytest.raises(TooManyConnectionsError, match="your address"):
        counted.admit("a")
    counted.admit("b")
    counted.release("a")
    counted.admit("a")
    assert counted.connections == 3


class Room:
    """One session under a registry's eye."""

    def __init__(self, wire: Wire, **options: int) -> None:
        self.wire = wire
        self.registry = registry()
        self.session, self.client = wire.connect("alice", **options)  # type: ignore[arg-type]
        self.registry.add(self.session)

    def tick(self, times: int = 1) -> None:
        for _ in range(times):
            self.registry.tick()
        turn()

    def hear(self, packet: Ping | Pong) -> None:
        self.session.receive(encode(packet))


def test_a_silent_client_is_asked_once_and_closed_later(wire: Wire) -> None:
    room = Room(wire)
    room.tick(PING_AFTER)
    assert not room.session.pinged
    room.tick()
    assert room.client.receive() == Ping(0)
    room.tick(DEAD_AFTER - 1)
    assert room.session.phase is Phase.OPEN
    room.tick()
    (close,) = room.client.rest()
    assert isinstance(close, Close)
    assert close.code == CloseCode.KEEPALIVE_TIMEOUT
    assert wire.town.router.directory.session("alice/phone") is None


def test_an_answer_starts_the_silence_anew_and_the_next_silence_is_asked_about_again(wire: Wire) -> None:
    room = Room(wire)
    for _ in range(3):
        room.tick(PING_AFTER + 1)
        assert room.client.receive() == Ping(0)
        room.hear(Pong(0))
    assert room.session.phase is Phase.OPEN


def test_a_client_that_speaks_is_not_asked(wire: Wire) -> None:
    room = Room(wire)
    for _ in range(10):
        room.tick(PING_AFTER)
        room.hear(Pong(0))
    assert not room.session.pinged
    assert room.session.outlet.size == 0


def test_half_a_frame_is_a_sign_of_life(wire: Wire) -> None:
    room = Room(wire)
    room.tick(PING_AFTER)
    room.session.receive(b"\0")
    room.tick(PING_AFTER)
    room.session.receive(b"\0")
    room.tick(PING_AFTER)
    assert not room.session.pinged


def test_a_client_that_waits_for_the_disk_is_not_taken_for_dead(wire: Wire) -> None:
    room = Room(wire)
    room.session.receive(encode(Message("alice/phone", "bob", 1, "", b"")))
    room.tick(100)
    assert room.session.phase is Phase.OPEN
    wire.town.log.run()
    room.tick(PING_AFTER + DEAD_AFTER + 1)
    assert room.session.phase is Phase.CLOSING


def stuff(session: Session) -> None:
    """More than the kernel takes."""
    for _ in range(6):
        session.outlet.push(bytes(100_000))
    turn()
    assert session.outlet.size > 0


def test_a_client_that_takes_nothing_at_all_is_closed(wire: Wire, caplog: pytest.LogCaptureFixture) -> None:
    room = Room(wire, buffer_bytes=4096)
    stuff(room.session)
    with caplog.at_level(logging.WARNING):
        for _ in range(SLOW_AFTER):
            room.hear(Ping(0))
            room.tick()
        assert room.session.phase is Phase.OPEN
        room.tick()
    assert room.session.phase is Phase.CLOSING
    assert "read nothing for 10 s" in caplog.text


def test_a_client_that_takes_a_little_is_not(wire: Wire) -> None:
    room = Room(wire, buffer_bytes=4096)
    stuff(room.session)
    for _ in range(3 * SLOW_AFTER):
        room.hear(Pong(0))
        while not room.session.outlet.progress:
            room.client.sock.recv(2048)
            turn()
        room.tick()
    assert room.session.outlet.size > 0
    assert room.session.phase is Phase.OPEN


def test_dropped_signals_are_told_once_when_there_is_room(wire: Wire) -> None:
    room = Room(wire, buffer_bytes=4096)
    stuff(room.session)
    for _ in range(1000):
        room.session.outlet.signal(encode(Signal("bob/phone", "alice", None, "", bytes(1000))), 1)
    dropped = room.session.outlet.dropped
    assert dropped > 0
    room.tick()
    assert room.session.outlet.dropped == dropped
    while room.session.outlet.size:
        room.client.sock.recv(65536)
        turn()
    room.tick(2)
    assert room.session.outlet.dropped == 0
    with deadline():
        received = b""
        while b"dropped" not in received:
            received += room.client.sock.recv(65536)
    event = packets(received[received.rindex(b"\x96\x10\xa5relay") - 4 :])
    assert len(event) == 1
    assert isinstance(event[0], Signal)
    assert decode_body(event[0].content_type, event[0].body) == {"event": "dropped", "signals": dropped}


def test_an_empty_outbox_is_not_slow(wire: Wire) -> None:
    room = Room(wire)
    for _ in range(3 * SLOW_AFTER):
        room.hear(Pong(0))
        room.tick()
    assert room.session.phase is Phase.OPEN


def test_a_closing_session_is_cut_off_after_a_while(wire: Wire) -> None:
    room = Room(wire, buffer_bytes=4096)
    stuff(room.session)
    room.session.end(CloseCode.NORMAL, "bye")
    room.tick(CLOSING_S)
    assert room.session.phase is Phase.CLOSING
    room.tick()
    assert room.session.phase is Phase.GONE
    assert wire.gone == [room.session]


def test_the_drain_tells_everybody_when_to_come_back(wire: Wire) -> None:
    drained = registry()
    clients: list[Client] = []
    for user in ("alice", "bob", "carol"):
        session, client = wire.connect(user)
        drained.add(session)
        clients.append(client)
    delays = iter([100, 200, 300])
    drained.drain(lambda: next(delays))
    closes = [client.closing() for client in clients]
    assert {close.code for close in closes} == {CloseCode.SHUTTING_DOWN}
    assert sorted(close.retry_ms or 0 for close in closes) == [100, 200, 300]
    assert len(drained) == 3


def test_abort_closes_everything_at_once(wire: Wire) -> None:
    aborted = registry()
    sessions = []
    for user in ("alice", "bob"):
        session, _ = wire.connect(user)
        aborted.add(session)
        sessions.append(session)
    aborted.abort()
    assert {session.phase for session in sessions} == {Phase.GONE}
    for session in sessions:
        aborted.discard(session)
        aborted.discard(session)
    assert len(aborted) == 0
    assert aborted.sessions() == []
