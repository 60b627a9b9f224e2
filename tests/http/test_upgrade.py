"""Which requests become WebSockets."""

import h11
import pytest

from relay.http.answers import RefusedError
from relay.http.requests import Request
from relay.http.upgrade import accept

GOOD = {
    "Host": "relay.test:7450",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


def asked(method: str = "GET", http_version: str = "1.1", **headers: str | None) -> Request:
    fields = GOOD | {name.replace("_", "-"): value for name, value in headers.items()}
    given = [(name, value) for name, value in fields.items() if value is not None]
    return Request(h11.Request(method=method, target="/ws", headers=given, http_version=http_version))


def test_the_answer_is_that_of_the_rfc() -> None:
    """RFC 6455 section 1.3."""
    assert ("Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=") in accept(asked(), ())


@pytest.mark.parametrize(
    ("offered", "agreed"), [(None, False), ("", False), ("relay.1", True), ("chat, relay.1", True), ("relay.2", False)]
)
def test_our_subprotocol_is_agreed_to_when_it_is_offered(offered: str | None, agreed: bool) -> None:
    headers = accept(asked(**{"Sec-WebSocket-Protocol": offered}), ())
    assert (("Sec-WebSocket-Protocol", "relay.1") in headers) is agreed


def test_extensions_are_not_agreed_to() -> None:
    headers = accept(asked(**{"Sec-WebSocket-Extensions": "permessage-deflate"}), ())
    assert not any(name == "Sec-WebSocket-Extensions" for name, _ in headers)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Upgrade": None}, 426),
        ({"Upgrade": "h2c"}, 426),
        ({"Connection": "keep-alive"}, 426),
        ({"Connection": None}, 426),
        ({"Sec-WebSocket-Version": "8"}, 426),
        ({"Sec-WebSocket-Version": None}, 426),
        ({"Sec-WebSocket-Key": None}, 400),
        ({"Sec-WebSocket-Key": "c2hvcnQ="}, 400),
        ({"Sec-WebSocket-Key": "!" * 24}, 400),
        ({"method": "HEAD"}, 400),
        ({"http_version": "1.0"}, 400),
    ],
)
def test_what_is_not_a_handshake_is_refused(headers: dict[str, str], status: int) -> None:
    with pytest.raises(RefusedError) as caught:
        accept(asked(**headers), ())
    assert caught.value.status == status


@pytest.mark.parametrize("words", [{"Upgrade": "WebSocket"}, {"Connection": "keep-alive, upgrade"}])
def test_words_are_understood_in_any_case(words: dict[str, str]) -> None:
    assert accept(asked(**words), ())


@pytest.mark.parametrize(
    ("origin", "host", "origins", "allowed"),
    [
        (None, "relay.test", (), True),
        ("http://relay.test", "relay.test", (), True),
        ("https://relay.test", "relay.test", (), True),
        ("https://RELAY.test:7450", "Relay.Test:7450", (), True),
        ("http://relay.test:1", "relay.test:7450", (), False),
        ("http://evil.test", "relay.test", (), False),
        ("http://relay.test.evil.test", "relay.test", (), False),
        ("null", "relay.test", (), False),
        ("null", "relay.test", ("*",), True),
        ("http://evil.test", "relay.test", ("https://evil.test",), False),
        ("https://chat.test", "relay.test", ("https://chat.test",), True),
        ("https://anything.test", "relay.test", ("*",), True),
    ],
)
def test_pages_may_connect_from_our_own_origin_and_those_that_are_named(
    origin: str | None, host: str, origins: tuple[str, ...], allowed: bool
) -> None:
    request = asked(Host=host, Origin=origin)
    if allowed:
        assert accept(request, origins)
        return
    with pytest.raises(RefusedError) as caught:
        accept(request, origins)
    assert caught.value.status == 403
