"""Endpoints from text to a listening socket and back."""

import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from gevent import socket

from relay.transport.endpoint import Endpoint, EndpointError, bind, parse_endpoint, socket_file, unlink_unix


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback")


@pytest.fixture
def short() -> Iterator[Path]:
    """A directory whose path leaves room for a Unix socket's name."""
    with tempfile.TemporaryDirectory(prefix="relay") as directory:
        yield Path(directory)


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("127.0.0.1:7450", Endpoint("127.0.0.1", 7450, None)),
        ("localhost:0", Endpoint("localhost", 0, None)),
        ("0.0.0.0:65535", Endpoint("0.0.0.0", 65535, None)),
        ("[::1]:7450", Endpoint("::1", 7450, None)),
        ("[::]:0", Endpoint("::", 0, None)),
        ("unix:/run/relay.sock", Endpoint(None, 0, Path("/run/relay.sock"))),
        ("unix:relay.sock", Endpoint(None, 0, Path("relay.sock"))),
    ],
)
def test_endpoints_are_read_and_written_alike(text: str, endpoint: Endpoint) -> None:
    assert parse_endpoint(text) == endpoint
    assert str(endpoint) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", "7450", ":7450", "localhost", "localhost:", "localhost:http", "localhost:-1", "localhost:65536"),
        *("::1:7450", "::1", "[::1]", "[]:1", "unix:", "a:b:1", "localhost:" + "9" * 5000, "localhost: 1"),
        *("localhost:+1", "localhost:٣"),
    ],
)
def test_what_is_no_endpoint_is_refused_with_the_right_form(text: str) -> None:
    with pytest.raises(EndpointError) as caught:
        parse_endpoint(text)
    assert any(form in str(caught.value) for form in ("HOST:PORT", "[::1]:7450", "unix:/run"))


def test_port_0_becomes_a_real_port() -> None:
    listener, endpoint = bind(parse_endpoint("127.0.0.1:0"), 0o660)
    with listener:
        assert endpoint.port == listener.getsockname()[1] > 0
        assert not listener.getblocking()
        socket.create_connection(("127.0.0.1", endpoint.port)).close()


@ipv6
def test_ipv6_is_ipv6_only() -> None:
    listener, endpoint = bind(parse_endpoint("[::1]:0"), 0o660)
    with listener:
        assert str(endpoint) == f"[::1]:{endpoint.port}"
        assert listener.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1
        socket.create_connection(("::1", endpoint.port)).close()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("no-such-host.invalid:1", "does not resolve"),
        ("x" * 70 + ".example:1", "does not resolve"),
        ("a..b:1", "does not resolve"),
        ("192.0.2.1:0", "does not have that address"),
    ],
)
def test_why_it_cannot_listen_is_said(text: str, reason: str) -> None:
    with pytest.raises(EndpointError, match=reason) as caught:
        bind(parse_endpoint(text), 0o660)
    assert text in str(caught.value)


def test_a_port_in_use_is_named() -> None:
    listener, endpoint = bind(parse_endpoint("127.0.0.1:0"), 0o660)
    with listener, pytest.raises(EndpointError, match="another process is listening") as caught:
        bind(endpoint, 0o660)
    assert str(endpoint) in str(caught.value)


def test_a_port_is_free_again_at_once() -> None:
    listener, endpoint = bind(parse_endpoint("127.0.0.1:0"), 0o660)
    client = socket.create_connection(("127.0.0.1", endpoint.port))
    accepted, _ = listener.accept()
    for opened in (accepted, client, listener):
        opened.close()
    bind(endpoint, 0o660)[0].close()


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
def test_a_unix_socket_has_exactly_the_mode_asked_for(short: Path, mode: int) -> None:
    path = short / "relay.sock"
    umask = os.umask(0o022)
    try:
        listener, endpoint = bind(Endpoint(None, 0, path), mode)
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(umask)
    with listener:
        assert stat.S_IMODE(path.stat().st_mode) == mode
        assert str(endpoint) == f"unix:{path}"
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))


def test_a_stale_unix_socket_is_replaced(short: Path) -> None:
    endpoint = Endpoint(None, 0, short / "relay.sock")
    bind(endpoint, 0o660)[0].close()
    assert endpoint.path
    assert endpoint.path.exists()
    bind(endpoint, 0o660)[0].close()


def test_a_live_unix_socket_is_refused_and_left_alone(short: Path) -> None:
    endpoint = Endpoint(None, 0, short / "relay.sock")
    listener, _ = bind(endpoint, 0o660)
    with listener:
        with pytest.raises(EndpointError, match="another process is listening"):
            bind(endpoint, 0o660)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(endpoint.path))


def test_a_live_unix_socket_with_a_full_queue_is_alive(short: Path) -> None:
    path = short / "relay.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(0)
        clients = [socket.socket(socket.AF_UNIX) for _ in range(3)]
        for client in clients:
            client.setblocking(False)
            client.connect_ex(str(path))
        with pytest.raises(EndpointError, match="listening"):
            bind(Endpoint(None, 0, path), 0o660)
        for client in clients:
            client.close()


@pytest.mark.parametrize("make", [Path.touch, Path.mkdir])
def test_something_that_is_no_socket_is_left_alone(short: Path, make: object) -> None:
    path = short / "relay.sock"
    make(path)  # type: ignore[operator]
    with pytest.raises(EndpointError, match="not a socket"):
        bind(Endpoint(None, 0, path), 0o660)
    assert path.exists()


def test_a_link_to_a_socket_is_no_socket(short: Path) -> None:
    listener, _ = bind(Endpoint(None, 0, short / "real.sock"), 0o660)
    listener.close()
    (short / "link.sock").symlink_to(short / "real.sock")
    with pytest.raises(EndpointError, match="not a socket"):
        bind(Endpoint(None, 0, short / "link.sock"), 0o660)


@pytest.mark.parametrize(
    ("path", "reason"),
    [("missing/relay.sock", "directory does not exist"), ("x" * 200, "too long"), ("file/relay.sock", "directory")],
)
def test_a_path_that_cannot_be_is_explained(short: Path, path: str, reason: str) -> None:
    (short / "file").touch()
    with pytest.raises(EndpointError, match=reason):
        bind(Endpoint(None, 0, short / path), 0o660)


def test_the_file_goes_with_the_listener_but_nothing_else_does(short: Path) -> None:
    endpoint = Endpoint(None, 0, short / "relay.sock")
    assert endpoint.path
    listener, _ = bind(endpoint, 0o660)
    file = socket_file(endpoint)
    with listener:
        unlink_unix(endpoint, file)
        assert not endpoint.path.exists()
        unlink_unix(endpoint, file)
        endpoint.path.touch()
        unlink_unix(endpoint, file)
        assert endpoint.path.exists()
    unlink_unix(Endpoint("127.0.0.1", 1, None), None)


def test_a_successors_socket_stays_when_ours_goes(short: Path) -> None:
    endpoint = Endpoint(None, 0, short / "relay.sock")
    assert endpoint.path
    ours, _ = bind(endpoint, 0o660)
    file = socket_file(endpoint)
    endpoint.path.rename(short / "elsewhere")
    successor, _ = bind(endpoint, 0o660)
    unlink_unix(endpoint, file)
    with ours, successor, socket.socket(socket.AF_UNIX) as client:
        client.connect(str(endpoint.path))
