"""Ledgers: what arrives in order is fine, and every way of not being in order is noticed."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.books.ledger import Books, Conversation, Numbers, Place, room_peer, split_key, stream_key
from loadtest.books.stamp import Stamp
from loadtest.books.tally import Tally, failures

ALICE = 1
PAIR = "a@b"


def books() -> tuple[Books, Tally]:
    tally = Tally()
    return Books(tally), tally


def arrive(book: Books, offset: int, own: bool, stamp: Stamp | None) -> None:
    book.message_arrived(book.conversation(PAIR).arrive(offset, own), own, stamp)


def store(book: Books, number: int, offset: int) -> None:
    """An own message was acknowledged."""
    book.message_stored(ALICE, number, 1)
    book.conversation(PAIR).stored(offset)


def deliver(book: Books, arrivals: Iterable[tuple[int, int]]) -> None:
    """Messages of ALICE, as (offset, number)."""
    for offset, number in arrivals:
        arrive(book, offset, False, Stamp(ALICE, number, 0))


@given(st.sets(st.integers(1, 60)).map(list).flatmap(st.permutations))
def test_numbers_are_a_set(numbers: list[int]) -> None:
    ours = Numbers()
    for number in numbers:
        ours.add(number)
    assert list(ours) == sorted(numbers)
    assert len(ours) == len(numbers)
    assert all((number in ours) == (number in numbers) for number in range(62))
    assert ours.highest == max(numbers, default=0)
    assert list(Numbers(ours.to_plain())) == sorted(numbers)


def test_the_difference_of_numbers() -> None:
    assert Numbers([[1, 9]]).minus(Numbers([[1, 3], [5, 8]])) == [4, 9]
    assert Numbers([[1, 9]]).minus(Numbers([[1, 9]])) == []


def test_messages_in_order_are_only_counted() -> None:
    book, tally = books()
    deliver(book, [(1, 1), (2, 2), (3, 3)])
    assert tally == Tally(messages_received=3)
    assert book.conversation(PAIR).cursor == 3


@pytest.mark.parametrize(
    ("arrivals", "count"),
    [
        ([(1, 1), (2, 2), (2, 2)], "messages_duplicated"),
        ([(1, 1), (2, 2), (3, 2)], "messages_duplicated"),
        ([(1, 2), (2, 1)], "messages_reordered"),
        ([(1, 1), (3, 2)], "messages_skipped"),
        ([(2, 1)], "messages_skipped"),
    ],
    ids=["same offset", "another offset", "overtaken", "hole", "hole at the beginning"],
)
def test_what_the_relay_must_not_do_is_a_failure(arrivals: list[tuple[int, int]], count: str) -> None:
    book, tally = books()
    deliver(book, arrivals)
    assert tally[count] == 1
    assert failures(tally, frozenset()) != []


def test_a_changed_message_is_a_failure() -> None:
    book, tally = books()
    arrive(book, 1, False, None)
    assert tally["messages_corrupted"] == 1


def test_what_is_offered_again_after_a_reconnect_is_recognised() -> None:
    book, tally = books()
    deliver(book, [(1, 1), (2, 2)])
    book.reconnected()
    deliver(book, [(1, 1), (2, 2), (3, 3)])
    assert tally == Tally(messages_received=3, messages_redelivered=2)


def test_what_is_offered_again_twice_is_a_failure() -> None:
    book, tally = books()
    deliver(book, [(1, 1), (2, 2)])
    book.reconnected()
    deliver(book, [(2, 2), (2, 2)])
    assert tally["messages_duplicated"] == 1


def test_another_message_under_an_old_offset_is_a_failure() -> None:
    book, tally = books()
    deliver(book, [(1, 1), (2, 2)])
    book.reconnected()
    deliver(book, [(2, 3)])
    assert tally["messages_corrupted"] == 1


def test_own_messages_fill_their_offsets() -> None:
    book, tally = books()
    deliver(book, [(1, 1)])
    store(book, 1, 2)
    deliver(book, [(3, 2)])
    assert tally == Tally(messages_received=2, messages_stored=1, messages_expected=1)


def test_an_acknowledgement_may_come_before_what_is_read_from_the_log() -> None:
    book, tally = books()
    store(book, 1, 3)
    deliver(book, [(1, 1), (2, 2)])
    arrive(book, 3, True, Stamp(ALICE, 1, 0))
    deliver(book, [(4, 3)])
    assert failures(tally, frozenset()) == []
    assert tally["messages_received"] == 3


def test_an_own_message_comes_back_when_its_acknowledgement_was_lost() -> None:
    conversation = Conversation()
    assert conversation.arrive(1, own=True) is Place.NEXT
    conversation.stored(1)
    assert conversation.cursor == 1


def test_signals_have_a_ledger_of_their_own() -> None:
    book, tally = books()
    arrivals = [Stamp(ALICE, 1, 0), Stamp(ALICE, 3, 0), Stamp(ALICE, 2, 0), Stamp(ALICE, 3, 0), None]
    assert [book.signal_arrived(stamp) for stamp in arrivals] == [True, True, True, False, False]
    expected = Tally(signals_received=3, signals_reordered=1, signals_duplicated=1, signals_corrupted=1)
    assert tally == expected


def test_streams_through_rooms_are_apart() -> None:
    book, tally = books()
    for room in (None, 0, 1):
        assert book.message_arrived(Place.NEXT, False, Stamp(ALICE, 1, 0), room)
        assert book.signal_arrived(Stamp(ALICE, 1, 0), room)
    assert tally == Tally(messages_received=3, signals_received=3)


@given(st.integers(0, 2**31), st.none() | st.integers(0, 10_000))
def test_a_key_tells_the_sender_and_the_peer(sender: int, room: int | None) -> None:
    peer = 7 if room is None else room_peer(room)
    assert split_key(stream_key(sender, room), receiver=7) == (sender, peer)


def test_streams_count_from_one_for_each_peer() -> None:
    book, _ = books()
    assert [book.send_message(7), book.send_message(7), book.send_message(8), book.send_signal(7, 1)] == [1, 2, 1, 1]
