"""Deciding a login, by password (SCRAM) or by ticket.

A user who does not exist goes through the same steps and bytes as one who gave a wrong password: credentials made up
from the relay's secret, always the same for the same name, with an iteration count as common as it is among real
accounts. A disabled one is asked for her own proof and refused behind it.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from relay.auth.tickets import TicketRefusedError, Tickets, check_held
from relay.protocol.connection import ServerConnection
from relay.protocol.mac import sign
from relay.protocol.packets import Hello, Proof
from relay.protocol.scram import LoginRefusedError, fake_credentials
from relay.protocol.tickets import is_proven, read_presented, relay_proof
from relay.store.base import Account, Store


class Admission(NamedTuple):
    """Who is let in, what proves the relay to her, and her ticket for the next time."""

    account: Account
    data: bytes
    ticket: bytes | None


Decision = Admission | LoginRefusedError | TicketRefusedError

# What a login does with the store. It runs on the store's thread, perhaps twice if a transaction failed.
Admit = Callable[[Store], Decision]


class Authenticator:
    """Logins. `look_up` finds an account and may yield; everything else does not."""

    def __init__(
        self,
        look_up: Callable[[str], Account | None],
        secret: bytes,
        iterations: int,
        tickets: Tickets,
        clock_ms: Callable[[], int],
    ) -> None:
        """`iterations` is what new accounts get: made-up credentials must not stand out from them."""
        self._look_up = look_up
        self._secret = secret
        self._iterations = {iterations: 1}
        self._tickets = tickets
        self._clock_ms = clock_ms

    def resemble(self, accounts_by_iterations: Mapping[int, int]) -> None:
        """Make made-up accounts look like the real ones: so many of these have each iteration count."""
        if accounts_by_iterations:
            self._iterations = dict(sorted(accounts_by_iterations.items()))

    def challenge(self, connection: ServerConnection, hello: Hello) -> Account | None:
        """Answer HELLO with a challenge; returns the account that a right proof may open. Raises LoginRefusedError
        for a malformed SCRAM message.
        """
        account = self._look_up(hello.user)
        if account is None:
            credentials = fake_credentials(self._secret, hello.user, self._plausible_iterations(hello.user))
        else:
            credentials = account.credentials
        connection.challenge(hello.user, credentials, hello.data)
        return account

    def prove(self, connection: ServerConnection, account: Account | None, proof: Proof) -> bytes:
        """The relay's own proof for WELCOME. Raises LoginRefusedError."""
        data = connection.prove(proof)
        if account is None:
            raise LoginRefusedError("made-up credentials were proven")
        if account.disabled:
            raise LoginRefusedError("the account is disabled")
        return data

    def admit(self, account: Account, device: str, data: bytes) -> Admit:
        """Let in who has proved her password, with a ticket; `data` is the relay's own proof."""

        def give(store: Store) -> Decision:
            ticket = self._tickets.issue(account.name, device, self._clock_ms())
            if not store.hold_ticket(account.name, device, account.credentials.stored_key, ticket.held):
                return LoginRefusedError("the account was changed meanwhile")
            return Admission(account, data, ticket.data)

        def without(store: Store) -> Decision:
            return Admission(account, data, None)

        return give if self._tickets.enabled else without

    def redeem(self, hello: Hello) -> Admit:
        """Let in who presents a valid ticket, and give her the next one. Raises TicketRefusedError for what is not a
        ticket of this relay for this user and device.
        """
        presented = read_presented(hello.data)
        if presented is None:
            raise TicketRefusedError("this is not a ticket", forged=True)
        user, device = hello.user, hello.device
        mark = self._tickets.mark_of(presented.ticket, user, device)

        def exchange(store: Store) -> Decision:
            now_ms = self._clock_ms()
            account = store.account(user)
            if account is None or account.disabled:
                return TicketRefusedError("this ticket was revoked, or has expired")
            server_key = account.credentials.server_key
            try:
                check_held(mark, store.held_ticket(user, device), now_ms)
            except TicketRefusedError as error:
                return error
            if not is_proven(server_key, presented):
                return TicketRefusedError("the proof is not one for this ticket", forged=True)
            following = self._tickets.issue(user, device, now_ms)
            if not store.hold_ticket(user, device, account.credentials.stored_key, following.held):
                return TicketRefusedError("this ticket was revoked")
            return Admission(account, relay_proof(server_key, presented.nonce, presented.ticket), following.data)

        return exchange

    def _plausible_iterations(self, user: str) -> int:
        """The count that this name would have if real accounts are anything to go by: always the same, and when people
        move to a higher count by setting passwords, so do those who do not exist.
        """
        total = sum(self._iterations.values())
        place = int.from_bytes(sign(self._secret, b"place\0" + user.encode())[:8]) * total >> 64
        for count, accounts in self._iterations.items():
            place -= accounts
            if place < 0:
                return count
        return max(self._iterations)
