"""Both shells through TLS against a real relay, and what they say when it cannot be trusted."""

import asyncio
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from relay_client import Client, aio
from relay_client.errors import ConnectFailed
from relay_client.tls import UntrustedError, explain, make_context
from relay_client.url import Endpoint

from tests.integration.peer import PASSWORD
from tests.integration.stage import RelayProcess
from tests.transport.certificates import Certificate, make_certificate

BODY = bytes(range(256)) * 4000


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


def url(relay: RelayProcess, user: str, certificate: Certificate | None, scheme: str = "relays") -> str:
    trust = f"?ca={certificate.cert}" if certificate else ""
    return f"{scheme}://{user}:{PASSWORD}@{relay.address}{trust}"


def test_the_blocking_client_through_tls(relay: RelayProcess, certificate: Certificate) -> None:
    alice, bob = relay.user(), relay.user()
    with Client(url(relay, alice, certificate)) as one, Client(url(relay, bob, certificate), receive=True) as two:
        for number in range(5):
            one.send(bob, BODY + bytes([number]))
        bodies = [message.body for message in two.messages(timeout=30, count=5)]
    assert bodies == [BODY + bytes([number]) for number in range(5)]


def test_the_asyncio_client_through_tls(relay: RelayProcess, certificate: Certificate) -> None:
    alice, bob = relay.user(), relay.user()

    async def talk() -> None:
        async with (
            aio.Client(url(relay, alice, certificate)) as one,
            aio.Client(url(relay, bob, certificate), receive=True) as two,
        ):
            for number in range(5):
                await one.send(bob, BODY + bytes([number]))
            bodies = [message.body async for message in two.messages(timeout=30, count=5)]
        assert bodies == [BODY + bytes([number]) for number in range(5)]

    asyncio.run(talk())


def test_a_certificate_that_nobody_vouches_for_is_not_trusted(relay: RelayProcess) -> None:
    with pytest.raises(ConnectFailed, match=r"certificate is not trusted .*\?ca=FILE"):
        Client(url(relay, relay.user(), None), timeout=2).__enter__()


def test_a_relay_without_tls_is_told_apart(tmp_path: Path, certificate: Certificate) -> None:
    with (
        RelayProcess(tmp_path, drain_spread_s=0) as plain,
        pytest.raises(ConnectFailed, match="does not speak TLS; use relay://"),
    ):
        Client(url(plain, plain.user(), certificate), timeout=2).__enter__()


def test_a_ca_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(UntrustedError, match=r"missing.pem cannot be used \(No such file"):
        make_context(Endpoint("h", 1, None, True, str(tmp_path / "missing.pem")))
    (tmp_path / "empty.pem").touch()
    with pytest.raises(UntrustedError, match=r"empty.pem cannot be used"):
        make_context(Endpoint("h", 1, None, True, str(tmp_path / "empty.pem")))


def test_host_names_are_checked() -> None:
    context = make_context(Endpoint("h", 1, None, True))
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED


def test_other_failures_are_explained() -> None:
    assert "TLS failed" in explain(ssl.SSLError(1, "something"))
