"""WebSocket frames (RFC 6455 section 5) from a browser: its bytes in, the bytes it carries out.

A Relay session reads a byte stream, so where messages begin and end means nothing: payloads are handed on as they
come and nothing is gathered, however long a message is. Whole binary messages are cut out here; everything rarer
(fragments, control frames, whatever breaks a rule) goes frame by frame through wsproto, which exists only meanwhile.
Why, with figures: docs/decisions/websocket.md.
"""

from typing import NamedTuple

from wsproto.frame_protocol import CloseReason, FrameProtocol, Opcode, ParseFailed

from relay.transport.masking import unmask

# Longer messages are refused (1009). Ours hold at most a few frames of 1 MiB; the bound is against nonsense.
MESSAGE_MAX_BYTES = 16 * 1024 * 1024

# Nobody sends a message in so many pieces; each costs the relay as much as a message.
FRAGMENTS_MAX = 1024

_FIN_BINARY = 0x82
_TEXT = 0x1
_MASKED = 0x80

# Payloads shorter than this are joined with their headers, which are made once: one call of the kernel with two pieces
# costs more than a copy of a few hundred bytes.
JOINED_MAX_BYTES = 1024
SHORT_HEADERS = [
    bytes([_FIN_BINARY, size]) if size < 126 else b"\x82\x7e" + size.to_bytes(2, "big")
    for size in range(JOINED_MAX_BYTES)
]


class Ending(NamedTuple):
    """How the conversation of frames ends: the close code to answer with (None: without one) and a sentence."""

    code: int | None
    sentence: str
    by_peer: bool


def message_header(size: int) -> bytes:
    """What stands before `size` bytes of payload to make them one binary message from the relay."""
    if size < JOINED_MAX_BYTES:
        return SHORT_HEADERS[size]
    if size < 65_536:
        return b"\x82\x7e" + size.to_bytes(2, "big")
    return b"\x82\x7f" + size.to_bytes(8, "big")


def close_frame(code: int | None, sentence: str = "") -> bytes:
    """A close frame; the sentence is cut to what fits."""
    return bytes(FrameProtocol(client=False, extensions=[]).close(code, sentence or None))


def whole_message(data: bytes) -> bytes | None:
    """The payload, if this is exactly one whole binary message of less than 64 KiB; None if it is anything else."""
    size = len(data)
    if size < 6 or data[0] != _FIN_BINARY:
        return None
    short = data[1]
    if short == size + 122 and size < 132:
        return unmask(data[6:], data[2:6])
    if short == 254 and size > 133 and data[2] << 8 | data[3] == size - 8:
        return unmask(data[8:], data[4:8])
    return None


class Incoming:
    """The frames of one client. After `ended` is set nothing more is taken."""

    __slots__ = ("_fragments", "_head", "_key", "_left", "_parser", "_size", "busy", "ended", "pong")

    def __init__(self) -> None:
        # The beginning of a frame's header; what is left of the frame under way, and its mask from there on.
        self._head = b""
        self._left = 0
        self._key = b""
        # While anything but whole binary messages is under way; and how much of a fragmented message there was.
        self._parser: FrameProtocol | None = None
        self._fragments = 0
        self._size = 0
        # The answer to the latest ping, for the caller to send and to set to None.
        self.pong: bytes | None = None
        self.ended: Ending | None = None
        # Whether anything is under way, or was said: while not, a `whole_message` may be taken past this object.
        self.busy = False

    def feed(self, data: bytes) -> bytes:
        """The payload in what arrived, as far as it is valid; see `pong` and `ended` afterwards."""
        if self._head:
            data = self._head + data
            self._head = b""
        parts: list[bytes] = []
        at, end = 0, len(data)
        while at < end and self.ended is None:
            if self._left:
                stop = min(end, at + self._left)
                parts.append(self._go_on(data[at:stop]))
                at = stop
                continue
            if data[at] == _FIN_BINARY and self._parser is None and end - at > 8:
                # Most of what comes, without a call more than it needs: whole messages of less than 64 KiB.
                short = data[at + 1]
                start = at + 6 if short < 254 else at + 8
                stop = start + (short - 128 if short < 254 else data[at + 2] << 8 | data[at + 3])
                if at + 6 <= start <= stop <= end and short < 255 and (short < 254 or stop - start > 125):
                    parts.append(unmask(data[start:stop], data[start - 4 : start]))
                    at = stop
                    continue
            start, size = _header(data, at)
            if not start:
                self._head = data[at:]
                break
            if data[at] != _FIN_BINARY or self._parser is not None or size < 0:
                self._begin_rare(data, at, start, max(size, 0))
                at = start
                continue
            stop = start + size
            if stop > end:
                if size > MESSAGE_MAX_BYTES:
                    self._refuse(CloseReason.MESSAGE_TOO_BIG, f"a message has at most {MESSAGE_MAX_BYTES} bytes")
                    break
                self._left, stop = stop - end, end
                turn = (end - start) & 3
                key = data[start - 4 : start]
                self._key = key[turn:] + key[:turn]
            parts.append(unmask(data[start:stop], data[start - 4 : start]))
            at = stop
        self.busy = bool(self._left or self._head or self._parser or self.ended)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _go_on(self, data: bytes) -> bytes:
        """The next piece of the frame under way."""
        self._left -= len(data)
        if self._parser is not None:
            return self._parse(data)
        turn, key = len(data) & 3, self._key
        self._key = key[turn:] + key[:turn]
        return unmask(data, key)

    def _begin_rare(self, data: bytes, at: int, start: int, size: int) -> None:
        """A frame for wsproto begins: it gets the header here and the payload from `_go_on`."""
        opcode = data[at] & 0x0F
        if data[at] & 0x7F == _TEXT and data[at + 1] & _MASKED:
            self._refuse(CloseReason.UNSUPPORTED_DATA, "text messages are not taken; Relay speaks in binary ones")
            return
        if opcode < 8:
            self._fragments += 1
            self._size += size
            if self._size > MESSAGE_MAX_BYTES:
                self._refuse(CloseReason.MESSAGE_TOO_BIG, f"a message has at most {MESSAGE_MAX_BYTES} bytes")
                return
            if self._fragments > FRAGMENTS_MAX:
                self._refuse(CloseReason.POLICY_VIOLATION, f"a message has at most {FRAGMENTS_MAX} fragments")
                return
        if self._parser is None:
            self._parser = FrameProtocol(client=False, extensions=[])
        self._left = size
        self._parse(data[at:start])

    def _parse(self, data: bytes) -> bytes:
        """Payload of data frames in these bytes, which belong to one frame."""
        assert self._parser is not None
        self._parser.receive_bytes(data)
        parts = []
        try:
            for frame in self._parser.received_frames():
                if frame.opcode is Opcode.PING:
                    self.pong = bytes(self._parser.pong(_bytes(frame.payload)))
                elif frame.opcode is Opcode.CLOSE:
                    self.ended = _echo(frame.payload)
                elif frame.opcode is Opcode.BINARY:
                    parts.append(_bytes(frame.payload))
                    if frame.message_finished:
                        self._fragments = self._size = 0
        except ParseFailed as error:
            self._refuse(error.code, str(error))
        if not self._left and not self._fragments:
            self._parser = None
        return b"".join(parts)

    def _refuse(self, code: int, sentence: str) -> None:
        self.ended = Ending(int(code), sentence, by_peer=False)


def _header(data: bytes, at: int) -> tuple[int, int]:
    """Where the payload of the frame at `at` starts, and its length; (0, 0) while that is not there yet.

    The length is -1 where the header breaks a rule (no mask, a length not in its shortest form, a long control frame);
    the start is behind as much of it as wsproto needs to say which.
    """
    available = len(data) - at
    if available < 2:
        return 0, 0
    size = data[at + 1]
    if size < _MASKED:
        needed = 2 + (8 if size == 127 else 2 if size == 126 else 0)
        return (at + needed, -1) if available >= needed else (0, 0)
    size &= 0x7F
    if size < 126:
        return (at + 6, size) if available >= 6 else (0, 0)
    if data[at] & 0x08:
        return at + 2, -1
    width = 2 if size == 126 else 8
    if available < 2 + width:
        return 0, 0
    size = int.from_bytes(data[at + 2 : at + 2 + width], "big")
    if size < (126 if width == 2 else 65_536) or size >> 63:
        return at + 2 + width, -1
    return (at + 6 + width, size) if available >= 6 + width else (0, 0)


def _bytes(payload: object) -> bytes:
    """wsproto has one type for the payloads of all frames."""
    assert isinstance(payload, bytes | bytearray)
    return bytes(payload)


def _echo(payload: object) -> Ending:
    """The answer to a close frame: the same."""
    assert isinstance(payload, tuple)
    code, sentence = payload
    return Ending(None if code == CloseReason.NO_STATUS_RCVD else int(code), sentence, by_peer=True)
