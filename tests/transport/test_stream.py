"""Streams: any of them becomes a transport, and ends in its own way."""

import gevent
from gevent import socket

from relay.transport.connection import Connection
from relay.transport.stream import establish, finish
from relay.transport.websocket import WebSocketConnection, WebSocketStream
from tests.loop import deadline


def test_a_socket_becomes_a_connection_and_a_websocket_one_over_it() -> None:
    loop = gevent.get_hub().loop
    for wrap, kind in ((lambda sock: sock, Connection), (WebSocketStream, WebSocketConnection)):
        ours, theirs = socket.socketpair()
        transport = establish(wrap(ours), "peer:1", loop)
        assert isinstance(transport, kind)
        assert transport.peer == "peer:1"
        assert ours.fileno() == -1
        transport.start(lambda data: None, lambda: None, lambda reason: None)
        transport.abort()
        theirs.close()


def test_finishing_a_socket_ends_what_the_peer_reads() -> None:
    ours, theirs = socket.socketpair()
    finish(ours, 1000)
    finish(ours, 1000)
    with deadline():
        assert theirs.recv(10) == b""
    ours.close()
    finish(ours, 1000)
    theirs.close()


def test_finishing_a_websocket_says_so_with_the_code() -> None:
    ours, theirs = socket.socketpair()
    stream = WebSocketStream(ours)
    finish(stream, 1013)
    with deadline():
        assert theirs.recv(10) == b"\x88\x02\x03\xf5"
        assert theirs.recv(10) == b""
    stream.close()
    theirs.close()
