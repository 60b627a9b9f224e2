"""The fast path: signals that follow each other with the same header are forwarded as one slice, without decoding.

A signal's bytes up to its body are fixed by sender, receiver, content type and size. So the first signal is read
field by field once, and its header remembered together with its route; every later frame that begins with the same
bytes is known to be well-formed and authorised, and where it goes. What does not fit the pattern (a numbered
signal, an unknown receiver, an unusual encoding) takes the slow path, which decodes and explains.
"""

from collections.abc import Callable
from typing import NamedTuple

from relay.protocol.limits import BODY_MAX, CONTENT_TYPE_MAX_BYTES, HEADER_BYTES
from relay.protocol.packets import NUMBERS, Signal
from relay.router.directory import Route, address_bytes
from relay.session.fields import body_start, string_bounds

_NIL = 0xC0
_ROOM = ord("#")
_FIELDS = 1 + len(Signal._fields)

# Headers remembered for one session: about 400 bytes each. One that writes to more receivers in turn, or in more sizes,
# pays for reading a header field by field again.
RUNS_MAX = 256


class Run(NamedTuple):
    """Signals with this header, each `size` bytes in all, go along `route`; to a room, not back to the sender."""

    header: bytes
    size: int
    route: Route
    to_room: bool


class Runs:
    """The runs of a session by the first bytes of their headers: from the frame's length to the receiver's name."""

    __slots__ = ("_known", "_to_at")

    def __init__(self, prefix: bytes) -> None:
        self._to_at = HEADER_BYTES + len(prefix)
        self._known: dict[bytes, Run] = {}

    def __len__(self) -> int:
        return len(self._known)

    def find(self, data: bytes, start: int, end: int) -> Run | None:
        """The run whose header stands at `start`, if it is known. Less than a frame may be there."""
        to = start + self._to_at
        if to >= end:
            return None
        # The low bits of a short string's first byte are its length. For any other byte the piece is only too short,
        # or too long, to be found.
        run = self._known.get(data[start : to + 1 + (data[to] & 0x1F)])
        return run if run is not None and data.startswith(run.header, start) else None

    def remember(self, run: Run) -> None:
        """Take the place of the one with the same key; start anew when there are too many."""
        if len(self._known) >= RUNS_MAX:
            self._known.clear()
        header = run.header
        self._known[header[: self._to_at + 1 + (header[self._to_at] & 0x1F)]] = run

    def clear(self) -> None:
        """Forget all."""
        self._known.clear()


def signal_prefix(address: str) -> bytes:
    """How every signal of a session begins behind its frame length: array header, type, and its own address."""
    return bytes((0x90 | _FIELDS, NUMBERS[Signal])) + address_bytes(address)


def learn_run(
    data: bytes, start: int, stop: int, prefix: bytes, find_route: Callable[[bytes], Route | None]
) -> Run | None:
    """The run that the frame in `data[start:stop]` begins, which starts with `prefix`; None for the slow path.

    `find_route` gets an address as it stands in the packet and answers None where the sender may not send.
    """
    to = start + HEADER_BYTES + len(prefix)
    name, to_end = string_bounds(data, to, stop)
    if to_end >= stop or data[to_end] != _NIL:
        return None
    content, content_end = string_bounds(data, to_end + 1, stop)
    body = body_start(data, content_end, stop)
    # Beyond ASCII the content type's UTF-8 has to be checked: the slow path's business. The receiver's name needs no
    # check, as only names that exist are found.
    if body is None or not data[content:content_end].isascii():
        return None
    if content_end - content > CONTENT_TYPE_MAX_BYTES or stop - body > BODY_MAX:
        return None
    route = find_route(data[to:to_end])
    return None if route is None else Run(data[start:body], stop - start, route, data[name] == _ROOM)
