"""The fast path for calls and their results: forwarded byte for byte without decoding what repeats.

Of the calls that a session makes to one receiver only the id and the body differ, and of the results that it sends to
one caller. So the first of them is decoded, checked, and remembered as a lane: the bytes up to the id, and those
between the id and the body. A later packet with the same bytes at these places is well-formed and authorised; what is
left to read is its id and where its body begins. Everything else takes the slow path, which decodes and explains.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from relay.protocol.addresses import RELAY
from relay.protocol.limits import BODY_MAX, HEADER_BYTES, INTEGER_MAX
from relay.protocol.packets import NUMBERS, Call, Packet, Result, decode, encode
from relay.router.calls import Question
from relay.router.directory import address_bytes
from relay.session.fields import body_start, string_bounds
from relay.session.handlers import problem_of

if TYPE_CHECKING:
    from relay.session.session import Session

# Lanes remembered for one session, and those that share a receiver: one for each method, timeout and content type.
LANES_MAX = 256
SHARED_MAX = 8

# Array header and type: what `opening` returns.
OPENING_BYTES = 2

_RELAY = address_bytes(RELAY)
_WIDTHS = {0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8}


class Lane(NamedTuple):
    """Packets with these bytes between id and body. `question` is what they ask; of a result only `to` counts."""

    tail: bytes
    question: Question


class Lanes:
    """The lanes of a session by their first bytes: packet type, the session's own address, the receiver."""

    __slots__ = ("_known", "_total", "to_at")

    def __init__(self, address: str) -> None:
        self.to_at = HEADER_BYTES + OPENING_BYTES + len(address_bytes(address))
        self._known: dict[bytes, tuple[Lane, ...]] = {}
        self._total = 0

    def __len__(self) -> int:
        return self._total

    def find(self, head: bytes, data: bytes, tail_at: int) -> Lane | None:
        """The lane that begins with `head` and goes on like `data` at `tail_at`."""
        for lane in self._known.get(head, ()):
            if data.startswith(lane.tail, tail_at):
                return lane
        return None

    def remember(self, head: bytes, lane: Lane) -> None:
        """Add a lane; the oldest of its receiver goes, or all, when there are too many."""
        if self._total >= LANES_MAX:
            self._known.clear()
            self._total = 0
        earlier = self._known.get(head, ())
        self._known[head] = (lane, *earlier[: SHARED_MAX - 1])
        self._total += len(self._known[head]) - len(earlier)


def opening(kind: type[Packet]) -> bytes:
    """How every packet of a type begins behind its frame length: array header and type."""
    return bytes((0x90 | 1 + len(kind._fields), NUMBERS[kind]))


def take_call(session: "Session", data: bytes, start: int, stop: int) -> bool:
    """Forward the call in the frame `data[start:stop]`. False leaves it to the slow path. Raises RemoteError."""
    if data.startswith(_RELAY, start + session.lanes.to_at):
        return False
    found = _read(session, data, start, stop)
    if found is None:
        return False
    lane, call_id = found
    session.router.forward_call(session, lane.question, call_id, data[start:stop])
    return True


def take_result(session: "Session", data: bytes, start: int, stop: int) -> bool:
    """Forward the result in the frame `data[start:stop]`, if a call waits for it; otherwise like `take_call`."""
    found = _read(session, data, start, stop)
    if found is None:
        return False
    lane, call_id = found
    return session.router.calls.answer(session, lane.question.to, call_id, data[start:stop])


# What is forwarded by its header, by the opening of the packet. Signals and messages, of which whole runs are taken at
# once, have paths of their own.
TAKERS: dict[bytes, Callable[["Session", bytes, int, int], bool]] = {
    opening(Call): take_call,
    opening(Result): take_result,
}


def _read(session: "Session", data: bytes, start: int, stop: int) -> tuple[Lane, int] | None:
    """(lane, id) of the packet in `data[start:stop]`; None for the slow path. Raises RemoteError."""
    lanes = session.lanes
    id_at = string_bounds(data, start + lanes.to_at, stop)[1]
    if id_at >= stop:
        return None
    call_id, tail_at = data[id_at], id_at + 1
    if call_id >= 0x80:
        tail_at += _WIDTHS.get(call_id, 0)
        call_id = int.from_bytes(data[id_at + 1 : tail_at], "big")
        if tail_at == id_at + 1 or call_id > INTEGER_MAX:
            return None
    head = data[start + HEADER_BYTES : id_at]
    lane = lanes.find(head, data, tail_at)
    if lane is None:
        lane = _learn(session, data[start:stop], tail_at - start)
        if lane is None:
            return None
        lanes.remember(head, lane)
    body = body_start(data, tail_at + len(lane.tail), stop)
    return None if body is None or stop - body > BODY_MAX else (lane, call_id)


def _learn(session: "Session", frame: bytes, tail_at: int) -> Lane | None:
    """The lane of a call or result that is right, and written in the shortest form; None else. Raises RemoteError."""
    packet = decode(frame[HEADER_BYTES:])
    if not isinstance(packet, Call | Result) or problem_of(session, packet) is not None or encode(packet) != frame:
        return None
    size = len(packet.body)
    marker = len(frame) - size - (2 if size < 1 << 8 else 3 if size < 1 << 16 else 5)
    method, timeout_ms = (packet.method, packet.timeout_ms) if isinstance(packet, Call) else ("", 0)
    return Lane(frame[tail_at:marker], Question(packet.to, method, timeout_ms))
