"""Resume tickets: what is in one, which one of a device is valid, and what is wrong with any other.

A ticket is `[version, random, tag]`, the tag an HMAC over the random part, the user and the device, with a key that
only this relay's data knows: what does not come from here is refused without a question to the store. Of each device
the store keeps one mark, a hash of the random part: the newest ticket's. Giving out the next one takes its place in
the transaction in which the login asks the store anyway, so a ticket opens one session, also across a crash, and a
stolen database holds no ticket. See docs/decisions/tickets.md.
"""

import hashlib
import hmac
import os
from typing import NamedTuple

from relay.protocol.mac import sign
from relay.store.base import HeldTicket

_VERSION = b"\x01"
_RANDOM_BYTES = 16
_TAG_BYTES = 32
TICKET_BYTES = len(_VERSION) + _RANDOM_BYTES + _TAG_BYTES


class TicketRefusedError(Exception):
    """The client has to log in with its password. The text is for it and for the log.

    `forged`: this was never a ticket for who presents it, or she could not prove that it is hers. That counts as a
    failed login. A ticket that is merely too old, or used, does not: a crowd has such after a cut, all at once.
    """

    def __init__(self, sentence: str, *, forged: bool = False) -> None:
        super().__init__(f"{sentence}; log in with the password")
        self.forged = forged


class Ticket(NamedTuple):
    """A ticket as the client gets it, and what the store keeps of it."""

    data: bytes
    held: HeldTicket


class Tickets:
    """Makes and recognises tickets. Pure: time is passed in, in milliseconds of the wall clock."""

    def __init__(self, secret: bytes, lifetime_s: float) -> None:
        """`secret` is the relay's own; `lifetime_s` 0: there are no tickets."""
        self._key = sign(secret, b"resume tickets")
        self._lifetime_ms = int(lifetime_s * 1000)

    @property
    def enabled(self) -> bool:
        """Whether tickets are given out and taken."""
        return self._lifetime_ms > 0

    def until_ms(self, now_ms: int) -> int:
        """How long a ticket is good whose session is there now."""
        return now_ms + self._lifetime_ms

    def issue(self, user: str, device: str, now_ms: int) -> Ticket:
        """A new ticket."""
        random = os.urandom(_RANDOM_BYTES)
        data = _VERSION + random + self._tag(random, user, device)
        return Ticket(data, HeldTicket(_mark(random), self.until_ms(now_ms)))

    def mark_of(self, ticket: bytes, user: str, device: str) -> bytes:
        """By what the store knows the ticket. Raises TicketRefusedError if it is not one of ours for this device."""
        if not self.enabled:
            raise TicketRefusedError("this relay takes no tickets")
        random, tag = ticket[len(_VERSION) : len(_VERSION) + _RANDOM_BYTES], ticket[len(_VERSION) + _RANDOM_BYTES :]
        if not ticket.startswith(_VERSION) or not hmac.compare_digest(tag, self._tag(random, user, device)):
            raise TicketRefusedError("this is not a ticket of this relay for this user and device", forged=True)
        return _mark(random)

    def _tag(self, random: bytes, user: str, device: str) -> bytes:
        # Neither name can hold a slash.
        return sign(self._key, _VERSION + random + f"{user}/{device}".encode())


def check_held(mark: bytes, held: HeldTicket | None, now_ms: int) -> None:
    """Raises TicketRefusedError unless the ticket with this mark is the one that the store holds, and in time."""
    if held is None:
        raise TicketRefusedError("this ticket was revoked, or has expired")
    if not hmac.compare_digest(mark, held.mark):
        raise TicketRefusedError("this ticket was used before, or a later login has taken its place")
    if now_ms >= held.until_ms:
        raise TicketRefusedError("this ticket has expired")


def _mark(random: bytes) -> bytes:
    return hashlib.sha256(random).digest()[:_RANDOM_BYTES]
