"""A real relay process with accounts, for tests that want the real thing."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from relay.protocol.scram import make_credentials
from relay.store.sqlite import SqliteStore
from tests.process import Running, running

PASSWORD = "secret"
CREDENTIALS = make_credentials(PASSWORD, 4096)


class Town:
    """A relay's data directory, and its address while it runs. It keeps its port over restarts."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.data = home / "data"
        self.address = "127.0.0.1:0"
        self.process: Running | None = None

    def add(self, *users: str, bot: bool = False) -> None:
        """Add accounts with the password PASSWORD, before the relay runs or while it does."""
        self.data.mkdir(exist_ok=True)
        store = SqliteStore(self.data)
        try:
            for user in users:
                store.add_account(user, CREDENTIALS, bot, 0)
        finally:
            store.close()

    def url(self, user: str) -> str:
        return f"relay://{user}:{PASSWORD}@{self.address}"

    @contextmanager
    def open(self) -> Iterator["Town"]:
        """Run the relay until the end of the block."""
        words = ("serve", "--listen", self.address, "--data", str(self.data), "--drain-spread-s", "0.2")
        with running(*words, home=self.home) as self.process:
            self.address = self.process.line().removeprefix("listening on ")
            yield self
