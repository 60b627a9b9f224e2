"""Requests on a stream: headers, deadlines, answers."""

from collections.abc import Iterator

import gevent
import h11
import pytest
from gevent import socket

from relay.http.answers import Answer, RefusedError, say
from relay.http.requests import Request, Requests
from tests.http.guest import get
from tests.loop import deadline


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    yield ours, theirs
    ours.close()
    theirs.close()


def test_headers_are_found_by_lower_case_and_joined() -> None:
    request = Request(
        h11.Request(method="GET", target="/a?b", headers=[("Host", "x"), ("Accept", "a"), ("ACCEPT", "B, c")])
    )
    assert (request.path, request.target, request.http_1_1) == ("/a", "/a?b", True)
    assert request.header("accept") == "a, B, c"
    assert request.words("accept") == {"a", "b", "c"}
    assert request.header("missing") == ""
    assert request.words("missing") == set()


def test_a_request_may_come_in_any_pieces(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    data = get("/healthz", "Accept: x")
    reading = gevent.spawn(Requests(ours, data[:1]).next, 20.0)
    for byte in data[1:]:
        theirs.sendall(bytes([byte]))
        gevent.sleep(0)
    with deadline():
        request = reading.get()
    assert request is not None
    assert request.path == "/healthz"


def test_one_that_leaves_inside_a_request_is_refused(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    theirs.close()
    with pytest.raises(RefusedError), deadline():
        Requests(ours, b"GET / HT").next(20.0)


def test_one_that_leaves_between_requests_is_gone(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    theirs.close()
    with deadline():
        assert Requests(ours, b"").next(20.0) is None


def test_an_answer_without_a_body_is_not_modified(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    requests = Requests(ours, get())
    with deadline():
        requests.next(20.0)
        assert requests.answer(Answer(304, (("ETag", '"x"'),), b""))
        data = theirs.recv(1000)
    assert data.startswith(b"HTTP/1.1 304 Not Modified\r\n")
    assert b"ength" not in data


def test_after_the_last_answer_nothing_follows(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, _ = pair
    requests = Requests(ours, get() + get())
    with deadline():
        requests.next(20.0)
        assert requests.answer(say(200, "one"))
        requests.next(20.0)
        assert not requests.answer(say(200, "two", last=True))


def test_old_clients_get_one_answer(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, _ = pair
    requests = Requests(ours, b"GET / HTTP/1.0\r\n\r\n")
    with deadline():
        request = requests.next(20.0)
        assert request is not None
        assert not request.http_1_1
        assert not requests.answer(say(200, "one"))
