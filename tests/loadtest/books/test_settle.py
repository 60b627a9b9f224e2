"""Closing the books: a relay that loses, invents, doubles or reorders is found out, whoever looks at it."""

import random
from collections.abc import Callable

import msgpack
import pytest

from loadtest.books.ledger import Books, Place, room_peer
from loadtest.books.settle import EXAMPLES_MAX, settle
from loadtest.books.stamp import Stamp
from loadtest.books.tally import Tally, failures

Arrivals = list[tuple[int, int]]


def run(tamper: Callable[[Arrivals], Arrivals] = lambda arrivals: arrivals, count: int = 20) -> Tally:
    """User 0 sends `count` messages and signals to user 1; what arrives, as (offset, number), goes through `tamper`."""
    tally = Tally()
    sender, receiver = Books(tally), Books(tally)
    for offset in range(1, count + 1):
        sender.message_stored(1, sender.send_message(1), 1)
        sender.conversation("a@b").stored(offset)
        sender.send_signal(1, 1)
    for offset, number in tamper([(number, number) for number in range(1, count + 1)]):
        place = receiver.conversation("a@b").arrive(offset, own=False)
        receiver.message_arrived(place, False, Stamp(0, number, 0))
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
    receiver.message_arrived(Place.NEXT, False, Stamp(0, 1, 0))
    assert settle({0: sender.to_plain(), 1: receiver.to_plain()}).tally == Tally()


def test_a_message_to_a_room_is_missed_by_everybody_it_does_not_reach() -> None:
    tally = Tally()
    speaker, *others = (Books(tally) for _ in range(4))
    for _ in range(5):
        speaker.message_stored(room_peer(2), speaker.send_message(room_peer(2)), 3)
        speaker.send_signal(room_peer(2), 3)
    for heard, listener in zip((5, 3, 5), others, strict=True):
        for number in range(1, heard + 1):
            listener.message_arrived(Place.NEXT, False, Stamp(0, number, 0), room=2)
            listener.signal_arrived(Stamp(0, number, 0), room=2)
    plain = dict(enumerate(book.to_plain() for book in (speaker, *others)))
    settlement = settle(plain, lambda room: range(4) if room == 2 else ())
    assert settlement.tally == Tally(messages_lost=2, signals_lost=2)
    assert settlement.examples[0] == ("messages_lost", "messages_lost: user 0 to user 2, number 4, 5")
    assert tally["messages_expected"] == tally["signals_expected"] == 15


def test_a_message_through_a_room_it_was_not_sent_to_is_unsent() -> None:
    tally = Tally()
    speaker, listener = Books(tally), Books(tally)
    speaker.message_stored(1, speaker.send_message(1), 1)
    listener.message_arrived(Place.NEXT, False, Stamp(0, 1, 0), room=0)
    settlement = settle({0: speaker.to_plain(), 1: listener.to_plain()}, lambda room: (0, 1))
    assert settlement.tally == Tally(messages_lost=1, messages_unsent=1)


def test_examples_name_streams_and_do_not_flood() -> None:
    tally = Tally()
    sender = Books(tally)
    for receiver in range(1, 50):
        for _ in range(8):
            sender.message_stored(receiver, sender.send_message(receiver), 1)
    settlement = settle({0: sender.to_plain()})
    assert settlement.tally["messages_lost"] == 49 * 8
    assert len(settlement.examples) == EXAMPLES_MAX
    assert settlement.examples[0] == ("messages_lost", "messages_lost: user 0 to user 1, number 1, 2, 3, 4, 5, ...")
