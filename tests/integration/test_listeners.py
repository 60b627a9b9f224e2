"""Where the relay listens: TCP, IPv6, Unix sockets; what stands in the way, and what is left behind."""

import os
import signal
import socket
import stat
from pathlib import Path

import pytest

from relay.protocol.packets import Signal
from tests.integration.peer import Peer
from tests.integration.stage import RelayProcess
from tests.process import run


def refusal(home: Path, *words: str) -> str:
    """The one sentence of a relay that does not start."""
    done = run("serve", "--data", str(home / "data"), *words, home=home)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("relay: ") and done.stderr.count("\n") == 1, done.stderr
    return done.stderr.strip().removeprefix("relay: ")


def test_users_reach_each_other_over_every_listener(tmp_path: Path) -> None:
    listen = ("127.0.0.1:0", "[::1]:0", f"unix:{tmp_path}/one", f"unix:{tmp_path}/two", "127.0.0.2:0")
    with RelayProcess(tmp_path, listen, drain_spread_s=0) as relay:
        assert relay.addresses[2:4] == list(listen[2:4])
        assert relay.addresses[1].startswith("[::1]:")
        assert ":0" not in [address[-2:] for address in relay.addresses]
        peers = [Peer(address) for address in relay.addresses]
        for peer in peers:
            peer.log_in(relay.user())
        for sender in peers:
            for receiver in peers:
                sender.signal(receiver.address, sender.address.encode())
                assert receiver.expect(Signal).body == sender.address.encode()
        lines = [relay.process.await_line(peer.address, "logged in from") for peer in peers]
        places = [line.partition("logged in from ")[2].partition(" ")[0] for line in lines]
        assert places[:2] == [peers[0].name, peers[1].name]
        assert places[2:4] == [f"unix:uid={os.getuid()}"] * 2
        assert relay.process.stop() == 0
        relay.check_log()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
def test_a_unix_socket_has_its_mode(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "socket"
    with RelayProcess(tmp_path, [f"unix:{path}"], unix_mode=f"{mode:o}") as relay:
        assert stat.S_IMODE(path.stat().st_mode) == mode
        assert relay.process.stop() == 0
    assert not path.exists()


def test_the_socket_of_a_killed_relay_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with RelayProcess(tmp_path, [f"unix:{path}"]) as relay:
        relay.process.stop(signal.SIGKILL)
        assert path.exists()
        relay.start()
        Peer(relay.address).log_in(relay.user())
        assert relay.process.stop() == 0
    assert not path.exists()


def test_the_socket_of_a_live_relay_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    other = tmp_path / "other"
    other.mkdir()
    with RelayProcess(tmp_path, [f"unix:{path}"]) as relay:
        sentence = refusal(other, "--listen", f"unix:{path}")
        assert sentence == f"cannot listen on unix:{path}: another process is listening there"
        Peer(relay.address).log_in(relay.user())
        assert relay.process.stop() == 0


def test_a_socket_that_another_relay_has_put_there_is_left_alone_at_the_end(tmp_path: Path) -> None:
    path, other = tmp_path / "socket", tmp_path / "other"
    other.mkdir()
    with RelayProcess(tmp_path, [f"unix:{path}"], drain_spread_s=0) as first:
        path.unlink()
        with RelayProcess(other, [f"unix:{path}"]) as second:
            assert first.process.stop() == 0
            Peer(second.address).log_in(second.user())
            assert second.process.stop() == 0


@pytest.mark.parametrize("kind", ["file", "directory", "link"])
def test_what_is_no_socket_is_left_alone(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "socket"
    if kind == "file":
        path.write_text("precious")
    elif kind == "directory":
        path.mkdir()
    else:
        (tmp_path / "precious").write_text("precious")
        path.symlink_to(tmp_path / "precious")
    sentence = refusal(tmp_path, "--listen", f"unix:{path}")
    assert sentence == f"cannot listen on unix:{path}: a file that is not a socket is there; move it away"
    assert kind == "directory" or path.read_text() == "precious"


def test_one_address_that_fails_keeps_the_relay_from_starting(tmp_path: Path) -> None:
    """And the others are given back."""
    path = tmp_path / "socket"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        sentence = refusal(tmp_path, "--listen", f"unix:{path}", "--listen", address)
    assert sentence.startswith(f"cannot listen on {address}: another process is listening there; ")
    assert not path.exists()


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("unix:/nowhere/at/all", "the directory does not exist; create it first"),
        ("192.0.2.1:0", "this machine does not have that address"),
        ("no-such-host.invalid:0", "the host name does not resolve"),
        ("127.0.0.1", "expected"),
        ("127.0.0.1:99999", "expected"),
        ("::1:7450", "brackets"),
        ("unix:", "path"),
        ("unix:" + "x" * 200, "103 bytes"),
    ],
)
def test_an_address_that_cannot_be_is_explained(tmp_path: Path, address: str, words: str) -> None:
    done = run("serve", "--data", str(tmp_path / "data"), "--listen", address, home=tmp_path)
    assert done.returncode != 0
    assert words in done.stderr
    assert "Traceback" not in done.stderr
