"""Closing the books: every acknowledgement against the log on the disk, every device against the conversations."""

from pathlib import Path

from loadtest.torture.body import unseal
from loadtest.torture.books import Books, Conversation, key_of
from loadtest.torture.device import Device
from relay.protocol.errors import RemoteError
from relay.protocol.packets import Message, decode
from relay.store.base import Entry, Reader
from relay.store.sqlite import SqliteStore

_PAGE_MESSAGES = 10_000
_PAGE_BYTES = 16 * 1024 * 1024


def audit(books: Books, directory: Path) -> int:
    """Read the whole log of a relay that has ended. Returns how many messages stand in it. Raises StoreError."""
    store = SqliteStore(directory)
    try:
        return sum(_audit_conversation(books, conversation, store) for conversation in books.conversations)
    finally:
        store.close()


def settle(books: Books, devices: list[Device]) -> None:
    """Count what did not arrive, and what was never answered. To be called after `audit`."""
    for device in devices:
        for conversation, missing in device.behind():
            books.findings.add("lost", conversation.name, f"{missing} messages never came to {device.address}", missing)
        if device.unanswered:
            what = f"{device.address} got no answer to {device.unanswered} messages"
            books.findings.add("failed", "", what, device.unanswered)


def _audit_conversation(books: Books, conversation: Conversation, reader: Reader) -> int:
    """Compare one log with what was told about it."""
    last = 0
    told = conversation.head
    while page := reader.read(conversation.name, last, _PAGE_MESSAGES, _PAGE_BYTES):
        for entry in page:
            if entry.offset != last + 1:
                what = f"offset {entry.offset} follows {last} in the log"
                books.findings.add("lost", conversation.name, what, max(0, entry.offset - last - 1))
            last = entry.offset
            _audit_entry(books, conversation, entry)
    if last < told:
        what = f"the log ends at {last}, and {told} was acknowledged or delivered"
        books.findings.add("lost", conversation.name, what, told - last)
    return last


def _audit_entry(books: Books, conversation: Conversation, entry: Entry) -> None:
    try:
        message = decode(entry.packet)
    except RemoteError:
        message = None
    sealed = unseal(message.body) if isinstance(message, Message) else None
    if not isinstance(message, Message) or sealed is None:
        books.findings.add("corrupted", conversation.name, f"offset {entry.offset} in the log")
    elif not books.known(sealed, message.id, conversation):
        books.findings.add("unexpected", conversation.name, f"nobody sent what the log has at offset {entry.offset}")
    else:
        # Contradicts what a sender or a receiver was told, if another message stands here, or this one elsewhere.
        assert key_of(sealed)
        books.seen(sealed, conversation, entry.offset)
