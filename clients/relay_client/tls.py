"""TLS for both shells: whom to trust, and a socket that says `BlockingIOError` like any other."""

import socket
import ssl

from relay_client.url import Endpoint


class UntrustedError(OSError):
    """The connection is not safe, or cannot be made so; the text says why and what to check."""


def make_context(endpoint: Endpoint) -> ssl.SSLContext:
    """Verifies certificate and host name, always. Raises UntrustedError if the CA file cannot be used."""
    try:
        return ssl.create_default_context(cafile=endpoint.ca)
    except OSError as error:
        why = error.strerror or error
        raise UntrustedError(
            f"the CA file {endpoint.ca} cannot be used ({why}); it has to hold certificates in PEM"
        ) from None


def explain(error: ssl.SSLError) -> str:
    """Why there is no TLS, and what to check."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"the relay's certificate is not trusted ({error.verify_message}); check the host name, and name the file "
            "of its authority if that is your own: relays://...?ca=FILE"
        )
    reason = getattr(error, "reason", None)
    if reason == "WRONG_VERSION_NUMBER":
        return "it does not speak TLS; use relay:// there if the network can be trusted"
    return f"TLS failed ({reason or error}); check that this is a relay with TLS"


class TlsSocket:
    """A connected socket behind TLS, with the part of a socket's interface that the pump uses."""

    def __init__(self, connection: socket.socket, endpoint: Endpoint) -> None:
        """Shakes hands within the timeout of `connection`, and owns it, also when it raises OSError."""
        try:
            self._tls = make_context(endpoint).wrap_socket(connection, server_hostname=endpoint.host)
        except BaseException:
            connection.close()
            raise

    def fileno(self) -> int:
        """For selectors."""
        return self._tls.fileno()

    def setblocking(self, flag: bool) -> None:
        """As on a socket."""
        self._tls.setblocking(flag)

    def settimeout(self, value: float | None) -> None:
        """As on a socket."""
        self._tls.settimeout(value)

    def send(self, data: bytearray) -> int:
        """How many bytes were taken. Raises BlockingIOError if none; then the same bytes have to come first again."""
        try:
            return self._tls.send(data)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise BlockingIOError from None

    def sendall(self, data: bytes) -> None:
        """As on a socket."""
        self._tls.sendall(data)

    def recv(self, size: int) -> bytes:
        """All that is decrypted, so that nothing is left behind which a selector cannot see."""
        try:
            data = self._tls.recv(size)
            while data and (more := self._tls.pending()):
                data += self._tls.recv(more)
            return data
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise BlockingIOError from None

    def shutdown(self, how: int) -> None:
        """As on a socket."""
        self._tls.shutdown(how)

    def close(self) -> None:
        """As on a socket."""
        self._tls.close()
