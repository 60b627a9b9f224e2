"""Who comes to the relay's port and does not speak its protocol: browsers and health checks are served here.

A connection that becomes a WebSocket is handed back, and logs in like any other. Everybody else gets answers,
one request after the other, within bounds: a slow or silent client holds a greenlet for seconds, and counts as a
connection.
"""

import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import NamedTuple

import gevent

from relay.http import upgrade
from relay.http.answers import Answer, RefusedError, say
from relay.http.requests import Request, Requests
from relay.http.site import Site
from relay.transport.stream import Stream, finish
from relay.transport.tls import FIRST_BYTE, Tls
from relay.transport.websocket import NORMAL, WebSocketStream

log = logging.getLogger("relay.http")

WEBSOCKET_PATH = "/ws"

# How methods of HTTP begin. What begins otherwise is told what this port speaks.
_LETTERS = frozenset(b"CDGHOPT")

_HEALTH = ("/healthz", "/readyz")

_TLS_ONLY = "this relay takes connections by TLS only: use https:// or wss://"

_READ_BYTES = 4096

# A kept connection may ask so often, and may be silent so long in between; a browser just connects again.
_REQUESTS_MAX = 1000
_IDLE_S = 15.0


class House(NamedTuple):
    """What is served. `trouble` says why the relay is not ready, if it is not."""

    site: Site | None
    origins: frozenset[str]
    request_timeout_s: float
    trouble: Callable[[], str | None]
    tls: Tls | None = None
    tls_required: bool = False


class Reception:
    """Serves the connections of strangers. Calling it yields; it raises OSError when the client is gone."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._beginnings = _LETTERS | ({FIRST_BYTE} if house.tls else set())

    def speaks(self, first: bytes) -> bool:
        """Whether what begins like this is for us."""
        return first[0] in self._beginnings

    def refusal(self, sentence: str) -> bytes:
        """An answer to a request that was not read."""
        body = sentence.encode()
        head = f"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: {len(body)}\r\n"
        return f"{head}Content-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n".encode() + body

    def __call__(self, stream: Stream, peer: str, first: bytes) -> Stream | None:
        """Serve a client whose first bytes these are: a stream that wants to log in, or None when all is said."""
        if first[0] != FIRST_BYTE or self._house.tls is None:
            exempt = not self._house.tls_required or peer.startswith("unix:")
            return self._serve(stream, peer, first, everything=exempt)
        limit_s = self._house.request_timeout_s
        with gevent.Timeout(limit_s, OSError(f"the TLS handshake was not complete within {limit_s:g} s")):
            secure = self._house.tls.accept(stream, first)
            first = secure.recv(_READ_BYTES)
        if not first:
            return None
        if first[0] not in _LETTERS:
            secure.unread(first)
            return secure
        left = self._serve(secure, peer, first, everything=True)
        if left is None:
            finish(secure, NORMAL)
        return left

    def _serve(self, stream: Stream, peer: str, first: bytes, *, everything: bool) -> Stream | None:
        """Answer requests: `everything`, or only health checks."""
        requests = Requests(stream, first)
        limit_s = self._house.request_timeout_s
        try:
            for count in range(_REQUESTS_MAX, 0, -1):
                request = requests.next(limit_s)
                if request is None:
                    return None
                if not everything and request.path not in _HEALTH:
                    raise RefusedError(HTTPStatus.FORBIDDEN, _TLS_ONLY)
                if request.path == WEBSOCKET_PATH and self._house.site is not None:
                    headers = upgrade.accept(request, self._house.origins)
                    return WebSocketStream(stream, requests.switch(headers))
                answer = self._answer(request)
                log.debug("%s: %s %s: %d", peer, request.method, request.target, answer.status)
                if not requests.answer(answer._replace(last=count == 1)):
                    return None
                limit_s = _IDLE_S
        except RefusedError as error:
            log.info("refused a request of %s: %s", peer, error)
            requests.answer(say(error.status, str(error), error.headers, last=True))
        return None

    def _answer(self, request: Request) -> Answer:
        if request.path == "/healthz":
            return say(HTTPStatus.OK, "alive")
        if request.path == "/readyz":
            trouble = self._house.trouble()
            return say(HTTPStatus.SERVICE_UNAVAILABLE, trouble) if trouble else say(HTTPStatus.OK, "ready")
        if self._house.site is None:
            return say(HTTPStatus.NOT_FOUND, "this relay serves no pages and no WebSockets: its setting web is off")
        answer = self._house.site.answer(request)
        return answer or say(HTTPStatus.NOT_FOUND, f"there is nothing at {request.path[:200]}; the chat page is at /")
