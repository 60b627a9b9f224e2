"""Strangers on the port: who is served what, and how long."""

import random

import gevent
import pytest
from gevent import socket

from relay.http import reception as reception_module
from relay.http.reception import Reception
from relay.http.site import Site
from relay.transport.websocket import WebSocketStream
from tests.http.guest import get, house, upgrade, visiting
from tests.loop import deadline


@pytest.fixture
def site(tmp_path: object) -> Site:
    return Site(tmp_path)  # type: ignore[arg-type]


@pytest.mark.parametrize("first", [b"GET / HTTP/1.1", b"H", b"POST", b"OPTIONS", b"PRI * HTTP/2.0", b"DELETE /x"])
def test_what_begins_like_a_method_of_http_is_for_us(site: Site, first: bytes) -> None:
    assert Reception(house(site)).speaks(first)


@pytest.mark.parametrize("first", [b"\0\0\0\1", b"\x16\x03\x01", b"SSH-2.0-x", b"\xff", b"\n"])
def test_everything_else_is_not(site: Site, first: bytes) -> None:
    assert not Reception(house(site)).speaks(first)


def test_health_checks_say_one_word(site: Site) -> None:
    with visiting(get("/healthz"), house(site)) as guest:
        assert guest.answer()[::2] == (200, b"alive\n")
    with visiting(get("/readyz"), house(site)) as guest:
        assert guest.answer()[::2] == (200, b"ready\n")


def test_a_relay_in_trouble_is_alive_and_not_ready(site: Site) -> None:
    at = house(site, trouble="messages are refused: the disk is full")
    with visiting(get("/readyz"), at) as guest:
        assert guest.answer()[::2] == (503, b"messages are refused: the disk is full\n")
    with visiting(get("/healthz"), at) as guest:
        assert guest.answer()[0] == 200


def test_without_pages_there_are_still_health_checks() -> None:
    with visiting(get("/healthz"), house(None)) as guest:
        assert guest.answer()[0] == 200
    for request in (get("/"), upgrade()):
        with visiting(request, house(None)) as guest:
            status, _, body = guest.answer()
            assert (status, b"setting web is off" in body) == (404, True)


def test_a_connection_serves_one_request_after_the_other(site: Site) -> None:
    with visiting(get("/healthz") + get("/nothing") + get("/readyz", "Connection: close"), house(site)) as guest:
        assert guest.served() is None
        data = guest.sock.recv(65536)
        assert data.count(b"HTTP/1.1 200 ") == 2
        assert data.count(b"HTTP/1.1 404 ") == 1
        assert b"there is nothing at /nothing" in data


def test_head_has_the_headers_and_no_body(site: Site) -> None:
    with visiting(get("/healthz", method="HEAD"), house(site)) as guest:
        status, headers, body = guest.answer("HEAD")
        assert (status, headers["content-length"], body) == (200, "6", b"")


@pytest.mark.parametrize(
    ("request_", "status", "words"),
    [
        (get(method="POST"), 405, "GET and HEAD"),
        (get(method="DELETE"), 405, "GET and HEAD"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "HTTP/1.1 is spoken"),
        (b"GET\r\n\r\n", 400, "not an HTTP/1.1 request"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "Host"),
        (get("/", "Content-Length: 3") + b"abc", 400, "no body"),
        (get("/", "Transfer-Encoding: chunked"), 400, "no body"),
        (get("/", "Content-Length: 3", "Transfer-Encoding: chunked"), 400, ""),
        (get("/", *(f"X-{number}: 1" for number in range(200))), 431, "at most 100 headers"),
        (get("/" + "x" * 40_000), 431, "at most 16384 bytes"),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 30_000, 431, "at most 16384 bytes"),
        (get("/../../etc/passwd"), 404, "nothing at"),
        (get("/%2e%2e/etc/passwd"), 404, "nothing at"),
        (get("//etc/passwd"), 404, "nothing at"),
        (get("/ws"), 426, "WebSockets"),
    ],
)
def test_what_cannot_be_answered_is_told_in_a_sentence(site: Site, request_: bytes, status: int, words: str) -> None:
    with visiting(request_, house(site)) as guest:
        found, headers, body = guest.answer()
        assert (found, headers["content-type"]) == (status, "text/plain; charset=utf-8")
        assert words in body.decode()
        if status != 404:
            assert headers["connection"].lower() in ("close", "upgrade, close")
            assert guest.served() is None


def test_a_request_that_does_not_come_to_its_end_is_told_so(site: Site) -> None:
    with visiting(b"GET / HT", house(site, limit_s=0.01)) as guest:
        status, _, body = guest.answer()
        assert (status, b"not complete within 0.01 s" in body) == (408, True)
        assert guest.served() is None


def test_a_connection_that_stays_silent_is_closed_without_a_word(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reception_module, "_IDLE_S", 0.01)
    with visiting(get("/healthz"), house(site)) as guest:
        assert guest.answer()[0] == 200
        assert guest.served() is None


def test_a_connection_asks_a_bounded_number_of_times(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reception_module, "_REQUESTS_MAX", 3)
    with visiting(get("/healthz") * 10, house(site)) as guest:
        assert guest.served() is None
        data = guest.sock.recv(65536)
        assert data.count(b"HTTP/1.1 200 ") == 3
        assert data.count(b"Connection: close") == 1


def test_one_that_leaves_is_forgotten(site: Site) -> None:
    with visiting(get("/healthz"), house(site)) as guest:
        assert guest.answer()[0] == 200
        guest.sock.close()
        assert guest.served() is None


def test_an_outer_deadline_stays_its_own(site: Site) -> None:
    with visiting(b"GET ", house(site)) as guest:
        gevent.sleep(0)
        with deadline():
            guest.greenlet.kill(gevent.Timeout())
        assert isinstance(guest.greenlet.exception, gevent.Timeout)


def test_a_websocket_is_handed_back_with_what_came_behind_the_request(site: Site) -> None:
    frame = b"\x82\x83\0\0\0\0abc"
    with visiting(upgrade("Sec-WebSocket-Protocol: x, relay.1") + frame, house(site)) as guest:
        status, headers, _ = guest.answer()
        assert (status, headers["sec-websocket-protocol"]) == (101, "relay.1")
        assert headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        stream = guest.served()
        assert isinstance(stream, WebSocketStream)
        assert stream.recv(100) == b"abc"


def test_whatever_is_sent_there_is_an_answer_or_an_end(site: Site) -> None:
    chance = random.Random(7)
    for number in range(300):
        data = bytearray(
            chance.choice((get("/healthz", "Accept: x"), upgrade(), get(method="HEAD"), b"GET / HTTP/1.1\r\n"))
        )
        for _ in range(chance.randint(1, 6)):
            data[chance.randrange(1, len(data))] = chance.choice((0, 10, 13, 32, 58, 128, 255, chance.randrange(256)))
        with visiting(bytes(data), house(site)) as guest:
            guest.sock.shutdown(socket.SHUT_WR)
            left = guest.served()
            assert left is None or isinstance(left, WebSocketStream), (number, data)
            guest.ours.close()
            answer = guest.sock.recv(4096)
            assert not answer or answer.startswith(b"HTTP/1.1 "), (number, data, answer)


def test_a_refusal_is_an_answer() -> None:
    refusal = Reception(house(None)).refusal("there is no room")
    assert refusal.startswith(b"HTTP/1.1 503 ")
    assert refusal.endswith(b"\r\n\r\nthere is no room")
    assert b"Content-Length: 16\r\n" in refusal


def test_pages_of_other_sites_get_no_websocket(site: Site) -> None:
    with visiting(upgrade("Origin: https://evil.test"), house(site)) as guest:
        status, _, body = guest.answer()
        assert status == 403
        assert b"web_origins" in body
