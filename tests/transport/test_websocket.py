"""WebSockets as streams and as transports: messages out, payload in, control frames, and every way to end."""

import random
from collections.abc import Callable, Iterator

import gevent
import pytest
from gevent import socket
from wsproto.frame_protocol import FrameProtocol, Opcode

from relay.transport.connection import Connection
from relay.transport.websocket import WebSocketConnection, WebSocketStream
from relay.transport.websocket_frames import Incoming
from tests.loop import deadline, turn, until
from tests.transport.masked import client_frame


class End:
    """Our end of a WebSocket, recorded; `peer` is the client's socket."""

    def __init__(self, received: bytes = b"", buffer_bytes: int | None = None) -> None:
        ours, self.peer = socket.socketpair()
        if buffer_bytes is not None:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer_bytes)
        loop = gevent.get_hub().loop
        incoming = Incoming()
        self.data = [incoming.feed(received)] if received else []
        self.lost: list[str] = []
        self.writable = 0
        self.on_data: Callable[[bytes], None] = self.data.append
        self.connection = WebSocketConnection(Connection(ours, "peer:1", loop), incoming, loop)
        self.parser = FrameProtocol(client=True, extensions=[])
        self.unsent = b""
        self.payload = b""

    def start(self) -> "End":
        self.connection.start(self._take, self._flush, self.lost.append)
        return self

    def _take(self, data: bytes) -> None:
        self.on_data(data)

    def put(self, data: bytes) -> None:
        """Send as an outbox does: what is not taken comes first next time."""
        self.unsent += data
        self._flush()

    def _flush(self) -> None:
        self.writable += 1
        if not self.unsent:
            return
        self.unsent = self.unsent[self.connection.send(self.unsent) :]
        if self.unsent:
            self.connection.wait_writable()
        else:
            self.connection.stop_waiting()

    def frames(self, count: int) -> list[tuple[Opcode, object]]:
        """The next whole frames that the client sees."""
        found: list[tuple[Opcode, object]] = []
        with deadline("frames"):
            while len(found) < count:
                data = self.peer.recv(65536)
                assert data, f"the end, after {found}"
                self.parser.receive_bytes(data)
                for frame in self.parser.received_frames():
                    if frame.opcode is Opcode.BINARY:
                        self.payload += frame.payload  # type: ignore[operator]
                        if frame.frame_finished:
                            found.append((frame.opcode, self.payload))
                            self.payload = b""
                    else:
                        found.append((frame.opcode, frame.payload))
        return found


@pytest.fixture
def make() -> Iterator[Callable[..., End]]:
    made: list[End] = []

    def end(**options: object) -> End:
        made.append(End(**options).start())  # type: ignore[arg-type]
        return made[-1]

    yield end
    for each in made:
        each.connection.abort()
        each.peer.close()


def test_payload_comes_in_and_messages_go_out(make: Callable[..., End]) -> None:
    end = make()
    end.peer.sendall(client_frame(b"hello ") + client_frame(b"world"))
    until(lambda: b"".join(end.data) == b"hello world")
    assert end.connection.send(b"hi") == 2
    assert end.connection.send(b"x" * 70_000) == 70_000
    assert end.frames(2) == [(Opcode.BINARY, b"hi"), (Opcode.BINARY, b"x" * 70_000)]
    assert end.connection.send(b"") == 0
    assert "WebSocketConnection over" in repr(end.connection)


def test_what_a_full_kernel_does_not_take_follows_in_order(make: Callable[..., End]) -> None:
    end = make(buffer_bytes=4096)
    chance = random.Random(1)
    pieces = [chance.randbytes(chance.choice((1, 5, 100, 3000, 60_000))) for _ in range(60)]
    expected = b"".join(pieces)
    for piece in pieces[:20]:
        end.put(piece)
    reading = gevent.spawn(lambda: collect(end, len(expected)))
    for piece in pieces[20:]:
        end.put(piece)
        gevent.sleep(0)
    with deadline():
        assert reading.get() == expected


def test_pieces_are_messages_and_one_that_is_not_begun_may_be_left_out(make: Callable[..., End]) -> None:
    end = make(buffer_bytes=4096)
    pieces = [b"a" * 40_000, memoryview(b"b" * 1_000_000), b"c" * 10]
    sent = end.connection.send_pieces(pieces)
    assert 0 < sent < 1_040_000
    assert end.connection.send_pieces([b"x"]) == 0
    data = b"".join(pieces[:2])[sent:]
    end.unsent = data
    end.connection.wait_writable()
    with deadline():
        assert collect(end, 1_040_000) == b"".join(pieces[:2])


def test_a_deferred_read_is_that_of_the_connection_below(make: Callable[..., End]) -> None:
    end = make()
    waiting: list[Callable[[], None]] = []
    end.connection.defer(waiting.append)
    end.connection.keep_short()
    end.peer.sendall(client_frame(b"much"))
    until(lambda: waiting)
    waiting.pop()()
    assert end.data == [b"much"]


def collect(end: End, size: int) -> bytes:
    found = b""
    while len(found) < size:
        for _, payload in end.frames(1):
            assert isinstance(payload, bytes)
            found += payload
    return found


def test_a_pong_waits_for_the_end_of_the_message_under_way(make: Callable[..., End]) -> None:
    end = make(buffer_bytes=4096)
    end.put(b"m" * 500_000)
    assert end.unsent
    end.peer.sendall(client_frame(b"1", 9) + client_frame(b"2", 9))
    turn(5)
    end.put(b"next")
    assert end.frames(3) == [
        (Opcode.BINARY, b"m" * 500_000),
        (Opcode.PONG, b"2"),
        (Opcode.BINARY, b"next"),
    ]
    assert not end.unsent


def test_pings_that_nobody_reads_the_answers_of_pile_up_nothing(make: Callable[..., End]) -> None:
    end = make(buffer_bytes=4096)
    ping = client_frame(b"p" * 125, 9)
    for _ in range(200):
        end.peer.sendall(ping * 20)
        turn(1)
    waiting = len(end.connection._unsent) + len(end.connection._control)
    assert waiting <= 2 * 127
    reading = gevent.spawn(lambda: [end.peer.recv(65536) for _ in range(3)])
    until(lambda: not end.connection._unsent and not end.connection._control)
    reading.kill()
    loop_is_quiet(end)


def loop_is_quiet(end: End) -> None:
    """Nobody is asked again and again whether it can write."""
    before = end.writable
    turn(5)
    assert end.writable == before
    assert end.connection._below._writer is None  # type: ignore[attr-defined]


def test_a_close_frame_is_answered_and_ends_the_connection(make: Callable[..., End]) -> None:
    end = make()
    end.peer.sendall(client_frame(b"last") + client_frame(b"\x03\xe8bye", 8))
    until(lambda: end.lost)
    assert end.data == [b"last"]
    assert end.lost == ["the peer closed the connection"]
    assert end.frames(1) == [(Opcode.CLOSE, (1000, "bye"))]
    with deadline():
        assert end.peer.recv(10) == b""


def test_a_client_that_breaks_the_rules_is_told_so(make: Callable[..., End]) -> None:
    end = make()
    end.peer.sendall(client_frame(b"good") + client_frame(b"text", 1))
    ((opcode, payload),) = end.frames(1)
    assert opcode is Opcode.CLOSE
    assert payload == (1003, "text messages are not taken; Relay speaks in binary ones")
    end.peer.close()
    until(lambda: end.lost)
    assert end.data == [b"good"]
    assert "text messages" in end.lost[0]


def test_in_the_middle_of_a_message_there_is_no_room_for_a_close_frame(make: Callable[..., End]) -> None:
    end = make(buffer_bytes=4096)
    end.put(b"m" * 500_000)
    end.peer.sendall(client_frame(b"text", 1))
    until(lambda: end.lost)


def test_finishing_sends_the_code_behind_everything(make: Callable[..., End]) -> None:
    end = make()
    end.connection.send(b"goodbye")
    end.connection.finish(1013)
    end.connection.finish(1000)
    assert end.frames(2) == [(Opcode.BINARY, b"goodbye"), (Opcode.CLOSE, (1013, ""))]
    end.peer.sendall(client_frame(b"\x03\xf5", 8))
    end.peer.close()
    until(lambda: end.lost)
    assert len(end.lost) == 1


def test_finishing_waits_for_the_pong_that_is_half_sent(make: Callable[..., End]) -> None:
    end = make()
    end.connection._unsent = b"\x8a\x00"
    end.connection._busy = True
    end.connection.finish(1001)
    assert end.frames(2) == [(Opcode.PONG, b""), (Opcode.CLOSE, (1001, ""))]
    with deadline():
        assert end.peer.recv(10) == b""


def test_the_end_inside_a_callback_is_safe(make: Callable[..., End]) -> None:
    for how in ("abort", "finish"):
        end = make()
        end.on_data = lambda data, end=end, how=how: getattr(end.connection, how)()
        end.peer.sendall(client_frame(b"x") + client_frame(b"", 9) + client_frame(b"", 8))
        end.peer.shutdown(socket.SHUT_WR)
        until(lambda end=end: end.lost)
        assert len(end.lost) == 1


def test_pausing_leaves_the_bytes_in_the_kernel(make: Callable[..., End]) -> None:
    end = make()
    end.connection.pause()
    end.peer.sendall(client_frame(b"later"))
    turn(5)
    assert end.data == []
    end.connection.resume()
    until(lambda: end.data == [b"later"])


def test_everything_may_be_called_after_the_end(make: Callable[..., End]) -> None:
    end = make()
    end.peer.close()
    until(lambda: end.lost)
    assert end.connection.send(b"into the void") == 13
    end.connection.wait_writable()
    end.connection.stop_waiting()
    end.connection.finish()
    end.connection.abort()
    turn(3)
    assert len(end.lost) == 1


def test_one_that_closed_behind_its_login_is_told_of_after_the_start(make: Callable[..., End]) -> None:
    end = make(received=client_frame(b"\x03\xe8", 8))
    assert end.lost == []
    until(lambda: end.lost)
    assert end.frames(1) == [(Opcode.CLOSE, (1000, ""))]


class TestStream:
    @pytest.fixture
    def pair(self) -> Iterator[tuple[WebSocketStream, socket.socket]]:
        ours, theirs = socket.socketpair()
        yield WebSocketStream(ours, client_frame(b"early")), theirs
        ours.close()
        theirs.close()

    def test_reads_payload_and_writes_messages(self, pair: tuple[WebSocketStream, socket.socket]) -> None:
        stream, theirs = pair
        with deadline():
            assert stream.recv(10) == b"early"
            theirs.sendall(client_frame(b"p", 9) + client_frame(b"") + client_frame(b"next"))
            assert stream.recv(100) == b"next"
            assert theirs.recv(10) == b"\x8a\x01p"
            stream.sendall(b"")
            stream.sendall(b"out")
            assert theirs.recv(10) == b"\x82\x03out"

    def test_ends_when_the_client_closes_or_hangs_up(self, pair: tuple[WebSocketStream, socket.socket]) -> None:
        stream, theirs = pair
        with deadline():
            stream.recv(10)
            theirs.sendall(client_frame(b"\x03\xe9", 8))
            assert stream.recv(10) == b""
            stream.finish(1000)
            assert theirs.recv(10) == b"\x88\x02\x03\xe9"

    def test_tells_a_client_that_breaks_the_rules(self, pair: tuple[WebSocketStream, socket.socket]) -> None:
        stream, theirs = pair
        with deadline():
            stream.recv(10)
            theirs.sendall(client_frame(b"x", 1))
            assert stream.recv(10) == b""
            stream.finish(1000)
            assert theirs.recv(4)[2:] == b"\x03\xeb"
