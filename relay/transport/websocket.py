"""A WebSocket as a transport: what `Connection` offers, over another transport that carries its frames.

What a session sends at once becomes one binary message; what the kernel does not take of it goes first next time, as
the outbox keeps it. Control frames wait for the end of a message that is half sent. Of pings only the latest is
answered, so that a peer which does not read costs nothing (RFC 6455 section 5.5.3 allows it).
"""

from collections.abc import Callable, Sequence
from contextlib import suppress

from relay.transport.connection import Loop, Transport
from relay.transport.stream import Stream, establish, finish
from relay.transport.websocket_frames import (
    JOINED_MAX_BYTES,
    SHORT_HEADERS,
    Ending,
    Incoming,
    close_frame,
    message_header,
    whole_message,
)

# The close code of RFC 6455 section 7.4.1 for an orderly end.
NORMAL = 1000


class WebSocketStream:
    """A WebSocket during the login (a `LayeredStream`); `received` is what came behind the upgrade request."""

    def __init__(self, below: Stream, received: bytes = b"") -> None:
        self._below = below
        self._received = received
        self._incoming = Incoming()
        self._closed = False

    def recv(self, size: int, /) -> bytes:
        """Payload, about `size` bytes at most; empty when the client has closed. Yields."""
        while self._incoming.ended is None:
            data, self._received = self._received or self._below.recv(size), b""
            if not data:
                return b""
            payload = self._incoming.feed(data)
            if self._incoming.pong is not None:
                pong, self._incoming.pong = self._incoming.pong, None
                self._below.sendall(pong)
            if payload:
                return payload
        return b""

    def sendall(self, data: bytes, /) -> None:
        """Send as one message. Yields."""
        if data:
            self._below.sendall(message_header(len(data)) + data)

    def finish(self, code: int) -> None:
        """Send a close frame: with `code`, or as an answer to what the client ended with. Yields."""
        if not self._closed:
            self._closed = True
            ending = self._incoming.ended
            frame = close_frame(code) if ending is None else close_frame(ending.code, ending.sentence)
            with suppress(OSError):
                self._below.sendall(frame)
        finish(self._below, code)

    def close(self) -> None:
        """End at once."""
        self._below.close()

    def establish(self, peer: str, loop: Loop) -> Transport:
        """The same WebSocket, driven by loop callbacks."""
        return WebSocketConnection(establish(self._below, peer, loop), self._incoming, loop)


class WebSocketConnection:
    """An established WebSocket. No method yields."""

    __slots__ = (
        "_below",
        "_busy",
        "_control",
        "_finishing",
        "_incoming",
        "_left",
        "_loop",
        "_on_data",
        "_on_lost",
        "_on_writable",
        "_reason",
        "_unsent",
        "_waiting",
    )

    def __init__(self, below: Transport, incoming: Incoming, loop: Loop) -> None:
        self._below = below
        self._incoming = incoming
        self._loop = loop
        # Bytes of a message under way that the session will offer again; bytes that go before anything else; a control
        # frame for when no message is half sent.
        self._left = 0
        self._unsent = b""
        self._control = b""
        # Whether any of these is not empty.
        self._busy = False
        self._waiting = False
        self._finishing = False
        self._reason = ""
        self._on_data: Callable[[bytes], None] | None = None
        self._on_writable: Callable[[], None] | None = None
        self._on_lost: Callable[[str], None] | None = None

    def __repr__(self) -> str:
        return f"<WebSocketConnection over {self._below}>"

    @property
    def peer(self) -> str:
        """Who is at the other end."""
        return self._below.peer

    def start(
        self,
        on_data: Callable[[bytes], None],
        on_writable: Callable[[], None],
        on_lost: Callable[[str], None],
    ) -> None:
        """Begin to read."""
        self._on_data = on_data
        self._on_writable = on_writable
        self._on_lost = on_lost
        self._below.start(self._handle_data, self._handle_writable, self._handle_lost)
        if self._incoming.ended is not None:
            # It ended behind its login. The session is told later, as of anything else that happens.
            self._loop.run_callback(self._end)

    def send(self, data: bytes | memoryview) -> int:
        """Hand a message to the kernel; how many of its bytes were taken. The rest has to come first next time, unless
        that is all of it.
        """
        if self._busy:
            return self._send_on(data)
        size = len(data)
        if 0 < size < JOINED_MAX_BYTES:
            header = SHORT_HEADERS[size]
            sent = self._below.send(header + data) - len(header)
            return size if sent == size else self._note(header, sent, size)
        return self._begin(data)

    def send_pieces(self, pieces: Sequence[bytes | memoryview]) -> int:
        """Each as a message of its own; those behind the first that is not taken whole may come again, or not."""
        total = 0
        for piece in pieces:
            sent = self.send(piece)
            total += sent
            if sent < len(piece):
                break
        return total

    def defer(self, later: Callable[[Callable[[], None]], None]) -> None:
        """Much is coming: have the next read done by `later`."""
        self._below.defer(later)

    def keep_short(self) -> None:
        """Much will be sent: have the kernel take little of it ahead."""
        self._below.keep_short()

    def wait_writable(self) -> None:
        """Call `on_writable` when the kernel takes bytes again, until `stop_waiting`."""
        self._waiting = True
        self._below.wait_writable()

    def stop_waiting(self) -> None:
        """The opposite of `wait_writable`."""
        if self._waiting:
            self._waiting = False
            if not self._unsent:
                self._below.stop_waiting()

    def pause(self) -> None:
        """Stop reading."""
        self._below.pause()

    def resume(self) -> None:
        """Read again."""
        self._below.resume()

    def finish(self, code: int = NORMAL) -> None:
        """Send a close frame with this code behind what was sent, and end the connection."""
        if not self._finishing:
            self._finishing = True
            self._send_control(close_frame(code))
            if not self._unsent:
                self._below.finish()

    def abort(self) -> None:
        """End the connection now."""
        self._below.abort()

    def _begin(self, data: bytes | memoryview) -> int:
        """Send as a new message."""
        size = len(data)
        if not size:
            return 0
        header = message_header(size)
        sent = self._below.send_pieces((header, data)) - len(header)
        return size if sent == size else self._note(header, sent, size)

    def _note(self, header: bytes, sent: int, size: int) -> int:
        """A message of this size went only in part: `sent` bytes of it, its header not counted."""
        if sent == -len(header):
            return 0
        if sent < 0:
            self._unsent = header[sent:]
            sent = 0
        self._left = size - sent
        self._busy = True
        return sent

    def _send_on(self, data: bytes | memoryview) -> int:
        """Send what is under way, then what is left of `data` as a new message."""
        if not self._flush():
            return 0
        taken = 0
        if self._left:
            part = data[: self._left]
            taken = self._below.send(part)
            self._left -= taken
            if self._left:
                return taken
            data = data[taken:]
        self._unsent, self._control = self._control, b""
        if not self._flush():
            return taken
        self._busy = False
        return taken + self._begin(data)

    def _flush(self) -> bool:
        """Send what goes before anything else; whether all of it went."""
        if self._unsent:
            self._unsent = self._unsent[self._below.send(self._unsent) :]
        return not self._unsent

    def _send_control(self, frame: bytes) -> None:
        """Send a control frame now, or as soon as no message is half sent."""
        if self._left or self._unsent:
            self._control = frame
        else:
            self._unsent = frame
            self._flush()
        self._busy = bool(self._left or self._unsent or self._control)
        if self._busy:
            self._below.wait_writable()

    def _handle_data(self, data: bytes) -> None:
        incoming = self._incoming
        if not incoming.busy and self._on_data is not None:
            whole = whole_message(data)
            if whole is not None:
                self._on_data(whole)
                return
        payload = incoming.feed(data)
        if payload and self._on_data is not None:
            self._on_data(payload)
        if incoming.pong is not None:
            pong, incoming.pong = incoming.pong, None
            if not self._finishing:
                self._send_control(pong)
        if incoming.ended is not None:
            # Behind what this turn of the loop still sends: answers to what came before the end.
            self._loop.run_callback(self._end)

    def _end(self) -> None:
        """Answer how the client ended the conversation, or say what is wrong with it; then end the connection."""
        ending = self._incoming.ended
        assert ending is not None
        if self._finishing or self._on_lost is None:
            return
        self._reason = _reason(ending)
        if self._left or self._unsent:
            # A close frame cannot be told from the message under way.
            self._below.abort()
            return
        self._finishing = True
        self._send_control(close_frame(ending.code, ending.sentence))
        if ending.by_peer:
            self._below.abort()
        else:
            self._below.finish()

    def _handle_writable(self) -> None:
        if self._waiting and self._on_writable is not None:
            self._on_writable()
        else:
            self._send_on(b"")
        if self._unsent or self._waiting:
            return
        self._below.stop_waiting()
        if self._finishing:
            self._below.finish()

    def _handle_lost(self, reason: str) -> None:
        on_lost, self._on_lost = self._on_lost, None
        self._on_data = self._on_writable = None
        if on_lost is not None:
            on_lost(self._reason or reason)


def _reason(ending: Ending) -> str:
    return "the peer closed the connection" if ending.by_peer else f"not a WebSocket as it should be: {ending.sentence}"
