"""SCRAM-SHA-256 login (RFC 5802, RFC 7677): both ends, with the checks that keep either from being fooled.

Knows messages and keys, not packets, sockets or databases. The relay keeps salt, iteration count, StoredKey and
ServerKey; a password is seen only where it is set. `scramp` prepares passwords, derives credentials and reads the
relay's messages for the client. The relay's end is two patterns and four hashes of our own, an eighth of what
scramp's costs a login; the tests hold either end against scramp's other one.
"""

import binascii
import hashlib
import hmac
import os
import re
from typing import NamedTuple

from scramp import ScramClient, ScramException, ScramMechanism
from scramp.utils import saslprep

from relay.protocol.codes import CloseCode
from relay.protocol.errors import RemoteError
from relay.protocol.mac import sign

MECHANISM = "SCRAM-SHA-256"

# RFC 7677 section 4 asks for at least 4,096 and for more where that is affordable. The client pays, once per login.
ITERATIONS_DEFAULT = 16_384
ITERATIONS_MIN = 4_096
# A hostile relay could ask for billions and burn the client's CPU (CVE-2026-42198 in pgjdbc).
ITERATIONS_MAX = 1_000_000

_mechanism = ScramMechanism(MECHANISM)
# No channel binding, no other identity, no extension that must be understood; extensions behind the nonce are ignored.
_CLIENT_FIRST = re.compile(r"([ny],,)(n=((?:[^,=\0]|=2C|=3D)+),r=([\x21-\x2b\x2d-\x7e]+)(?:,[A-Za-ln-qs-z]=[^,\0]+)*)")
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
        return sign(server_secret, what + b"\0" + user.encode())

    return Credentials(derive(b"salt"), iterations, derive(b"stored"), derive(b"server"))


def _xor(one: bytes, other: bytes) -> bytes:
    return (int.from_bytes(one) ^ int.from_bytes(other)).to_bytes(len(one))


def _base64(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).decode()


class ServerLogin:
    """The relay's side of one login. The methods are called in order: `first`, then `final`, each once."""

    __slots__ = ("_auth_message", "_credentials", "_nonce", "_user", "_without_proof")

    def __init__(self, user: str, credentials: Credentials, nonce: str | None = None) -> None:
        """`nonce`: the relay's part of it, random unless given (for worked examples)."""
        self._user = user
        self._credentials = credentials
        self._nonce = os.urandom(18).hex() if nonce is None else nonce
        self._without_proof = ""
        self._auth_message = ""

    def first(self, client_first: bytes) -> bytes:
        """The server-first message. Raises LoginRefusedError."""
        match = _CLIENT_FIRST.fullmatch(_text(client_first))
        if match is None:
            raise LoginRefusedError("the client's first SCRAM message is malformed, or asks for what is not supported")
        gs2_header, bare, name, client_nonce = match.groups()
        if name.replace("=2C", ",").replace("=3D", "=") != self._user:
            raise LoginRefusedError("the SCRAM user name is not the one in HELLO")
        nonce = client_nonce + self._nonce
        server_first = f"r={nonce},s={_base64(self._credentials.salt)},i={self._credentials.iterations}"
        self._without_proof = f"c={_base64(gs2_header.encode())},r={nonce}"
        self._auth_message = f"{bare},{server_first},"
        return server_first.encode()

    def final(self, client_final: bytes) -> bytes:
        """The server-final message, if the client proved that it knows the password. Raises LoginRefusedError."""
        expected, self._without_proof = self._without_proof, ""
        without_proof, _, proof_text = _text(client_final).rpartition(",p=")
        if not expected or (without_proof != expected and not without_proof.startswith(expected + ",")):
            raise LoginRefusedError("the client's final SCRAM message does not continue this login")
        try:
            proof = binascii.a2b_base64(proof_text, strict_mode=True)
        except ValueError:
            raise LoginRefusedError("the client's proof is not base64") from None
        stored_key, auth_message = self._credentials.stored_key, (self._auth_message + without_proof).encode()
        if len(proof) != hashlib.sha256().digest_size:
            raise LoginRefusedError("the client's proof has another length than a key")
        client_key = _xor(sign(stored_key, auth_message), proof)
        if not hmac.compare_digest(hashlib.sha256(client_key).digest(), stored_key):
            raise LoginRefusedError("the client's key is not the one that is stored")
        return f"v={_base64(sign(self._credentials.server_key, auth_message))}".encode()


def _text(message: bytes) -> str:
    try:
        return message.decode()
    except UnicodeDecodeError:
        raise LoginRefusedError("a SCRAM message is not UTF-8") from None


class ClientLogin:
    """The client's side of one login: `first`, `final`, `check`, in this order.

    `final` derives a key from the password, which takes milliseconds of CPU (6 ms at 16,384 iterations).
    """

    def __init__(self, user: str, password: str, nonce: str | None = None) -> None:
        """`nonce`: random unless given (for worked examples). Raises ValueError for a name or a password that
        SASLprep refuses (RFC 4013).
        """
        self._nonce = os.urandom(18).hex() if nonce is None else nonce
        self._auth_message = b""
        # Known once `final` was called.
        self.server_key = b""
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
        except ScramException as error:
            raise RemoteError(CloseCode.BAD_PACKET, f"the relay's SCRAM challenge is refused: {error}") from None
        return self._prove(f"c=biws,r={nonce}", server_first, iterations)

    def check(self, server_final: bytes) -> None:
        """Raises RemoteError unless the relay proved that it knows this user's key (RFC 5802 section 5)."""
        expected = f"v={_base64(sign(self.server_key, self._auth_message))}".encode()
        if not self._auth_message or not hmac.compare_digest(server_final, expected):
            raise RemoteError(CloseCode.LOGIN_FAILED, "the relay could not prove that it knows this account")

    def _prove(self, without_proof: str, server_first: bytes, iterations: int) -> bytes:
        exchange = self._exchange
        salted = hashlib.pbkdf2_hmac("sha256", bytes(exchange.password), bytes(exchange.salt), iterations)
        client_key = sign(salted, b"Client Key")
        self.server_key = sign(salted, b"Server Key")
        self._auth_message = b",".join((exchange.client_first_bare.encode(), server_first, without_proof.encode()))
        signature = sign(hashlib.sha256(client_key).digest(), self._auth_message)
        return f"{without_proof},p={_base64(_xor(client_key, signature))}".encode()
