"""What a session does with each packet it has decoded: one function per packet type, none of which yields."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from relay.protocol.codes import ErrorCode
from relay.protocol.limits import (
    BODY_MAX,
    CHUNK_MAX_BYTES,
    CONTENT_TYPE_MAX_BYTES,
    HEADER_BYTES,
    MESSAGE_MAX,
    METHOD_MAX_BYTES,
)
from relay.protocol.packets import (
    NUMBERS,
    Accept,
    Ack,
    Call,
    Close,
    Credit,
    Data,
    Fault,
    Finish,
    Message,
    Open,
    Packet,
    Ping,
    Pong,
    Reset,
    Result,
    Signal,
    encode,
)
from relay.router.directory import address_bytes

if TYPE_CHECKING:
    from relay.session.session import Session


def handle_signal(session: "Session", signal: Signal, frame: bytes) -> None:
    """Forward a signal that the fast path left: one with an id, or to somebody new, or to nobody."""
    if not _acceptable(session, signal):
        return
    route = session.router.signal_route(session, address_bytes(signal.to))
    if route is not None:
        for outlet in route.outlets:
            if outlet is not session.outlet or not signal.to.startswith("#"):
                outlet.signal(frame, 1)
    elif signal.id is not None:
        session.refuse(NUMBERS[Signal], signal.id, *session.router.signal_obstacle(session, signal.to))


def handle_message(session: "Session", message: Message, frame: bytes) -> None:
    """Hand a message to the log, if its delivery will fit into a frame."""
    if len(frame) - HEADER_BYTES > MESSAGE_MAX:
        sentence = f"a message has at most {MESSAGE_MAX} bytes in all; send larger things in parts"
        session.refuse(NUMBERS[Message], message.id, ErrorCode.TOO_LARGE, sentence)
    elif _acceptable(session, message):
        session.router.conversations.submit(session, message.to, message.id, frame[HEADER_BYTES:])


def handle_ack(session: "Session", ack: Ack, frame: bytes) -> None:
    """Note how far the device is."""
    session.router.conversations.acknowledge(session, ack)


def handle_call(session: "Session", call: Call, frame: bytes) -> None:
    """Forward a call, or answer it."""
    if _acceptable(session, call):
        session.router.call(session, call, frame)


def handle_answer(session: "Session", answer: Result | Fault, frame: bytes) -> None:
    """Forward the answer to a call."""
    if _acceptable(session, answer) and not session.router.calls.answer(session, answer.to, answer.id, frame):
        sentence = "no call waits for this answer: it was answered, its time ran out, or its caller left"
        session.refuse(NUMBERS[type(answer)], answer.id, ErrorCode.TIMED_OUT, sentence)


def handle_open(session: "Session", packet: Open, frame: bytes) -> None:
    """Forward the wish for a stream, or refuse it."""
    if _acceptable(session, packet):
        session.router.open_stream(session, packet, frame)


def handle_accept(session: "Session", packet: Accept, frame: bytes) -> None:
    """Forward the answer to an OPEN."""
    if _acceptable(session, packet):
        session.router.streams.accept(session, packet, frame)


def handle_data(session: "Session", packet: Data, frame: bytes) -> None:
    """Forward what the fast path left."""
    if _acceptable(session, packet):
        session.router.streams.data(session, packet.to, packet.id, len(packet.body), frame)


def handle_credit(session: "Session", packet: Credit, frame: bytes) -> None:
    """Pass credit on to the other end."""
    if _acceptable(session, packet):
        session.router.streams.credit(session, packet, frame)


def handle_finish(session: "Session", packet: Finish, frame: bytes) -> None:
    """One direction of a stream ends."""
    if _acceptable(session, packet):
        session.router.streams.finish(session, packet, frame)


def handle_reset(session: "Session", packet: Reset, frame: bytes) -> None:
    """A stream is over."""
    if _acceptable(session, packet):
        session.router.streams.reset(session, packet, frame)


def handle_ping(session: "Session", ping: Ping, frame: bytes) -> None:
    """Answer."""
    session.outlet.push(encode(Pong(ping.token)))


def handle_pong(session: "Session", pong: Pong, frame: bytes) -> None:
    """Nothing more to do: receiving any byte has counted as a sign of life already."""


def handle_close(session: "Session", close: Close, frame: bytes) -> None:
    """The client leaves."""
    session.handle_close()


_Addressed = Signal | Message | Call | Result | Fault | Open | Accept | Data | Credit | Finish | Reset


def _acceptable(session: "Session", packet: _Addressed) -> bool:
    """Whether the sender is who it says and the sizes are within the limits; otherwise the packet was refused."""
    problem = problem_of(session, packet)
    if problem is not None:
        session.refuse(NUMBERS[type(packet)], packet.id, *problem)
    return problem is None


def problem_of(session: "Session", packet: _Addressed) -> tuple[ErrorCode, str] | None:
    """Why a packet must not be forwarded, whoever it is for."""
    if packet.sender != session.address:
        return (
            ErrorCode.FORGED_SENDER,
            f"the packet says it is from {packet.sender[:130]!r}; you are {session.address!r}",
        )
    if isinstance(packet, Fault | Credit | Finish | Reset):
        return None
    if isinstance(packet, Data):
        return _chunk_problem(packet)
    if len(packet.content_type.encode()) > CONTENT_TYPE_MAX_BYTES:
        return ErrorCode.TOO_LARGE, f"a content type has at most {CONTENT_TYPE_MAX_BYTES} bytes"
    if len(packet.body) > BODY_MAX:
        return ErrorCode.TOO_LARGE, f"a body has at most {BODY_MAX} bytes; send larger things in parts"
    if isinstance(packet, Call) and len(packet.method.encode()) > METHOD_MAX_BYTES:
        return ErrorCode.TOO_LARGE, f"a method's name has at most {METHOD_MAX_BYTES} bytes"
    if isinstance(packet, Open) and len(packet.service.encode()) > METHOD_MAX_BYTES:
        return ErrorCode.TOO_LARGE, f"a service's name has at most {METHOD_MAX_BYTES} bytes"
    return None


def _chunk_problem(packet: Data) -> tuple[ErrorCode, str] | None:
    if 0 < len(packet.body) <= CHUNK_MAX_BYTES:
        return None
    return ErrorCode.TOO_LARGE, f"one DATA carries 1 to {CHUNK_MAX_BYTES} bytes"


HANDLERS: dict[type[Packet], Callable[["Session", Any, bytes], None]] = {
    Signal: handle_signal,
    Message: handle_message,
    Ack: handle_ack,
    Call: handle_call,
    Result: handle_answer,
    Fault: handle_answer,
    Open: handle_open,
    Accept: handle_accept,
    Data: handle_data,
    Credit: handle_credit,
    Finish: handle_finish,
    Reset: handle_reset,
    Ping: handle_ping,
    Pong: handle_pong,
    Close: handle_close,
}
