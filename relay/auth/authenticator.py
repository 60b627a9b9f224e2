"""Deciding a login. A user who does not exist, or is disabled, goes through the same steps and bytes as one who gave a
wrong password: credentials made up from the relay's secret, always the same for the same name.
"""

from collections.abc import Callable

from relay.protocol.connection import ServerConnection
from relay.protocol.packets import Hello, Proof
from relay.protocol.scram import LoginRefusedError, fake_credentials
from relay.store.base import Account


class Authenticator:
    """Logins by SCRAM. `look_up` finds an account and may yield; everything else does not."""

    def __init__(self, look_up: Callable[[str], Account | None], secret: bytes, iterations: int) -> None:
        """`iterations` is what new accounts get: made-up credentials must not stand out from them."""
        self._look_up = look_up
        self._secret = secret
        self._iterations = iterations

    def challenge(self, connection: ServerConnection, hello: Hello) -> Account | None:
        """Answer HELLO with a challenge; returns the account that a right proof would open. Raises LoginRefusedError
        for a malformed SCRAM message.
        """
        account = self._look_up(hello.user)
        if account is not None and account.disabled:
            account = None
        if account is None:
            credentials = fake_credentials(self._secret, hello.user, self._iterations)
        else:
            credentials = account.credentials
        connection.challenge(hello.user, credentials, hello.data)
        return account

    def prove(self, connection: ServerConnection, account: Account | None, proof: Proof) -> bytes:
        """The relay's own proof for WELCOME. Raises LoginRefusedError."""
        data = connection.prove(proof)
        if account is None:
            raise LoginRefusedError("made-up credentials were proven")
        return data
