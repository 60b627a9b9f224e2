"""The client's side of SCRAM-SHA-256 with the slow key derived once for all users.

The load test gives all its accounts one salt and one password, so PBKDF2 runs once in a process instead of thousands
of times: what is measured is the relay. The mutual proof is complete all the same.
"""

import base64
import hashlib
import hmac
import itertools
import os
from functools import lru_cache
from typing import NamedTuple

PASSWORD = "load test"  # noqa: S105 - of accounts that live as long as a run

_nonces = itertools.count()
_NONCE_PREFIX = os.urandom(12).hex()


class LoginError(Exception):
    """The relay did not let the user in, or could not prove that it knows her."""


class _Keys(NamedTuple):
    client: bytes
    stored: bytes
    server: bytes


@lru_cache(maxsize=4)
def _keys(salt: bytes, iterations: int) -> _Keys:
    salted = hashlib.pbkdf2_hmac("sha256", PASSWORD.encode(), salt, iterations)
    client = hmac.digest(salted, b"Client Key", "sha256")
    return _Keys(client, hashlib.sha256(client).digest(), hmac.digest(salted, b"Server Key", "sha256"))


class KnownPasswordLogin:
    """One exchange (RFC 5802 section 3): `first`, `final`, `check`, in this order."""

    __slots__ = ("_bare", "_proven", "_signature", "server_key")

    def __init__(self, user: str) -> None:
        """`user` needs no SASLprep: names of the load test are plain ASCII."""
        self._bare = f"n={user},r={_NONCE_PREFIX}{next(_nonces)}"
        self._signature = b""
        # Known once `final` was called.
        self.server_key = b""

    def first(self) -> bytes:
        """The client-first message."""
        return b"n,," + self._bare.encode()

    def final(self, server_first: bytes) -> bytes:
        """The client-final message. Raises LoginError if the challenge is not one."""
        try:
            fields = dict(field.split("=", 1) for field in server_first.decode().split(","))
            nonce, salt, iterations = fields["r"], base64.b64decode(fields["s"]), int(fields["i"])
        except (KeyError, ValueError):
            raise LoginError("the challenge is not a SCRAM message") from None
        keys = _keys(salt, iterations)
        without_proof = f"c=biws,r={nonce}"
        said = f"{self._bare},{server_first.decode()},{without_proof}".encode()
        signature = hmac.digest(keys.stored, said, "sha256")
        proof = bytes(a ^ b for a, b in zip(keys.client, signature, strict=True))
        self.server_key = keys.server
        self._signature = hmac.digest(keys.server, said, "sha256")
        return f"{without_proof},p={base64.b64encode(proof).decode()}".encode()

    def check(self, server_final: bytes) -> None:
        """Raises LoginError unless the relay proved that it knows the account."""
        if server_final != b"v=" + base64.b64encode(self._signature):
            raise LoginError("the relay could not prove that it knows the account")
