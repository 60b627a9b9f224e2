"""TLS on the relay's port: native clients, browsers and health checks through it, beside plain ones."""

import signal
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from relay.protocol.codes import CloseCode
from relay.protocol.packets import Signal
from tests.integration.peer import DEADLINE_S, Peer, eventually, message_in
from tests.integration.stage import RelayProcess
from tests.integration.websocket import WebSocketPeer
from tests.process import run
from tests.transport.certificates import Certificate, make_certificate


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory, certificate: Certificate) -> Iterator[RelayProcess]:
    home = tmp_path_factory.mktemp("relay")
    with RelayProcess(home, tls_cert=certificate.cert, tls_key=certificate.key, drain_spread_s=0) as process:
        yield process
        assert process.process.stop() == 0
        process.check_log()


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory, certificate: Certificate) -> Iterator[RelayProcess]:
    home = tmp_path_factory.mktemp("strict")
    unix = home / "s"
    files = {"tls_cert": certificate.cert, "tls_key": certificate.key}
    with RelayProcess(home, ("127.0.0.1:0", f"unix:{unix}"), **files, tls_required="on") as process:
        yield process


class TlsPeer(Peer):
    """A native peer through TLS."""

    def __init__(self, address: str, certificate: Certificate) -> None:
        super().__init__(address)
        context = ssl.create_default_context(cafile=str(certificate.cert))
        self.sock = context.wrap_socket(self.sock, server_hostname="localhost")


def fetch(address: str, path: str, certificate: Certificate) -> bytes:
    context = ssl.create_default_context(cafile=str(certificate.cert))
    with urllib.request.urlopen(f"https://{address}{path}", timeout=DEADLINE_S, context=context) as answer:
        body: bytes = answer.read()
    return body


def test_all_four_kinds_meet_on_one_port(relay: RelayProcess, certificate: Certificate) -> None:
    address = relay.address
    plain, secure, web = Peer(address), TlsPeer(address, certificate), WebSocketPeer(address)
    context = ssl.create_default_context(cafile=str(certificate.cert))
    browser = WebSocketPeer(address, ssl=context)
    peers = [plain, secure, web, browser]
    for peer in peers:
        peer.log_in(relay.user())
        peer.receive_messages()
    for number, sender in enumerate(peers):
        for receiver in peers:
            if receiver is not sender:
                sender.signal(receiver.user, b"s" * 100_000)
                assert receiver.expect(Signal).body == b"s" * 100_000
                sender.store(receiver.user, 10 * number + peers.index(receiver) + 1, b"m" * 50_000)
                assert message_in(receiver.expect_delivery()).body == b"m" * 50_000
    for peer in peers:
        peer.close()


def test_health_checks_and_the_page_through_tls(relay: RelayProcess, certificate: Certificate) -> None:
    assert fetch(relay.address, "/healthz", certificate) == b"alive\n"
    assert b"<html" in fetch(relay.address, "/", certificate)


def test_what_is_no_relay_inside_tls_is_told_so(relay: RelayProcess, certificate: Certificate) -> None:
    peer = TlsPeer(relay.address, certificate)
    peer.send_bytes(b"SSH-2.0-x\r\n")
    assert peer.closing().code == CloseCode.NOT_THE_PROTOCOL


def test_the_end_of_a_session_is_told_through_tls(relay: RelayProcess, certificate: Certificate) -> None:
    user = relay.user()
    first, second = TlsPeer(relay.address, certificate), TlsPeer(relay.address, certificate)
    first.log_in(user)
    second.log_in(user)
    assert first.closing().code == CloseCode.REPLACED
    second.alive()
    second.close()
    eventually(lambda: bool(relay.process.seen(f"{user}/device", "is gone")))


def test_a_handshake_that_fails_costs_a_line(relay: RelayProcess) -> None:
    peer = Peer(relay.address)
    peer.send_bytes(b"\x16\x03\x01\x00\x05hello")
    assert peer._receive()[:1] == b"\x15"
    relay.process.await_line(peer.name, "left during login")
    peer.close()


def test_without_tls_there_are_only_health_checks_where_it_is_required(
    strict: RelayProcess, certificate: Certificate
) -> None:
    plain = Peer(strict.addresses[0])
    plain.send_bytes(b"\0\0\0\3\x92\5\1")
    close = plain.closing()
    assert close.code == CloseCode.NOT_THE_PROTOCOL
    assert "relays://" in close.sentence
    with urllib.request.urlopen(f"http://{strict.addresses[0]}/readyz", timeout=DEADLINE_S) as answer:
        assert answer.read() == b"ready\n"
    for path in ("/", "/ws"):
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"http://{strict.addresses[0]}{path}", timeout=DEADLINE_S)
        assert caught.value.code == 403
        caught.value.close()
    for peer in (TlsPeer(strict.addresses[0], certificate), Peer(strict.addresses[1])):
        peer.log_in(strict.user())
        peer.alive()
        peer.close()


def test_a_new_certificate_is_used_after_a_signal(tmp_path: Path, certificate: Certificate) -> None:
    files = Certificate(tmp_path / "cert.pem", tmp_path / "key.pem")
    for source, target in zip(certificate, files, strict=True):
        target.write_bytes(source.read_bytes())
    with RelayProcess(tmp_path, tls_cert=files.cert, tls_key=files.key, drain_spread_s=0) as relay:
        before = TlsPeer(relay.address, certificate)
        before.log_in(relay.user())
        files.cert.write_text("half a file")
        relay.process.process.send_signal(signal.SIGHUP)
        relay.process.await_line("the old certificate stays in use", "cannot be used for TLS")
        assert fetch(relay.address, "/healthz", certificate) == b"alive\n"
        newer = make_certificate(tmp_path / "newer")
        for source, target in zip(newer, files, strict=True):
            target.write_bytes(source.read_bytes())
        relay.process.process.send_signal(signal.SIGHUP)
        relay.process.await_line("certificate and key were read again")
        assert fetch(relay.address, "/healthz", newer) == b"alive\n"
        with pytest.raises(urllib.error.URLError):
            fetch(relay.address, "/healthz", certificate)
        before.alive()
        before.close()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"tls-cert": "missing.pem", "tls-key": "key.pem"}, "missing.pem cannot be read"),
        ({"tls-cert": "cert.pem"}, "tls_key is missing"),
        ({"tls-key": "key.pem"}, "tls_cert is missing"),
        ({"tls-required": "on"}, "set tls_cert and tls_key"),
        ({"tls-cert": "key.pem", "tls-key": "key.pem"}, "cannot be used for TLS"),
    ],
)
def test_a_relay_that_cannot_do_tls_says_why(
    tmp_path: Path, certificate: Certificate, settings: dict[str, str], words: str
) -> None:
    for source in certificate:
        (tmp_path / source.name).write_bytes(source.read_bytes())
    flags = [text for name, value in settings.items() for text in (f"--{name}", value)]
    ended: subprocess.CompletedProcess[str] = run("serve", "--listen", "127.0.0.1:0", *flags, home=tmp_path)
    assert ended.returncode == 1
    assert words in ended.stderr
