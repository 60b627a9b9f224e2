"""What the tests of the store put into it."""

from collections.abc import Iterable

from relay.protocol.scram import Credentials
from relay.store.base import Append, Appended, Cursor, Refusal, Store

CREDENTIALS = Credentials(b"salt", 4096, b"stored key", b"server key")


def message(number: int, *, sender: str = "alice", to: str = "bob", device: str = "pc", text: str = "") -> Append:
    """A message with this id; the same arguments make the same packet."""
    first, second = sorted((sender, to))
    packet = f"{sender}/{device} to {to}: {number} {text}".encode()
    return Append(f"{first}@{second}", sender, device, number, packet)


def add_users(store: Store, *names: str) -> None:
    for name in names:
        store.add_account(name, CREDENTIALS, False, 1000)


def send(store: Store, items: Iterable[Append], time_ms: int = 5000) -> list[Appended | Refusal]:
    return store.append(list(items), time_ms)


def offsets(answers: Iterable[Appended | Refusal]) -> list[int]:
    """The offsets of messages that must all have been stored."""
    stored = []
    for answer in answers:
        assert isinstance(answer, Appended), answer
        stored.append(answer.offset)
    return stored


def cursor(user: str, device: str, delivered: int, read: int | None = None, conversation: str = "alice@bob") -> Cursor:
    return Cursor(user, device, conversation, delivered, read)
