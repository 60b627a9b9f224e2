"""SCRAM-SHA-256 login (RFC 5802, RFC 7677) on top of `scramp`: the checks it leaves to us, and our error types.

Knows messages and keys, not packets, sockets or databases. The relay keeps salt, iteration count, StoredKey and
ServerKey; a password is seen only where it is set.
"""

import hashlib
import hmac
import os
import re
from collections.abc import Callable
from typing import NamedTuple

from scramp import ScramClient, ScramException, ScramMechanism
from scramp.utils import saslprep

from relay.protocol.codes import CloseCode
from relay.protocol.errors import RemoteError

MECHANISM = "SCRAM-SHA-256"

# RFC 7677 section 4 asks for at least 4,096 and for more where that is affordable. The client pays, once per login.
ITERATIONS_DEFAULT = 16_384
ITERATIONS_MIN = 4_096
# A hostile relay could ask for billions and burn the client's CPU (CVE-2026-42198 in pgjdbc).
ITERATIONS_MAX = 1_000_000

_mechanism = ScramMechanism(MECHANISM)
_SERVER_FIRST = re.compile(r"r=([\x21-\x2b\x2d-\x7e]+),s=([A-Za-z0-9+/=]+),i=([1-9][0-9]{0,9})(?:,.*)?")


class Credentials(NamedTuple):
    """What the relay stores of a password. It cannot be used to log in."""

    salt: bytes
    iterations: int
    stored_key: bytes
    server_key: bytes


class LoginRefusedError(Exception):
    """The other side did not prove what it had to prove. The text is for logs and never for the peer."""


def make_credentials(password: str, iterations: int = ITERATIONS_DEFAULT) -> Credentials:
    """Derive credentials from a password. Takes milliseconds of CPU: never call it on the event loop.

    Raises ValueError for a password that SASLprep refuses (control characters) or that is empty, and for a count that
    clients would refuse.
    """
    if not ITERATIONS_MIN <= iterations <= ITERATIONS_MAX:
        raise ValueError(f"an iteration count is {ITERATIONS_MIN} to {ITERATIONS_MAX}, not {iterations}")
    try:
        if not saslprep(password):
            raise ValueError("a password must not be empty")
        salt, stored_key, server_key, count = _mechanism.make_auth_info(password, iteration_count=iterations)
    except ScramException as error:
        raise ValueError(f"this password cannot be used: {error.args[0]}") from None
    return Credentials(salt, count, stored_key, server_key)


def fake_credentials(server_secret: bytes, user: str, iterations: int) -> Credentials:
    """Credentials for a user who does not exist: always the same for the same name, and matching no password."""

    def derive(what: bytes) -> bytes:
        return hmac.digest(server_secret, what + b"\0" + user.encode(), hashlib.sha256)

    return Credentials(derive(b"salt"), iterations, derive(b"stored"), derive(b"server"))


class ServerLogin:
    """The relay's side of one login. The methods are called in order: `first`, then `final`."""

    __slots__ = ("_exchange",)

    def __init__(self, user: str, credentials: Credentials, nonce: str | None = None) -> None:
        """`nonce`: the relay's part of it, random unless given (for worked examples)."""

        def look_up(name: str) -> tuple[bytes, bytes, bytes, int]:
            if name != user:
                raise LoginRefusedError("the SCRAM user name is not the one in HELLO")
            return credentials.salt, credentials.stored_key, credentials.server_key, credentials.iterations

        self._exchange = _mechanism.make_server(look_up, s_nonce=nonce)

    def first(self, client_first: bytes) -> bytes:
        """The server-first message. Raises LoginRefusedError."""
        self._step(self._exchange.set_client_first, client_first)
        return str(self._exchange.get_server_first()).encode()

    def final(self, client_final: bytes) -> bytes:
        """The server-final message, if the client proved that it knows the password. Raises LoginRefusedError."""
        self._step(self._exchange.set_client_final, client_final)
        return str(self._exchange.get_server_final()).encode()

    def _step(self, step: Callable[[str], None], message: bytes) -> None:
        try:
            step(message.decode("utf-8"))
        except (ScramException, UnicodeDecodeError) as error:
            raise LoginRefusedError(str(error)) from None


class ClientLogin:
    """The client's side of one login: `first`, `final`, `check`, in this order.

    `final` derives a key from the password, which takes milliseconds of CPU (6 ms at 16,384 iterations).
    """

    def __init__(self, user: str, password: str, nonce: str | None = None) -> None:
        """`nonce`: random unless given (for worked examples). Raises ValueError for a name or a password that
        SASLprep refuses (RFC 4013).
        """
        self._nonce = os.urandom(18).hex() if nonce is None else nonce
        try:
            self._exchange = ScramClient([MECHANISM], user, password, c_nonce=self._nonce)
        except ScramException as error:
            raise ValueError(f"this name or password cannot be used to log in: {error.args[0]}") from None

    def first(self) -> bytes:
        """The client-first message."""
        return str(self._exchange.get_client_first()).encode()

    def final(self, server_first: bytes) -> bytes:
        """The client-final message. Raises RemoteError if the relay's message is not acceptable."""
        match = _SERVER_FIRST.fullmatch(server_first.decode("ascii", "replace"))
        if match is None:
            raise RemoteError(CloseCode.BAD_PACKET, "the relay's SCRAM challenge is malformed")
        nonce, iterations = match[1], int(match[3])
        if not nonce.startswith(self._nonce) or len(nonce) <= len(self._nonce):
            raise RemoteError(CloseCode.BAD_PACKET, "the relay's nonce does not extend ours")
        if not ITERATIONS_MIN <= iterations <= ITERATIONS_MAX:
            raise RemoteError(
                CloseCode.BAD_PACKET,
                f"the relay asks for {iterations} key derivation rounds; "
                f"acceptable are {ITERATIONS_MIN} to {ITERATIONS_MAX}",
            )
        try:
            self._exchange.set_server_first(server_first.decode("ascii"))
            return str(self._exchange.get_client_final()).encode()
        except ScramException as error:
            raise RemoteError(CloseCode.BAD_PACKET, f"the relay's SCRAM challenge is refused: {error}") from None

    def check(self, server_final: bytes) -> None:
        """Raises RemoteError unless the relay proved that it knows this user's key (RFC 5802 section 5)."""
        try:
            self._exchange.set_server_final(server_final.decode("ascii"))
        except (ScramException, UnicodeDecodeError) as error:
            raise RemoteError(
                CloseCode.LOGIN_FAILED, f"the relay could not prove that it knows this account: {error}"
            ) from None
