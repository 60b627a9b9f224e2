"""A real relay process for a whole test module, and users of each test's own."""

import json
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from relay.cli import root
from relay.protocol.scram import make_credentials
from relay.store.sqlite import SqliteStore
from tests.process import Running, run, running


class Town:
    """A running relay with its data directory; `user` adds an account, `home` is a directory of the test's own."""

    _numbers = count(1)

    def __init__(self, home: Path, data: Path, address: str) -> None:
        self.home = home
        self.data = data
        self.address = address

    def user(self, name: str = "user", *, bot: bool = False) -> str:
        """Add an account whose password is `secret-NAME`; the name is made unique."""
        name = f"{name}{next(self._numbers)}"
        store = SqliteStore(self.data)
        store.add_account(name, make_credentials(f"secret-{name}", 4096), bot, int(time.time() * 1000))
        store.close()
        return name

    @property
    def on_data(self) -> tuple[str, str]:
        return "--data", str(self.data)

    def url(self, user: str) -> str:
        return f"relay://{user}:secret-{user}@{self.address}"

    def env(self, user: str) -> dict[str, str]:
        return {"RELAY_URL": self.url(user)}

    def run(self, *words: str, user: str | None = None, stdin: bytes = b""):  # type: ignore[no-untyped-def]
        return run(*words, home=self.home, stdin=stdin, env=self.env(user) if user else None)

    def received(self, user: str, number: int, *words: str) -> list[dict[str, object]]:
        """The next messages of a user, as objects. Fails if they do not come."""
        done = self.run("listen", "--json", "--count", str(number), "--timeout", "20", *words, user=user)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, Path, str]]:
    home = tmp_path_factory.mktemp("relay")
    with running("serve", "--listen", "127.0.0.1:0", "--data", str(home / "data"), home=home) as process:
        address = process.line().removeprefix("listening on ")
        yield process, home / "data", address
        assert process.stop() == 0


@pytest.fixture
def town(relay: tuple[Running, Path, str], tmp_path: Path) -> Town:
    _, data, address = relay
    return Town(tmp_path, data, address)


def invoke(*words: str) -> Result:
    """A command in this process, for what needs no relay."""
    return CliRunner().invoke(root, words)


def accounts(home: Path) -> dict[str, dict[str, object]]:
    """The accounts in `data`, by name."""
    done = run("user", "list", "--json", home=home)
    assert done.returncode == 0, done.stderr
    return {row["name"]: row for row in map(json.loads, done.stdout.splitlines())}
