"""Sockets driven by loop callbacks: what arrives, what is taken, and the one report of the end."""

import struct
from collections.abc import Callable, Iterator

import gevent
import pytest
from gevent import socket

from relay.transport import connection as connection_module
from relay.transport.connection import READ_BYTES, Connection
from tests.loop import deadline, turn, until


class End:
    """Our end of a pair, recorded; `peer` is the other end."""

    def __init__(self, ours: socket.socket, peer: socket.socket, *, start: bool = True) -> None:
        self.fd = ours.fileno()
        self.connection = Connection(ours, "peer:1", gevent.get_hub().loop)
        self.peer = peer
        self.data: list[bytes] = []
        self.lost: list[str] = []
        self.writable = 0
        self.on_data: Callable[[bytes], None] = self.data.append
        if start:
            self.connection.start(self._data, self._writable, self.lost.append)

    def fill(self) -> int:
        """Send until the kernel takes no more."""
        total = 0
        while taken := self.connection.send(bytes(65536)):
            total += taken
        return total

    def drain(self, size: int) -> None:
        with deadline("the peer's reading"):
            while size:
                size -= len(self.peer.recv(min(size, 65536)))

    def _data(self, data: bytes) -> None:
        self.on_data(data)

    def _writable(self) -> None:
        self.writable += 1
        self.connection.stop_waiting()


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    return ours, theirs


@pytest.fixture(params=["unix", "tcp"])
def make(request: pytest.FixtureRequest) -> Iterator[Callable[..., End]]:
    made: list[End] = []

    def end(**options: bool) -> End:
        pair = socket.socketpair() if request.param == "unix" else tcp_pair()
        made.append(End(*pair, **options))
        return made[-1]

    yield end
    for each in made:
        each.connection.abort()
        each.peer.close()


@pytest.fixture
def end(make: Callable[..., End]) -> End:
    return make()


def reset(sock: socket.socket) -> None:
    """Close so that the other end sees a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def test_the_given_socket_is_not_ours_any_more(make: Callable[..., End]) -> None:
    ours, theirs = socket.socketpair()
    fd = ours.fileno()
    connection = Connection(ours, "x", gevent.get_hub().loop)
    assert ours.fileno() == -1
    assert connection._sock.fileno() == fd
    assert not connection._sock.getblocking()
    connection._sock.close()
    theirs.close()


def test_what_arrives_is_reported_and_what_is_sent_arrives(end: End) -> None:
    end.peer.sendall(b"hello")
    until(lambda: end.data)
    assert b"".join(end.data) == b"hello"
    assert end.connection.send(b"hi") == 2
    with deadline():
        assert end.peer.recv(10) == b"hi"
    assert repr(end.connection) == "<Connection peer:1 open>"


def test_much_arrives_in_pieces_of_at_most_the_buffer_and_in_order(end: End) -> None:
    payload = bytes(range(256)) * 8192
    sending = gevent.spawn(end.peer.sendall, payload)
    until(lambda: sum(map(len, end.data)) == len(payload))
    assert b"".join(end.data) == payload
    assert max(map(len, end.data)) <= READ_BYTES
    sending.get()


def test_pieces_do_not_change_when_the_next_one_is_read(make: Callable[..., End]) -> None:
    first, second = make(), make()
    first.peer.sendall(b"first")
    until(lambda: first.data)
    second.peer.sendall(b"other")
    until(lambda: second.data)
    assert first.data == [b"first"]


def test_nothing_is_read_before_start(make: Callable[..., End]) -> None:
    end = make(start=False)
    end.peer.sendall(b"early")
    turn(5)
    assert end.data == []
    end.connection.start(end.data.append, end._writable, end.lost.append)
    until(lambda: end.data == [b"early"])


def test_a_deferred_read_is_done_when_its_time_has_come_and_once(end: End) -> None:
    waiting: list[Callable[[], None]] = []
    end.connection.defer(waiting.append)
    end.peer.sendall(b"much")
    until(lambda: waiting)
    gevent.sleep(0.001)
    assert len(waiting) == 1 and end.data == []
    waiting.pop()()
    assert end.data == [b"much"]
    end.peer.sendall(b"more")
    until(lambda: len(end.data) == 2)
    assert waiting == []


@pytest.mark.parametrize("ending", ["pause", "abort"])
def test_a_deferred_read_does_nothing_when_nobody_reads_any_more(end: End, ending: str) -> None:
    waiting: list[Callable[[], None]] = []
    end.connection.defer(waiting.append)
    end.peer.sendall(b"much")
    until(lambda: waiting)
    getattr(end.connection, ending)()
    waiting.pop()()
    assert end.data == []
    if ending == "pause":
        end.connection.resume()
        until(lambda: end.data == [b"much"])


def test_a_short_kernel_takes_less_ahead(make: Callable[..., End]) -> None:
    end, short = make(), make()
    for each in (end, short):
        each.peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    short.connection.keep_short()
    if short.connection._sock.family == socket.AF_UNIX:
        assert short.fill() > 0  # it has no such setting
    else:
        assert 0 < short.fill() < end.fill()


def test_pieces_are_sent_as_one_as_far_as_the_kernel_takes_them(end: End) -> None:
    assert end.connection.send_pieces([b"one"]) == 3
    assert end.connection.send_pieces([b"two", memoryview(b"three")]) == 8
    with deadline():
        assert end.peer.recv(100) == b"onetwothree"
    body = bytes(range(256)) * 40_000
    sent = end.connection.send_pieces([body, body])
    assert 0 < sent < 2 * len(body)
    assert end.connection.send_pieces([b"a", b"b"]) == 0
    got = b""
    with deadline():
        while len(got) < sent:
            got += end.peer.recv(1 << 20)
    assert got == (body + body)[:sent]
    reset(end.peer)
    until(lambda: end.connection.send_pieces([b"a", b"b"]) == 2 and end.lost)


def test_a_full_kernel_takes_part_then_nothing_then_more(end: End) -> None:
    total = end.fill()
    assert total > 0
    assert end.connection.send(b"x") == 0
    end.connection.wait_writable()
    end.connection.wait_writable()
    turn(5)
    assert end.writable == 0
    end.drain(total)
    until(lambda: end.writable)
    assert end.connection.send(b"x") == 1
    assert end.lost == []


def test_nobody_is_called_when_nobody_waits_for_writing(end: End) -> None:
    end.connection.wait_writable()
    end.connection.stop_waiting()
    end.connection.stop_waiting()
    turn(5)
    assert end.writable == 0


def test_a_peer_that_closes_is_reported_once_behind_its_data(end: End) -> None:
    end.peer.sendall(b"last words")
    end.peer.close()
    until(lambda: end.lost)
    assert end.data == [b"last words"]
    assert end.lost == ["the peer closed the connection"]
    assert repr(end.connection) == "<Connection peer:1 closed>"


def test_everything_may_be_called_after_the_end(end: End) -> None:
    end.peer.close()
    until(lambda: end.lost)
    connection = end.connection
    assert connection.send(b"into the void") == 13
    connection.wait_writable()
    connection.stop_waiting()
    connection.pause()
    connection.resume()
    connection.finish()
    connection.abort()
    turn(5)
    assert len(end.lost) == 1
    assert connection._sock.fileno() == -1


def test_a_reset_is_reported_once_with_its_reason(make: Callable[..., End]) -> None:
    end = make()
    if end.connection._sock.family == socket.AF_UNIX:
        end.connection.send(b"unread")
        end.peer.close()
    else:
        reset(end.peer)
    until(lambda: end.lost)
    assert end.lost == ["Connection reset by peer"]


def test_sending_to_a_dead_peer_reports_the_loss_and_takes_everything(end: End) -> None:
    end.connection.pause()
    reset(end.peer)
    sent = [end.connection.send(b"x" * 10) for _ in range(20)]
    assert set(sent) == {10}
    assert len(end.lost) == 1


def test_a_pause_leaves_the_bytes_in_the_kernel(end: End) -> None:
    end.connection.pause()
    end.peer.sendall(b"later")
    turn(5)
    assert end.data == []
    end.connection.resume()
    end.connection.resume()
    until(lambda: end.data == [b"later"])


def test_pausing_from_the_callback_stops_at_once(end: End) -> None:
    def once(data: bytes) -> None:
        end.data.append(data)
        end.connection.pause()

    end.on_data = once
    end.peer.sendall(bytes(100_000))
    until(lambda: end.data)
    turn(5)
    assert len(end.data) == 1


def test_abort_closes_at_once_and_reports_once(end: End) -> None:
    end.connection.abort()
    end.connection.abort()
    assert end.lost == ["closed"]
    with deadline():
        assert end.peer.recv(1) == b""


def test_aborting_from_the_callback_is_safe(end: End) -> None:
    end.on_data = lambda data: end.connection.abort()
    end.peer.sendall(b"x")
    until(lambda: end.lost)
    turn(5)
    assert end.lost == ["closed"]


def test_finishing_delivers_what_was_sent_and_waits_for_the_peer(end: End) -> None:
    end.peer.sendall(bytes(50_000))
    until(lambda: end.data)
    end.connection.send(b"goodbye")
    end.peer.sendall(bytes(50_000))
    seen = len(end.data)
    end.connection.finish()
    end.connection.finish()
    with deadline():
        assert end.peer.recv(100) == b"goodbye"
        assert end.peer.recv(100) == b""
    end.peer.sendall(b"still talking")
    turn(5)
    assert end.lost == []
    assert len(end.data) == seen
    end.peer.close()
    until(lambda: end.lost)
    assert len(end.lost) == 1


def test_finishing_a_paused_connection_still_hears_the_peer_hang_up(end: End, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "LINGER_S", 3600.0)
    end.connection.pause()
    end.connection.finish()
    end.peer.close()
    until(lambda: end.lost)


def test_a_peer_that_never_hangs_up_is_left_after_a_while(end: End, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "LINGER_S", 0.01)
    end.connection.finish()
    until(lambda: end.lost)
    assert end.lost == ["closed"]


def test_finishing_after_the_peer_reset_reports_the_end(end: End) -> None:
    end.connection.pause()
    reset(end.peer)
    turn()
    end.connection.finish()
    until(lambda: end.lost)
    assert len(end.lost) == 1


def test_nothing_is_left_in_the_event_loop(make: Callable[..., End]) -> None:
    loop = gevent.get_hub().loop
    turn()
    before = loop.activecnt
    for how in ("abort", "peer", "finish"):
        end = make()
        end.fill()
        end.connection.wait_writable()
        if how == "abort":
            end.connection.abort()
        elif how == "finish":
            end.connection.finish()
        end.peer.close()
        until(lambda end=end: end.lost)
    assert loop.activecnt <= before
