"""HTTP/1.1 on a stream: requests in, answers out, parsed and framed by h11. Under deadlines, and bounded in size."""

from http import HTTPStatus

import gevent
import h11

from relay.http.answers import Answer, RefusedError
from relay.transport.stream import Stream

# All of a request before its body. Cookies of other programs on the same host come along; ours are none.
HEAD_MAX_BYTES = 16 * 1024

HEADERS_MAX = 100

_READ_BYTES = 4096

# A browser on a slow link takes the chat page in less; one that does not read is not waited for.
_ANSWER_S = 30.0


class Request:
    """A request without a body, which all that are understood here are."""

    def __init__(self, request: h11.Request) -> None:
        self.method = request.method.decode("ascii")
        self.target = request.target.decode("ascii")
        self.path = self.target.partition("?")[0]
        self.http_1_1 = request.http_version == b"1.1"
        self._headers: dict[str, str] = {}
        for name, value in request.headers:
            key, text = name.decode("ascii"), value.decode("latin-1")
            self._headers[key] = f"{self._headers[key]}, {text}" if key in self._headers else text

    def header(self, name: str) -> str:
        """A header, by its name in lower case; empty if there is none. Several are one with commas."""
        return self._headers.get(name, "")

    def words(self, name: str) -> set[str]:
        """A header that is a list of words, in lower case."""
        return {word.strip().lower() for word in self.header(name).split(",")} - {""}


class Requests:
    """The requests of one connection, one after the other. All methods yield, and raise OSError."""

    def __init__(self, stream: Stream, received: bytes) -> None:
        self._stream = stream
        self._protocol = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_MAX_BYTES)
        self._protocol.receive_data(received)
        self._method = ""

    def next(self, limit_s: float) -> Request | None:
        """The next request; None if the client has left, or has not begun another one in time. Raises RefusedError."""
        try:
            with gevent.Timeout(limit_s) as limit:
                event = self._event()
                if isinstance(event, h11.Request):
                    request = self._check(event)
                    return request if isinstance(self._event(), h11.EndOfMessage) else None
                return None
        except gevent.Timeout as expired:
            if expired is not limit:
                raise
            if self._protocol.their_state is h11.IDLE and not self._protocol.trailing_data[0]:
                return None
            sentence = f"the request was not complete within {limit_s:g} s"
            raise RefusedError(HTTPStatus.REQUEST_TIMEOUT, sentence) from None
        except h11.RemoteProtocolError as error:
            if error.error_status_hint == HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE:
                sentence = f"a request has at most {HEAD_MAX_BYTES} bytes"
                raise RefusedError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, sentence) from None
            raise RefusedError(HTTPStatus.BAD_REQUEST, f"this is not an HTTP/1.1 request: {error}") from None

    def answer(self, answer: Answer) -> bool:
        """Send an answer; whether another request may follow on this connection."""
        protocol = self._protocol
        headers = [*answer.headers, ("Content-Length", str(len(answer.body)))]
        last = answer.last or protocol.their_state is h11.ERROR
        if last:
            headers.append(("Connection", "close"))
        if answer.status == HTTPStatus.NOT_MODIFIED:
            headers = [header for header in headers if header[0] != "Content-Length"]
        data = protocol.send(h11.Response(status_code=answer.status, headers=headers, reason=_reason(answer.status)))
        data = (data or b"") + (protocol.send(h11.Data(answer.body)) or b"" if self._wants_body(answer) else b"")
        data += protocol.send(h11.EndOfMessage()) or b""
        with gevent.Timeout(_ANSWER_S, OSError("the answer was not read")):
            self._stream.sendall(data)
        if last or protocol.our_state is not h11.DONE or protocol.their_state is not h11.DONE:
            return False
        protocol.start_next_cycle()
        return True

    def switch(self, headers: list[tuple[str, str]]) -> bytes:
        """Agree to another protocol; what has come of it already."""
        answer = h11.InformationalResponse(status_code=101, headers=headers, reason=b"Switching Protocols")
        data = self._protocol.send(answer)
        with gevent.Timeout(_ANSWER_S, OSError("the answer was not read")):
            self._stream.sendall(data or b"")
        return self._protocol.trailing_data[0]

    def _event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        while (event := self._protocol.next_event()) is h11.NEED_DATA:
            self._protocol.receive_data(self._stream.recv(_READ_BYTES))
        return event

    def _check(self, request: h11.Request) -> Request:
        if request.http_version not in (b"1.0", b"1.1"):
            sentence = "HTTP/1.1 is spoken here"
            raise RefusedError(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, sentence)
        if len(request.headers) > HEADERS_MAX:
            sentence = f"a request has at most {HEADERS_MAX} headers"
            raise RefusedError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, sentence)
        checked = Request(request)
        self._method = checked.method
        if checked.method not in ("GET", "HEAD"):
            sentence = "the relay answers GET and HEAD here; everything else goes through a session"
            raise RefusedError(HTTPStatus.METHOD_NOT_ALLOWED, sentence, (("Allow", "GET, HEAD"),))
        if checked.header("content-length").strip("0") or checked.header("transfer-encoding"):
            raise RefusedError(HTTPStatus.BAD_REQUEST, "a request has no body here")
        return checked

    def _wants_body(self, answer: Answer) -> bool:
        return bool(answer.body) and self._method != "HEAD" and answer.status != HTTPStatus.NOT_MODIFIED


def _reason(status: int) -> bytes:
    return HTTPStatus(status).phrase.encode()
