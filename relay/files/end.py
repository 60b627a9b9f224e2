"""The relay's end of one stream: what the table of streams sees of a transfer, and what that sees of its stream.

The table's side never yields. The transfer's side is a greenlet of its own: it waits for what comes, and how much it
grants is all the memory that the stream can cost.
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import gevent
from gevent.event import Event

from relay.protocol.addresses import RELAY
from relay.protocol.codes import ErrorCode
from relay.protocol.connection import clip_sentence
from relay.protocol.limits import CHUNK_MAX_BYTES, CREDIT_MAX_BYTES, HEADER_BYTES
from relay.protocol.packets import Accept, Credit, Data, Finish, Open, Reset, decode, encode
from relay.protocol.payloads import Value, encode_body
from relay.protocol.transfer import Piece, RecordReader, TransferError
from relay.router.streams import Side, StreamTable
from relay.router.subscriber import Outlet, Subscriber

if TYPE_CHECKING:
    from relay.router.gate import Lane

# An end that has all it wanted may take so long to finish.
_FINISH_S = 10.0

# A DATA's body stands behind a header of so many bytes, at most.
_BODY_HEAD_BYTES = 5


class StreamOverError(Exception):
    """The stream ended before the transfer did: it was reset, or the session left."""


class TransferEnd:
    """One end at the relay, for the opener's OPEN. `start(end)` is called once the stream is there."""

    address = RELAY

    def __init__(
        self, table: StreamTable, opener: Subscriber, packet: Open, start: "Callable[[TransferEnd], object]"
    ) -> None:
        self.streams: Side | None = None
        self.opener = opener
        self.packet = packet
        self.reader = RecordReader()
        # The opener has sent everything, or the stream is over altogether.
        self.finished = False
        self.over = False
        self._table = table
        self._start = start
        self._id = packet.id | 1
        self._event = Event()
        self._finish_sent = False
        self._credit_frame = encode(Credit(RELAY, opener.address, self._id, CREDIT_MAX_BYTES))
        self._head = data_head(Data(RELAY, opener.address, self._id, b""))
        # What waits for a whole DATA, or for credit.
        self._unsent: deque[memoryview] = deque()
        self._unsent_bytes = 0
        # Credit granted, and bytes received.
        self._granted = 0
        self._received = 0

    def __repr__(self) -> str:
        return f"<TransferEnd of {self.packet.service} for {self.opener.address}: {self._received} bytes received>"

    # What the table of streams calls.

    @property
    def outlet(self) -> Outlet:
        return self

    def push(self, frames: bytes) -> None:
        packet = decode(frames[HEADER_BYTES:])
        if isinstance(packet, Open):
            self._start(self)
        elif isinstance(packet, Reset):
            self.over = True
        self._event.set()

    def stream(self, frame: Piece, lane: "Lane", size: int) -> None:
        if size:
            self.reader.feed(_body(frame, size))
            self._received += size
            lane.handle_sent(size)
            if not self.reader.ready:
                return
        elif isinstance(decode(bytes(frame[HEADER_BYTES:])), Finish):
            self.finished = True
        else:
            self.over = True
        self._event.set()

    def signal(self, frames: bytes, count: int) -> None:
        raise AssertionError("nobody signals to a transfer")

    def has_room(self, size: int) -> bool:
        return True

    def call_when_drained(self) -> None:
        raise AssertionError("a transfer has no feed")

    # What the transfer calls.

    @property
    def credit(self) -> int:
        """How many bytes the opener takes now."""
        return next(iter(self.streams.streams)).back.credit if self.streams and self.streams.streams else 0

    def wait(self, timeout_s: float) -> None:
        """Yield until a record, credit or an end came. Raises StreamOverError, or TransferError if nothing at all came
        in that time.
        """
        self.check()
        received = self._received
        self._event.clear()
        while not self._event.wait(timeout_s):
            if self._received == received:
                sentence = f"nothing came for {timeout_s:g} s; go on when there is something"
                raise TransferError(ErrorCode.TIMED_OUT, sentence)
            received = self._received
        self.check()

    def check(self) -> None:
        """Raises StreamOverError if the stream is over."""
        if self.over:
            raise StreamOverError

    def accept(self, value: Value) -> None:
        """Accept the stream, with a value."""
        self.check()
        packet = Accept(RELAY, self.opener.address, self._id, *encode_body(value))
        self._table.accept(self, packet, encode(packet))

    def grant(self, window_bytes: int) -> None:
        """Let the opener send until so many bytes are here or under way: in the reader, or granted and not come."""
        held = self.reader.size + self._granted - self._received
        while not self.over and held + CREDIT_MAX_BYTES <= window_bytes:
            self._table.grant(self, self.opener.address, self._id, CREDIT_MAX_BYTES, self._credit_frame)
            self._granted += CREDIT_MAX_BYTES
            held += CREDIT_MAX_BYTES

    def send(self, pieces: Iterable[Piece], timeout_s: float) -> None:
        """Send bytes as the opener takes them; less than a whole DATA waits for more, or for `flush`. Yields while the
        opener takes none. Raises as `wait`.
        """
        for piece in pieces:
            self._unsent.append(memoryview(piece))
            self._unsent_bytes += len(piece)
        self._send(CHUNK_MAX_BYTES, timeout_s)

    def flush(self, timeout_s: float) -> None:
        """Send what is left. Yields and raises as `send`."""
        self._send(1, timeout_s)

    def finish(self) -> None:
        """Say that nothing more comes from here."""
        if not self.over and not self._finish_sent:
            self._finish_sent = True
            packet = Finish(RELAY, self.opener.address, self._id)
            self._table.finish(self, packet, encode(packet))

    def reset(self, code: ErrorCode, sentence: str) -> None:
        """End the stream, if it is not over."""
        if not self.over:
            self.over = True
            packet = Reset(RELAY, self.opener.address, self._id, code, clip_sentence(sentence))
            self._table.reset(self, packet, encode(packet))
            self._event.set()

    def wait_finished(self) -> None:
        """Yield until the opener has finished too, or the stream is over; reset it after some seconds."""
        with gevent.Timeout(_FINISH_S, False):
            while not self.finished and not self.over:
                self._event.clear()
                self._event.wait()
        if not self.finished:
            self.reset(ErrorCode.TIMED_OUT, "the transfer is complete; finish the stream")

    def _send(self, least_bytes: int, timeout_s: float) -> None:
        while self._unsent_bytes >= least_bytes:
            self.check()
            size = min(self._unsent_bytes, self.credit, CHUNK_MAX_BYTES)
            if not size:
                self.wait(timeout_s)
                continue
            frame = data_frame(self._head, self._cut(size), size)
            self._table.data(self, self.opener.address, self._id, size, frame)

    def _cut(self, size: int) -> list[memoryview]:
        """So many bytes from the front of what is unsent."""
        self._unsent_bytes -= size
        pieces = []
        while size:
            piece = self._unsent.popleft()
            if len(piece) > size:
                self._unsent.appendleft(piece[size:])
                piece = piece[:size]
            size -= len(piece)
            pieces.append(piece)
        return pieces


def data_head(packet: Data) -> bytes:
    """What frames of DATAs like this one have in common, behind their length."""
    return encode(packet._replace(body=b""))[HEADER_BYTES:-2]


def data_frame(head: bytes, body: Iterable[Piece], size: int) -> bytes:
    """The frame of a DATA with this body of `size` bytes, which is copied once."""
    if size < 1 << 8:
        marker = bytes((0xC4, size))
    else:
        marker = b"\xc5" + size.to_bytes(2, "big") if size < 1 << 16 else b"\xc6" + size.to_bytes(4, "big")
    length = len(head) + len(marker) + size
    return b"".join((length.to_bytes(HEADER_BYTES, "big"), head, marker, *body))


def _body(frame: Piece, size: int) -> Piece:
    """The body of a DATA: in place if it stands at the end as usual, and if that does not keep much else in memory."""
    view = memoryview(frame)
    head = bytes(view[-size - _BODY_HEAD_BYTES : -size])
    marker = b"\xc5" + size.to_bytes(2, "big") if size < 1 << 16 else b"\xc6" + size.to_bytes(4, "big")
    if size >= 1 << 8 and head.endswith(marker):
        body = view[-size:]
        return body if memoryview(view.obj).nbytes <= 2 * size else bytes(body)
    packet = decode(bytes(view[HEADER_BYTES:]))
    assert isinstance(packet, Data)
    return packet.body
