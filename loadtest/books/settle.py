"""Closing the books: everything that anybody sent against everything that anybody received."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from loadtest.books.ledger import Numbers, split_key, stream_key
from loadtest.books.tally import Tally

# So many streams with losses are named for each kind; the rest is only counted.
EXAMPLES_MAX = 10

Books = Mapping[int, Mapping[str, Any]]


class Settlement:
    """What the comparison found. `examples` are (kind, sentence) for the first streams with something missing."""

    def __init__(self) -> None:
        self.tally = Tally()
        self.examples: list[tuple[str, str]] = []

    def miss(self, what: str, sender: int, receiver: int, numbers: list[int]) -> None:
        """Count numbers of one stream."""
        self.tally[what] += len(numbers)
        if sum(kind == what for kind, _ in self.examples) < EXAMPLES_MAX:
            shown = ", ".join(map(str, numbers[:5])) + (", ..." if len(numbers) > 5 else "")
            self.examples.append((what, f"{what}: user {sender} to user {receiver}, number {shown}"))


def settle(books: Books, members: Callable[[int], Iterable[int]] = lambda room: ()) -> Settlement:
    """Compare all books; `books` maps the number of a user to `Books.to_plain()`, `members` says who is in a room.

    A message counts as lost for each receiver it never reached though it was acknowledged, a signal for each it never
    reached, and anything as unsent that arrived and was never sent.
    """
    settlement = Settlement()
    for sender, book in books.items():
        for peer, ranges in book["messages_acked"].items():
            _miss_at_receivers(settlement, books, (sender, peer), Numbers(ranges), members, "messages")
        for peer, count in book["signals_sent"].items():
            _miss_at_receivers(settlement, books, (sender, peer), _up_to(count), members, "signals")
    for receiver, book in books.items():
        for kind in ("messages", "signals"):
            for key, ranges in book[f"{kind}_in"].items():
                sender, peer = split_key(key, receiver)
                sent = books.get(sender, {}).get(f"{kind}_sent", {}).get(peer, 0)
                if missing := Numbers(ranges).minus(_up_to(sent)):
                    settlement.miss("messages_unsent", sender, receiver, missing)
    return settlement


def _miss_at_receivers(  # noqa: PLR0913, PLR0917
    settlement: Settlement,
    books: Books,
    stream: tuple[int, int],
    expected: Numbers,
    members: Callable[[int], Iterable[int]],
    kind: str,
) -> None:
    sender, peer = stream
    room = None if peer >= 0 else -1 - peer
    key = stream_key(sender, room)
    for receiver in [peer] if room is None else members(room):
        if receiver != sender:
            seen = Numbers(books.get(receiver, {}).get(f"{kind}_in", {}).get(key, ()))
            if missing := expected.minus(seen):
                settlement.miss(f"{kind}_lost", sender, receiver, missing)


def _up_to(count: int) -> Numbers:
    return Numbers([[1, count]] if count else ())
