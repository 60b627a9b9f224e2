"""The opening handshake of a WebSocket (RFC 6455 section 4.2): may a request become one, and what is answered."""

import base64
import binascii
from collections.abc import Collection
from http import HTTPStatus
from urllib.parse import urlsplit

from wsproto.utilities import generate_accept_token

from relay.http.answers import RefusedError
from relay.http.requests import Request

SUBPROTOCOL = "relay.1"

_VERSION = "13"


def accept(request: Request, origins: Collection[str]) -> list[tuple[str, str]]:
    """The headers of the agreement. `origins`: those that may, beside the relay's own. Raises RefusedError."""
    if "websocket" not in request.words("upgrade") or "upgrade" not in request.words("connection"):
        sentence = "this is where WebSockets connect; the chat page is at /"
        raise RefusedError(HTTPStatus.UPGRADE_REQUIRED, sentence, (("Upgrade", "websocket"), ("Connection", "Upgrade")))
    if request.method != "GET" or not request.http_1_1:
        raise RefusedError(HTTPStatus.BAD_REQUEST, "a WebSocket begins with GET and HTTP/1.1")
    if request.header("sec-websocket-version") != _VERSION:
        sentence = f"the relay speaks version {_VERSION} of the WebSocket protocol (RFC 6455)"
        raise RefusedError(HTTPStatus.UPGRADE_REQUIRED, sentence, (("Sec-WebSocket-Version", _VERSION),))
    key = request.header("sec-websocket-key")
    if not _is_key(key):
        raise RefusedError(HTTPStatus.BAD_REQUEST, "Sec-WebSocket-Key has to be 16 bytes in base64")
    _check_origin(request, origins)
    headers = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Accept", generate_accept_token(key.encode()).decode()),
    ]
    asked = [word.strip() for word in request.header("sec-websocket-protocol").split(",")]
    if SUBPROTOCOL in asked:
        headers.append(("Sec-WebSocket-Protocol", SUBPROTOCOL))
    return headers


def _is_key(text: str) -> bool:
    try:
        return len(base64.b64decode(text, validate=True)) == 16
    except (binascii.Error, ValueError):
        return False


def _check_origin(request: Request, origins: Collection[str]) -> None:
    """A page of another site must not speak for its visitor (RFC 6455 section 10.2). Programs send no origin."""
    origin = request.header("origin").lower()
    if not origin or "*" in origins or origin in origins:
        return
    # The scheme is left out: behind a proxy that ends TLS it differs.
    if urlsplit(origin).netloc != request.header("host").lower():
        sentence = f"pages of {origin[:200]!a} may not connect here; the setting web_origins would allow it"
        raise RefusedError(HTTPStatus.FORBIDDEN, sentence)
