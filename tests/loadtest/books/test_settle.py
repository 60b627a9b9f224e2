"""Closing the books: a relay that loses, invents, doubles or reorders is found out, whoever looks at it."""

import random
from collections.abc import Callable

import msgpack
import pytest

from loadtest.books.ledger import Books
from loadtest.books.settle import EXAMPLES_MAX, settle
from loadtest.books.stamp import Stamp
from loadtest.books.tally import Tally, failures

Arrivals = list[tuple[int, int]]


def run(tamper: Callable[[Arrivals], Arrivals] = lambda arrivals: arrivals, count: int = 20) -> Tally:
    """User 0 sends `count` messages and signals to user 1; what arrives, as (offset, number), goes through `tamper`."""
    tally = Tally()
    sender, receiver = Books(tally), Books(tally)
    for offset in range(1, count + 1):
        sender.message_stored(1, sender.send_message(1), "a@b", offset)
        sender.send_signal(1)
    for offset, number in tamper([(number, number) for number in range(1, count + 1)]):
        receiver.message_arrived("a@b", offset, False, Stamp(0, number, 0))
        receiver.signal_arrived(Stamp(0, number, 0))
    plain = msgpack.packb({0: sender.to_plain(), 1: receiver.to_plain()})
    tally.update(settle(msgpack.unpackb(plain, strict_map_key=False)).tally)
    return tally


def test_an_honest_relay_passes() -> None:
    tally = run()
    assert failures(tally, frozenset()) == []
    assert tally["messages_received"] == tally["signals_received"] == 20


def drop(arrivals: Arrivals) -> Arrivals:
    return [arrival for arrival in arrivals if arrival[1] % 7]


def drop_last(arrivals: Arrivals) -> Arrivals:
    return arrivals[:-1]


def repeat(arrivals: Arrivals) -> Arrivals:
    return [arrival for arrival in arrivals for _ in range(1 + (arrival[1] == 5))]


def swap(arrivals: Arrivals) -> Arrivals:
    return [arrivals[1], arrivals[0], *arrivals[2:]]


def swap_numbers(arrivals: Arrivals) -> Arrivals:
    """Stored in the wrong order: the offsets look right."""
    return [(1, 2), (2, 1), *arrivals[2:]]


def invent(arrivals: Arrivals) -> Arrivals:
    return [*arrivals, (len(arrivals) + 1, len(arrivals) + 1)]


@pytest.mark.parametrize(
    ("tamper", "expected"),
    [
        (drop, {"messages_lost": 2, "signals_lost": 2}),
        (drop_last, {"messages_lost": 1, "signals_lost": 1}),
        (repeat, {"messages_duplicated": 1, "signals_duplicated": 1}),
        (swap_numbers, {"messages_reordered": 1, "signals_reordered": 1}),
        (swap, {"messages_skipped": 1, "signals_reordered": 1}),
        (invent, {"messages_unsent": 2}),
    ],
)
def test_a_relay_that_cheats_is_found_out(tamper: Callable[[Arrivals], Arrivals], expected: dict[str, int]) -> None:
    tally = run(tamper)
    assert {name: tally[name] for name in expected} == expected
    assert failures(tally, frozenset()) != []


def test_any_random_loss_is_counted_exactly() -> None:
    chance = random.Random(7)
    for _ in range(50):
        lost = {number for number in range(1, 21) if chance.random() < 0.3}
        tally = run(lambda arrivals, lost=lost: [each for each in arrivals if each[1] not in lost])  # type: ignore[misc]
        assert tally["messages_lost"] == tally["signals_lost"] == len(lost)


def test_a_message_without_acknowledgement_may_be_missing_or_not() -> None:
    tally = Tally()
    sender, receiver = Books(tally), Books(tally)
    sender.send_message(1)
    assert settle({0: sender.to_plain(), 1: receiver.to_plain()}).tally == Tally()
    receiver.message_arrived("a@b", 1, False, Stamp(0, 1, 0))
    assert settle({0: sender.to_plain(), 1: receiver.to_plain()}).tally == Tally()


def test_examples_name_streams_and_do_not_flood() -> None:
    tally = Tally()
    sender = Books(tally)
    for receiver in range(1, 50):
        for number in range(1, 9):
            sender.message_stored(receiver, sender.send_message(receiver), f"0@{receiver}", number)
    settlement = settle({0: sender.to_plain()})
    assert settlement.tally["messages_lost"] == 49 * 8
    assert len(settlement.examples) == EXAMPLES_MAX
    assert settlement.examples[0] == ("messages_lost", "messages_lost: user 0 to user 1, number 1, 2, 3, 4, 5, ...")
