"""Closing the books: everything that anybody sent against everything that anybody received."""

from collections.abc import Mapping
from typing import Any

from loadtest.books.ledger import Numbers
from loadtest.books.tally import Tally

# So many streams with losses are named; the rest is only counted.
EXAMPLES_MAX = 10


class Settlement:
    """What the comparison found. `examples` name the first streams of each kind with something missing."""

    def __init__(self) -> None:
        self.tally = Tally()
        self.examples: list[tuple[str, str]] = []

    def miss(self, what: str, sender: int, receiver: int, numbers: list[int]) -> None:
        """Count numbers of one stream."""
        self.tally[what] += len(numbers)
        if sum(kind == what for kind, _ in self.examples) < EXAMPLES_MAX:
            shown = ", ".join(map(str, numbers[:5])) + (", ..." if len(numbers) > 5 else "")
            self.examples.append((what, f"{what}: user {sender} to user {receiver}, number {shown}"))


def settle(books: Mapping[int, Mapping[str, Any]]) -> Settlement:
    """Compare all books; `books` maps the number of a user to `Books.to_plain()`.

    A message counts as lost if it was acknowledged and never arrived, a signal if it was sent and never arrived, and
    anything as unsent that arrived and was never sent.
    """
    settlement = Settlement()
    for sender, book in books.items():
        for receiver, ranges in book["messages_acked"].items():
            _compare(
                settlement,
                "messages_lost",
                (sender, receiver),
                Numbers(ranges),
                _received(books, receiver, sender, "messages_in"),
            )
        for receiver, count in book["signals_sent"].items():
            _compare(
                settlement,
                "signals_lost",
                (sender, receiver),
                _up_to(count),
                _received(books, receiver, sender, "signals_in"),
            )
    for receiver, book in books.items():
        for kind in ("messages", "signals"):
            for sender, ranges in book[f"{kind}_in"].items():
                sent = books.get(sender, {}).get(f"{kind}_sent", {}).get(receiver, 0)
                _compare(settlement, "messages_unsent", (sender, receiver), Numbers(ranges), _up_to(sent))
    return settlement


def _received(books: Mapping[int, Mapping[str, Any]], receiver: int, sender: int, key: str) -> Numbers:
    return Numbers(books.get(receiver, {}).get(key, {}).get(sender, ()))


def _up_to(count: int) -> Numbers:
    return Numbers([[1, count]] if count else ())


def _compare(settlement: Settlement, what: str, stream: tuple[int, int], expected: Numbers, seen: Numbers) -> None:
    missing = expected.minus(seen)
    if missing:
        settlement.miss(what, *stream, missing)
