"""What the tests of the store put into it."""

from collections.abc import Iterable

from relay.protocol.frames import encode_frame
from relay.protocol.scram import Credentials
from relay.store.base import Answer, Append, Appended, Cursor, Store

CREDENTIALS = Credentials(b"salt", 4096, b"stored key", b"server key")


def message(number: int, *, sender: str = "alice", to: str = "bob", device: str = "pc", text: str = "") -> Append:
    """A message with this id; the same arguments make the same packet."""
    first, second = sorted((sender, to))
    packet = f"{sender}/{device} to {to}: {number} {text}".encode()
    return Append(f"{first}@{second}", sender, device, number, packet)


def add_users(store: Store, *names: str) -> None:
    for name in names:
        store.add_account(name, CREDENTIALS, False, 1000)


def run_of(items: Iterable[Append]) -> Append:
    """Messages of one device and conversation with successive ids and packets of one size, as a run."""
    items = list(items)
    frames = [encode_frame(item.packet) for item in items]
    assert len(set(map(len, frames))) == 1
    assert [item.message_id for item in items] == [items[0].message_id + at for at in range(len(items))]
    return items[0]._replace(packet=b"".join(frames), total=len(items))


def send(store: Store, items: Iterable[Append], time_ms: int = 5000) -> list[Answer]:
    return store.append(list(items), time_ms)


def offsets(answers: Iterable[Answer]) -> list[int]:
    """The offsets of messages that must all have been stored."""
    stored = []
    for answer in answers:
        assert isinstance(answer, Appended), answer
        stored.append(answer.offset)
    return stored


def cursor(user: str, device: str, delivered: int, read: int | None = None, conversation: str = "alice@bob") -> Cursor:
    return Cursor(user, device, conversation, delivered, read)
