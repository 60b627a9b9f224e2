"""Streams as a program sees them, without the waiting: both shells add `read`, `write` and `open`.

A stream that was offered is accepted by the first read or write, or by `accept`; a handler that raises before that has
refused it.
"""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Generic, TypeVar

from relay.protocol.codes import ErrorCode
from relay.protocol.limits import OPEN_TIMEOUT_MAX_MS
from relay.protocol.payloads import PayloadError, Value, decode_body
from relay_client.core import Core
from relay_client.core.arguments import opening_body
from relay_client.core.streams import NOTHING, StreamEnd, StreamState
from relay_client.errors import BadValue, MethodError, TimedOut
from relay_client.jobs import Job

log = logging.getLogger("relay_client")

# The time runs at the relay, which says more about a failure than we can: we wait this much longer for it.
GRACE_S = 0.5

S = TypeVar("S", bound="ShellStream")


class ShellStream:
    """One end of a stream: ordered bytes both ways. None of the methods here waits.

    `timeout`: how many seconds `read` and `write` wait for the other end at most; None, as at first: for as long as
    there is a connection. Both ends learn at once when the other is gone.
    """

    def __init__(self, end: StreamEnd, using: Callable[[], AbstractContextManager[Core]]) -> None:
        self.timeout: float | None = None
        self._end = end
        self._using = using

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.service!r} with {self.peer}, {self._end.state.value}>"

    @property
    def peer(self) -> str:
        """The session at the other end: `bob/pc`."""
        return self._end.peer

    @property
    def service(self) -> str:
        """What the stream is for."""
        return self._end.service

    @property
    def opening(self) -> Value:
        """What the opener gave with `open`. Raises BadValue if it cannot be read."""
        return _decoded(self._end.opening)

    @property
    def answer(self) -> Value:
        """What the other end gave with `accept`. Raises BadValue if it cannot be read."""
        return _decoded(self._end.answer)

    @property
    def is_offered(self) -> bool:
        """Whether it waits for us to accept it."""
        return self._end.state is StreamState.OFFERED

    @property
    def is_readable(self) -> bool:
        """Whether a `read1` would return, or raise, at once."""
        return self._end.may_take

    def accept(self, data: Value = None) -> None:
        """Agree to a stream that was offered, with an answer for the opener. Raises BadValue."""
        body = opening_body(data)
        with self._using():
            self._end.accept(*body)

    def finish(self) -> None:
        """Send nothing more: the other end reads the end once it has read the rest. It may go on sending."""
        with self._using():
            self._end.finish()

    def close(self) -> None:
        """Finish, and take nothing more: if the other end has sent, or sends, more, the stream is reset (CANCELLED). To
        know that the other end has read everything, `finish` and wait for its answer, or for its end."""
        with self._using():
            self._end.close()

    def reset(self, code: int = ErrorCode.CANCELLED, sentence: str = "the other end gave up") -> None:
        """End the stream at once, both ways; the other end gets StreamReset with this code (your own: from 1000 up) and
        this sentence, behind what was sent. Nothing happens if it is over."""
        with self._using():
            self._end.reset(code, sentence)

    def _quit(self, error: BaseException | None) -> None:
        """The end of a `with` block."""
        if error is None:
            self.close()
        elif isinstance(error, MethodError):
            self.reset(error.code, error.sentence)
        else:
            self.reset(ErrorCode.CANCELLED, "the program at the other end stopped in the middle")

    def _silent(self, deed: str) -> TimedOut:
        return TimedOut(f"stream {self.service!r} with {self.peer}: the other end {deed} within {self.timeout:g} s")


class Services(Generic[S]):
    """The services a program offers: `make` a stream of what came, and run the handler with it."""

    def __init__(self, make: Callable[[StreamEnd], S]) -> None:
        self._make = make
        self._handlers: dict[str, Callable[[S], Any]] = {}

    @property
    def names(self) -> list[str]:
        """The names of all services."""
        return list(self._handlers)

    def add(self, service: str, handler: Callable[[S], Any]) -> None:
        """Hand streams for `service` to `handler`."""
        self._handlers[service] = handler

    def job(self, end: StreamEnd) -> Job:
        """The handler of a stream, which is closed when it has returned and reset when it has failed."""
        stream, handler = self._make(end), self._handlers[end.service]
        return Job(lambda: handler(stream), lambda outcome: stream.close(), lambda error: _fail(stream, error))


def open_timeout_s(timeout: float | None, usual_s: float) -> float:
    """How long an OPEN waits: what was asked for, otherwise the client's time, as far as it may be that. Raises
    BadValue."""
    timeout_s = min(usual_s, OPEN_TIMEOUT_MAX_MS / 1000) if timeout is None else timeout
    if not 0 < timeout_s * 1000 <= OPEN_TIMEOUT_MAX_MS:
        raise BadValue(f"the time to open a stream is more than 0 and at most {OPEN_TIMEOUT_MAX_MS // 1000} s")
    return timeout_s


def _fail(stream: ShellStream, error: Exception) -> None:
    if error is stream._end.error:
        log.info("%r ended under its handler: %s", stream, error)
    elif isinstance(error, MethodError):
        stream.reset(error.code, error.sentence)
    else:
        log.error("the handler of %r failed", stream, exc_info=error)
        stream.reset(ErrorCode.METHOD_FAILED, f"the service {stream.service!r} failed; its log says why")


def _decoded(body: tuple[str, bytes]) -> Value:
    if body == NOTHING:
        return None
    try:
        return decode_body(*body)
    except PayloadError as error:
        raise BadValue(f"what came with the stream cannot be read: {error}") from None
