"""Answers to HTTP requests: a status, headers and a body; mere sentences, and what all have in common."""

from http import HTTPStatus
from typing import NamedTuple

# Nothing of others, nothing inline: what the page shows of a message can never run. `'self'` covers WebSockets of the
# same origin in today's browsers; Safari before 15.4 needs them spelt out.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'{sockets}; font-src 'self'; manifest-src 'self'; media-src 'self' blob:; worker-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)

Headers = tuple[tuple[str, str], ...]

_ALWAYS: Headers = (
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)


class Answer(NamedTuple):
    """What is sent back. `last`: the connection ends behind it."""

    status: int
    headers: Headers
    body: bytes
    last: bool = False


class RefusedError(Exception):
    """The request is answered with an error. The text is a sentence for the person behind it."""

    def __init__(self, status: HTTPStatus, sentence: str, headers: Headers = ()) -> None:
        super().__init__(sentence)
        self.status = status
        self.headers = headers


def say(status: int, sentence: str, headers: Headers = (), *, last: bool = False) -> Answer:
    """A sentence as plain text."""
    body = sentence.encode() + b"\n"
    kind = ("Content-Type", "text/plain; charset=utf-8")
    return Answer(status, (kind, ("Cache-Control", "no-store"), *_ALWAYS, *headers), body, last)


def page(body: bytes, host: str, headers: Headers = ()) -> Answer:
    """An HTML page under the strict policy."""
    return Answer(200, (*page_headers(host), ("Content-Type", "text/html; charset=utf-8"), *headers), body)


def page_headers(host: str) -> Headers:
    """The headers of every answer that a browser shows or runs. `host`: what the request's Host header says."""
    sockets = f" ws://{host} wss://{host}" if _is_plain(host) else ""
    return (("Content-Security-Policy", _POLICY.format(sockets=sockets)), *_ALWAYS)


def _is_plain(host: str) -> bool:
    """Whether a Host header can stand in another header: it comes from the client."""
    return 0 < len(host) <= 255 and all(letter.isalnum() or letter in ".-:[]" for letter in host) and host.isascii()
