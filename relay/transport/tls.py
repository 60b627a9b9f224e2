"""TLS on top of a socket: the same bytes, encrypted. OpenSSL works on memory, so a session behind it needs no greenlet.

The handshake and the login run in the greenlet that the connection has until its session begins (`TlsStream`); then
loop callbacks carry the records (`TlsConnection`). `Tls` is what the relay knows: certificate and key.
"""

import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from relay.transport.connection import Connection, Loop, Transport
from relay.transport.stream import Stream, finish

# The first byte of a TLS connection: a record of type handshake (RFC 8446 section 5.1).
FIRST_BYTE = 0x16

# What is encrypted at once: enough for few calls, and little enough when the kernel is full.
_CHUNK_BYTES = 64 * 1024

_READ_BYTES = 256 * 1024


class TlsError(Exception):
    """Certificate or key cannot be used; the text says why and what to do."""


class Tls:
    """The relay's certificate and key. New connections use what was loaded last."""

    def __init__(self, certificate: Path, key: Path) -> None:
        """Read the files. Raises TlsError."""
        self._certificate = certificate
        self._key = key
        self._context = _load(certificate, key)

    def reload(self) -> None:
        """Read the files again. Raises TlsError; the old ones stay in use then."""
        self._context = _load(self._certificate, self._key)

    def accept(self, stream: Stream, first: bytes) -> "TlsStream":
        """The stream behind the TLS handshake; `first` is what the client has sent. Yields. Raises OSError."""
        tls = TlsStream(stream, self._context, first)
        tls.shake_hands()
        return tls


def _load(certificate: Path, key: Path) -> ssl.SSLContext:
    for what, path in (("tls_cert", certificate), ("tls_key", key)):
        try:
            path.read_bytes()
        except OSError as error:
            raise TlsError(f"{what}: {path} cannot be read: {error.strerror}") from None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except (ssl.SSLError, ValueError) as error:
        why = getattr(error, "reason", None) or error
        raise TlsError(
            f"{certificate} and {key} cannot be used for TLS ({why}): tls_cert has to be a PEM file with the chain of "
            "certificates, the relay's own first, and tls_key the key of that one, without a password"
        ) from None
    return context


def _no_password() -> str:
    raise ValueError("the key is encrypted")


class TlsStream:
    """A `LayeredStream`: TLS as the server, over another stream."""

    def __init__(self, below: Stream, context: ssl.SSLContext, received: bytes) -> None:
        self._below = below
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_side=True)
        self._in.write(received)
        self._ahead = b""

    def shake_hands(self) -> None:
        """The handshake. Yields. Raises OSError, which is said to the client as an alert."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush()
                if not self._fill():
                    raise ConnectionResetError("left during the TLS handshake") from None
            except ssl.SSLError:
                with suppress(OSError):
                    self._flush()
                raise
            else:
                self._flush()
                return

    def unread(self, data: bytes) -> None:
        """Have `recv` return this first."""
        self._ahead = data + self._ahead

    def recv(self, size: int, /) -> bytes:
        """What was sent, decrypted; empty at the end. Yields."""
        data, self._ahead = self._ahead, b""
        while not data:
            try:
                data = self._tls.read(size)
                break
            except ssl.SSLWantReadError:
                self._flush()
                if not self._fill():
                    break
            except ssl.SSLZeroReturnError:
                break
        return data

    def sendall(self, data: bytes, /) -> None:
        """Encrypt and send. Yields."""
        if data:
            self._tls.write(data)
        self._flush()

    def finish(self, code: int) -> None:
        """Say that no more comes. Yields."""
        _begin_end(self._tls)
        with suppress(OSError):
            self._flush()
        finish(self._below, code)

    def close(self) -> None:
        """End at once."""
        self._below.close()

    def establish(self, peer: str, loop: Loop) -> Transport:
        """The same connection, driven by loop callbacks."""
        assert not self._ahead
        below = Connection(self._below, peer, loop)  # type: ignore[arg-type]
        return TlsConnection(below, self._tls, self._in, self._out, loop)

    def _flush(self) -> None:
        if self._out.pending:
            self._below.sendall(self._out.read())

    def _fill(self) -> bool:
        data = self._below.recv(4096)
        self._in.write(data)
        return bool(data)


class TlsConnection:
    """An established connection through TLS: a `Transport`. No method yields."""

    __slots__ = (
        "_below",
        "_finishing",
        "_in",
        "_loop",
        "_on_data",
        "_on_lost",
        "_on_writable",
        "_out",
        "_reason",
        "_tls",
        "_unsent",
        "_waiting",
    )

    def __init__(
        self, below: Connection, tls: ssl.SSLObject, into: ssl.MemoryBIO, out: ssl.MemoryBIO, loop: Loop
    ) -> None:
        self._below = below
        self._tls = tls
        self._in = into
        self._out = out
        self._loop = loop
        # Records that the kernel has not taken yet.
        self._unsent = b""
        self._waiting = False
        self._finishing = False
        self._reason = ""
        self._on_data: Callable[[bytes], None] | None = None
        self._on_writable: Callable[[], None] | None = None
        self._on_lost: Callable[[str], None] | None = None

    def __repr__(self) -> str:
        return f"<TlsConnection over {self._below}>"

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
        self._below.start(self._handle_records, self._handle_writable, self._handle_lost)
        if self._in.pending or self._tls.pending():
            self._loop.run_callback(self._handle_records, b"")

    def send(self, data: bytes | memoryview) -> int:
        """Encrypt and hand to the kernel; how many bytes were taken. One record's worth may wait here."""
        taken = 0
        while taken < len(data) and self._flush():
            chunk = data[taken : taken + _CHUNK_BYTES] if taken or len(data) > _CHUNK_BYTES else data
            try:
                self._tls.write(chunk)
            except ssl.SSLError as error:
                self._fail(error)
                return len(data)
            self._unsent = self._out.read()
            taken += len(chunk)
        if self._unsent and not self._flush():
            self._below.wait_writable()
        return taken

    def send_pieces(self, pieces: Sequence[bytes | memoryview]) -> int:
        """As `send`, for bytes that lie in several places. Small ones share a record."""
        if sum(map(len, pieces)) <= _CHUNK_BYTES:
            return self.send(b"".join(pieces))
        total = 0
        for piece in pieces:
            sent = self.send(piece)
            total += sent
            if sent < len(piece):
                break
        return total

    def defer(self, later: Callable[[Callable[[], None]], None]) -> None:
        """Read on only when `later` says so."""
        self._below.defer(later)

    def keep_short(self) -> None:
        """Have the kernel take little ahead."""
        self._below.keep_short()

    def wait_writable(self) -> None:
        """Call `on_writable` when more can be sent, until `stop_waiting`."""
        self._waiting = True
        self._below.wait_writable()

    def stop_waiting(self) -> None:
        """The opposite of `wait_writable`."""
        self._waiting = False
        if not self._unsent:
            self._below.stop_waiting()

    def pause(self) -> None:
        """Stop reading."""
        self._below.pause()

    def resume(self) -> None:
        """Read again."""
        self._below.resume()

    def finish(self, code: int = 1000) -> None:
        """End the connection behind what was sent."""
        if self._finishing:
            return
        self._finishing = True
        _begin_end(self._tls)
        self._send_records()
        if not self._unsent:
            self._below.finish()

    def abort(self) -> None:
        """End the connection now."""
        self._below.abort()

    def _flush(self) -> bool:
        """Send what is encrypted already; whether all of it went."""
        if self._unsent:
            self._unsent = self._unsent[self._below.send(self._unsent) :]
        return not self._unsent

    def _send_records(self) -> None:
        """Send what OpenSSL itself has to say: answers to requests for new keys, the end."""
        if self._out.pending:
            self._unsent += self._out.read()
        if not self._flush():
            self._below.wait_writable()

    def _handle_records(self, data: bytes) -> None:
        if self._on_lost is None:
            return
        self._in.write(data)
        parts = []
        try:
            while part := self._tls.read(_READ_BYTES):
                parts.append(part)
            self._reason = "the peer closed the connection"
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self._reason = "the peer closed the connection"
        except ssl.SSLError as error:
            self._reason = f"TLS failed: {error.reason or error}"
        if self._out.pending:
            self._send_records()
        if parts and self._on_data is not None:
            self._on_data(parts[0] if len(parts) == 1 else b"".join(parts))
        if self._reason:
            # Behind what this turn of the loop still sends.
            self._loop.run_callback(self._below.abort)

    def _fail(self, error: ssl.SSLError) -> None:
        self._reason = f"TLS failed: {error.reason or error}"
        self._below.abort()

    def _handle_writable(self) -> None:
        if not self._flush():
            return
        if self._waiting and self._on_writable is not None:
            self._on_writable()
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


def _begin_end(tls: ssl.SSLObject) -> None:
    """Make the record that says that no more comes; the peer's own is not waited for."""
    with suppress(ssl.SSLError, OSError):
        tls.unwrap()
