"""Coming back with a resume ticket: one message each way (docs/protocol.md section 7, "Resume tickets").

A ticket alone opens nothing. Who presents it proves to know the account's ServerKey, which both ends have from the
login that gave the ticket and which never crosses the wire; the relay proves the same in its answer. A fresh nonce of
the client's keeps a recorded answer from proving anything. Knows keys and messages, not clocks or stores.
"""

import hmac
import os
from typing import NamedTuple

from relay.protocol.codes import CloseCode
from relay.protocol.errors import RemoteError
from relay.protocol.mac import sign

MECHANISM = "TICKET"

NONCE_BYTES = 16
PROOF_BYTES = 32

# Before login a frame has 4 KiB; a client need not keep more than this.
TICKET_MAX_BYTES = 1024

# Neither can be the beginning of a SCRAM message, which ServerKey signs, too: that begins with "n=".
_CLIENT = b"ticket client"
_RELAY = b"ticket relay"


class Resume(NamedTuple):
    """What a client keeps of a login for the next one. As secret as a password, for as long as the ticket lives."""

    ticket: bytes
    server_key: bytes

    def __repr__(self) -> str:
        return f"<Resume: a ticket of {len(self.ticket)} bytes>"


class Presented(NamedTuple):
    """What HELLO carries in `data`."""

    nonce: bytes
    proof: bytes
    ticket: bytes


def read_presented(data: bytes) -> Presented | None:
    """The parts of HELLO's `data`; None if it is too short or too long to have them."""
    ends = NONCE_BYTES + PROOF_BYTES
    if not 0 < len(data) - ends <= TICKET_MAX_BYTES:
        return None
    return Presented(data[:NONCE_BYTES], data[NONCE_BYTES:ends], data[ends:])


def client_proof(server_key: bytes, nonce: bytes, ticket: bytes) -> bytes:
    """That the client has the key which belongs to the ticket."""
    return sign(server_key, _CLIENT + nonce + ticket)


def relay_proof(server_key: bytes, nonce: bytes, ticket: bytes) -> bytes:
    """That the relay knows the account."""
    return sign(server_key, _RELAY + nonce + ticket)


def is_proven(server_key: bytes, presented: Presented) -> bool:
    """Whether the client knows the key. In constant time."""
    expected = client_proof(server_key, presented.nonce, presented.ticket)
    return hmac.compare_digest(expected, presented.proof)


class ClientTicket:
    """The client's side of one login by ticket: `first`, then `check`."""

    def __init__(self, resume: Resume, nonce: bytes | None = None) -> None:
        """`nonce`: random unless given (for worked examples)."""
        self.server_key = resume.server_key
        self._ticket = resume.ticket
        self._nonce = os.urandom(NONCE_BYTES) if nonce is None else nonce

    def first(self) -> bytes:
        """HELLO's `data`."""
        return self._nonce + client_proof(self.server_key, self._nonce, self._ticket) + self._ticket

    def check(self, data: bytes) -> None:
        """Raises RemoteError unless the relay proved that it knows this user's key."""
        if not hmac.compare_digest(relay_proof(self.server_key, self._nonce, self._ticket), data):
            raise RemoteError(CloseCode.LOGIN_FAILED, "the relay could not prove that it knows this account")
