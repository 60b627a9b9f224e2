"""TLS as a stream and as a transport, against Python's own client side."""

import random
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import gevent
import pytest
from gevent import socket

from relay.transport.stream import establish, finish
from relay.transport.tls import Tls, TlsConnection, TlsError, TlsStream
from relay.transport.websocket import WebSocketConnection, WebSocketStream
from tests.loop import deadline, turn, until
from tests.transport.certificates import Certificate, make_certificate
from tests.transport.masked import client_frame


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("tls"))


class Peer:
    """A client's TLS over a socket, in memory as well."""

    def __init__(self, sock: socket.socket, cert: Path, version: ssl.TLSVersion | None = None) -> None:
        self.sock = sock
        context = ssl.create_default_context(cafile=str(cert))
        if version is not None:
            context.minimum_version = context.maximum_version = version
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._in, self._out, server_hostname="localhost")

    def shake(self) -> None:
        self.do(self.tls.do_handshake)

    def do(self, action: Callable[[], object]) -> object:
        while True:
            try:
                result = action()
                self.flush()
                return result
            except ssl.SSLWantReadError:
                self.flush()
                data = self.sock.recv(65536)
                if not data:
                    raise EOFError from None
                self._in.write(data)

    def flush(self) -> None:
        if self._out.pending:
            self.sock.sendall(self._out.read())

    def send(self, data: bytes) -> None:
        self.tls.write(data)
        self.flush()

    def receive(self, size: int) -> bytes:
        found = b""
        with deadline("the relay's bytes"):
            while len(found) < size:
                part = self.do(lambda: self.tls.read(65536))
                assert isinstance(part, bytes)
                assert part, "the end"
                found += part
        return found

    def at_end(self) -> bool:
        with deadline("the end"):
            try:
                return self.do(lambda: self.tls.read(10)) == b""
            except ssl.SSLZeroReturnError:
                return True


class Pair:
    """Both ends after the handshake."""

    def __init__(self, certificate: Certificate, version: ssl.TLSVersion | None = None, buffer: int = 0) -> None:
        ours, theirs = socket.socketpair()
        if buffer:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        self.peer = Peer(theirs, certificate.cert, version)
        shaking = gevent.spawn(self.peer.shake)
        with deadline("the handshake"):
            self.stream: TlsStream = Tls(*certificate).accept(ours, ours.recv(100))
            shaking.get()
        self.data: list[bytes] = []
        self.lost: list[str] = []
        self.unsent = b""
        self.transport: TlsConnection | None = None

    def establish(self) -> TlsConnection:
        transport = establish(self.stream, "peer:1", gevent.get_hub().loop)
        assert isinstance(transport, TlsConnection)
        self.transport = transport
        transport.start(self.data.append, self.flush, self.lost.append)
        return transport

    def put(self, data: bytes) -> None:
        """Send as an outbox does."""
        self.unsent += data
        self.flush()

    def flush(self) -> None:
        assert self.transport is not None
        if not self.unsent:
            return
        self.unsent = self.unsent[self.transport.send(self.unsent) :]
        if self.unsent:
            self.transport.wait_writable()
        else:
            self.transport.stop_waiting()


@pytest.fixture(params=[ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def pair(request: pytest.FixtureRequest, certificate: Certificate) -> Iterator[Pair]:
    pair = Pair(certificate, request.param, buffer=4096)
    yield pair
    if pair.transport is not None:
        pair.transport.abort()
    pair.stream.close() if pair.transport is None else None
    pair.peer.sock.close()


def test_a_stream_reads_and_writes(pair: Pair) -> None:
    with deadline():
        pair.peer.send(b"hello")
        assert pair.stream.recv(100) == b"hello"
        pair.stream.sendall(b"")
        pair.stream.sendall(b"world")
        assert pair.peer.receive(5) == b"world"
        pair.stream.unread(b"again")
        assert pair.stream.recv(100) == b"again"
        finish(pair.stream, 1000)
        assert pair.peer.at_end()


def test_a_stream_ends_with_the_peer(pair: Pair) -> None:
    pair.peer.sock.shutdown(socket.SHUT_WR)
    with deadline():
        assert pair.stream.recv(10) == b""


def test_a_connection_carries_bytes_both_ways(pair: Pair) -> None:
    pair.peer.send(b"early")
    transport = pair.establish()
    until(lambda: pair.data == [b"early"])
    assert transport.peer == "peer:1"
    assert "TlsConnection over" in repr(transport)
    assert transport.send(b"hi") == 2
    assert pair.peer.receive(2) == b"hi"


def test_what_was_decrypted_before_the_start_is_not_lost(pair: Pair) -> None:
    with deadline():
        pair.peer.send(b"first")
        pair.peer.send(b"second")
        turn(3)
        assert pair.stream.recv(5) == b"first"
        pair.establish()
        until(lambda: b"".join(pair.data) == b"second")


def test_much_arrives_in_order_through_a_narrow_kernel(pair: Pair) -> None:
    pair.establish()
    chance = random.Random(3)
    pieces = [chance.randbytes(chance.choice((1, 100, 20_000, 200_000))) for _ in range(20)]
    expected = b"".join(pieces)
    reading = gevent.spawn(pair.peer.receive, len(expected))
    for piece in pieces:
        pair.put(piece)
        gevent.sleep(0)
    with deadline():
        assert reading.get() == expected
    until(lambda: pair.transport is not None and not pair.transport._unsent)
    turn(3)
    assert pair.transport is not None
    assert pair.transport._below._writer is None


def test_a_kernel_that_takes_nothing_keeps_little_here(pair: Pair) -> None:
    transport = pair.establish()
    taken = transport.send(bytes(5_000_000))
    assert 0 < taken < 1_000_000
    assert transport.send(bytes(1000)) == 0
    assert len(transport._unsent) < 70_000


def test_pieces_arrive_as_one_row(pair: Pair) -> None:
    transport = pair.establish()
    assert transport.send_pieces((b"a", memoryview(b"bc"), b"")) == 3
    assert transport.send_pieces((b"d" * 10, b"e" * 200_000)) <= 200_010
    assert pair.peer.receive(13)[:13] == b"abc" + b"d" * 10
    pair.peer.sock.close()


def test_what_the_connection_below_is_told_reaches_it(pair: Pair) -> None:
    transport = pair.establish()
    later: list[Callable[[], None]] = []
    transport.keep_short()
    transport.defer(later.append)
    pair.peer.send(b"deferred")
    until(lambda: later or pair.data)
    for work in later:
        work()
    until(lambda: pair.data == [b"deferred"])


def test_finishing_sends_everything_first(pair: Pair) -> None:
    transport = pair.establish()
    data = bytes(60_000)
    assert transport.send(data) == len(data)
    transport.finish(1001)
    transport.finish(1001)
    assert pair.peer.receive(len(data)) == data
    assert pair.peer.at_end()
    pair.peer.sock.close()
    until(lambda: pair.lost)
    assert len(pair.lost) == 1


def test_the_peers_end_is_reported_behind_its_data(pair: Pair) -> None:
    pair.establish()
    pair.peer.send(b"last")
    with pytest.raises(ssl.SSLWantReadError):
        pair.peer.tls.unwrap()
    pair.peer.flush()
    until(lambda: pair.lost)
    assert pair.data == [b"last"]
    assert pair.lost == ["the peer closed the connection"]


def test_a_cut_connection_is_reported(pair: Pair) -> None:
    pair.establish()
    pair.peer.sock.close()
    until(lambda: pair.lost)


def test_rubbish_between_records_ends_it(pair: Pair) -> None:
    transport = pair.establish()
    pair.peer.sock.sendall(b"this is no record")
    until(lambda: pair.lost)
    assert pair.lost[0].startswith("TLS failed: ")
    assert transport.send(b"into the void") == 13
    transport.finish()
    transport.abort()


def test_pausing_leaves_the_records_in_the_kernel(pair: Pair) -> None:
    transport = pair.establish()
    transport.pause()
    pair.peer.send(b"later")
    turn(5)
    assert pair.data == []
    transport.resume()
    until(lambda: pair.data == [b"later"])


def test_a_websocket_goes_through_it(certificate: Certificate) -> None:
    pair = Pair(certificate)
    transport = establish(WebSocketStream(pair.stream), "peer:1", gevent.get_hub().loop)
    assert isinstance(transport, WebSocketConnection)
    transport.start(pair.data.append, lambda: None, pair.lost.append)
    pair.peer.send(client_frame(b"hello"))
    until(lambda: pair.data == [b"hello"])
    transport.send(b"hi")
    assert pair.peer.receive(4) == b"\x82\x02hi"
    transport.finish(1000)
    assert pair.peer.receive(4) == b"\x88\x02\x03\xe8"
    assert pair.peer.at_end()
    pair.peer.sock.close()
    until(lambda: pair.lost)


@pytest.mark.parametrize("first", [b"\x16\x03\x01\x00\x05hello", b"\x16\x03\x01\x00\x04\x01\x00\x00\x00"])
def test_a_handshake_that_is_none_is_refused_with_an_alert(certificate: Certificate, first: bytes) -> None:
    ours, theirs = socket.socketpair()
    with pytest.raises(OSError), deadline():
        Tls(*certificate).accept(ours, first)
    assert theirs.recv(10)[0] == 21
    ours.close()
    theirs.close()


def test_one_that_leaves_during_the_handshake_is_gone(certificate: Certificate) -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    with pytest.raises(ConnectionResetError), deadline():
        Tls(*certificate).accept(ours, b"\x16\x03\x01")
    ours.close()


def test_old_versions_are_not_spoken(certificate: Certificate) -> None:
    assert Tls(*certificate)._context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_a_certificate_is_read_again(tmp_path: Path, certificate: Certificate) -> None:
    mine = Certificate(tmp_path / "cert.pem", tmp_path / "key.pem")
    for source, target in zip(certificate, mine, strict=True):
        target.write_bytes(source.read_bytes())
    tls = Tls(*mine)
    before = tls._context
    mine.cert.write_text("nonsense")
    with pytest.raises(TlsError, match="cannot be used for TLS"):
        tls.reload()
    assert tls._context is before
    mine.cert.write_bytes(certificate.cert.read_bytes())
    tls.reload()
    assert tls._context is not before


def test_files_that_cannot_be_used_are_named(tmp_path: Path, certificate: Certificate) -> None:
    with pytest.raises(TlsError, match=r"tls_cert: .*missing.pem cannot be read: No such file"):
        Tls(tmp_path / "missing.pem", certificate.key)
    with pytest.raises(TlsError, match=r"tls_key: .*missing.pem cannot be read"):
        Tls(certificate.cert, tmp_path / "missing.pem")
    other = make_certificate(tmp_path / "other")
    with pytest.raises(TlsError, match="cannot be used for TLS"):
        Tls(certificate.cert, other.key)
