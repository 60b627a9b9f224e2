"""Accepting connections, and what happens when there is no descriptor left."""

import logging
import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from gevent import socket

from relay.transport.endpoint import EndpointError, parse_endpoint
from relay.transport.listener import Listener, peer_host
from tests.loop import deadline, until


def descriptors() -> list[int]:
    """The open descriptors of this process."""
    return [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]


class Door:
    """A listener and what came through it."""

    def __init__(self, text: str) -> None:
        self.accepted: list[tuple[socket.socket, str]] = []
        self.listener = Listener(parse_endpoint(text), 0o600, lambda sock, peer: self.accepted.append((sock, peer)))
        self.listener.start()

    def connect(self) -> socket.socket:
        endpoint = self.listener.endpoint
        if endpoint.path is not None:
            client = socket.socket(socket.AF_UNIX)
            client.connect(str(endpoint.path))
            return client
        return socket.create_connection((endpoint.host, endpoint.port))

    def close(self) -> None:
        self.listener.stop()
        for sock, _ in self.accepted:
            sock.close()


@pytest.fixture
def door() -> Iterator[Callable[[str], Door]]:
    made: list[Door] = []

    def make(text: str = "127.0.0.1:0") -> Door:
        made.append(Door(text))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def path() -> Iterator[Path]:
    with TemporaryDirectory(prefix="relay") as directory:
        yield Path(directory) / "relay.sock"


def test_a_connection_outlives_the_greenlet_that_accepted_it(door: Callable[..., Door]) -> None:
    opened = door()
    with opened.connect() as client:
        until(lambda: opened.accepted)
        sock, peer = opened.accepted[0]
        assert peer == f"127.0.0.1:{client.getsockname()[1]}"
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        with deadline():
            client.sendall(b"ping")
            assert sock.recv(10) == b"ping"


def test_ipv6_peers_are_named_in_brackets(door: Callable[..., Door]) -> None:
    try:
        opened = door("[::1]:0")
    except EndpointError:
        pytest.skip("this machine has no IPv6 loopback")
    with opened.connect() as client:
        until(lambda: opened.accepted)
        assert opened.accepted[0][1] == f"[::1]:{client.getsockname()[1]}"


def test_unix_peers_are_named_by_their_user(door: Callable[..., Door], path: Path) -> None:
    opened = door(f"unix:{path}")
    with opened.connect():
        until(lambda: opened.accepted)
        assert opened.accepted[0][1] == f"unix:uid={os.getuid()}"


@pytest.mark.parametrize(
    ("peer", "host"),
    [("127.0.0.1:5", "127.0.0.1"), ("[::1]:5", "[::1]"), ("unix:uid=0", "unix:uid=0")],
)
def test_what_caps_and_delays_count_by(peer: str, host: str) -> None:
    assert peer_host(peer) == host


def test_stopping_closes_the_door_and_removes_the_file_but_keeps_connections(
    door: Callable[..., Door], path: Path
) -> None:
    opened = door(f"unix:{path}")
    client = opened.connect()
    until(lambda: opened.accepted)
    opened.listener.stop()
    opened.listener.stop()
    assert not path.exists()
    with pytest.raises(OSError, match=r"No such file|refused"):
        opened.connect()
    opened.accepted[0][0].sendall(b"still here")
    with deadline():
        assert client.recv(20) == b"still here"
    client.close()


def test_stopping_a_listener_that_never_started(path: Path) -> None:
    listener = Listener(parse_endpoint(f"unix:{path}"), 0o600, lambda sock, peer: None)
    listener.stop()
    assert not path.exists()


def test_a_listener_leaves_no_descriptor_open(path: Path) -> None:
    before = len(descriptors())
    for text in ("127.0.0.1:0", f"unix:{path}"):
        Listener(parse_endpoint(text), 0o600, lambda sock, peer: None).stop()
    assert len(descriptors()) == before


def test_without_descriptors_newcomers_are_turned_away_with_one_complaint(
    door: Callable[..., Door], caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    opened = door()
    clients = [socket.socket() for _ in range(5)]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(descriptors()) + 20, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            while True:
                taken.append(os.dup(0))
        with caplog.at_level(logging.ERROR), deadline():
            for client in clients:
                client.connect((opened.listener.endpoint.host, opened.listener.endpoint.port))
            assert [client.recv(1) for client in clients] == [b""] * 5
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert opened.accepted == []
    assert [record.getMessage() for record in caplog.records] == [
        f"turning connections away on {opened.listener.endpoint}: Too many open files"
    ]
    assert "Traceback" not in capfd.readouterr().err
    with opened.connect():
        until(lambda: opened.accepted)
    for client in clients:
        client.close()
