"""When to connect again."""

from hypothesis import given, settings
from hypothesis import strategies as st
from relay_client.core.backoff import LONGEST_S, STABLE_S, Backoff

from relay.protocol.codes import Retry


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=100))
def test_every_pause_is_at_most_the_longest_and_the_first_at_most_half_a_second(random: list[float]) -> None:
    numbers = iter(random)
    backoff = Backoff(lambda: next(numbers))
    pauses = [backoff.next_delay(Retry.LATER, None, 0) for _ in random]
    assert 0 <= pauses[0] <= 0.5 and all(0 <= pause <= LONGEST_S for pause in pauses)


def test_pauses_double_and_keep_a_fixed_half() -> None:
    low, high = Backoff(lambda: 0.0), Backoff(lambda: 1.0)
    assert [low.next_delay(Retry.LATER, None, 0) for _ in range(8)] == [0, 0.5, 1, 2, 4, 8, 15, 15]
    assert [high.next_delay(Retry.LATER, None, 0) for _ in range(8)] == [0.5, 1, 2, 4, 8, 16, 30, 30]


def test_now_means_now_once() -> None:
    backoff = Backoff(lambda: 1.0)
    assert backoff.next_delay(Retry.NOW, None, 0) == 0
    assert backoff.next_delay(Retry.NOW, None, 0) == 1


def test_advice_is_kept_to_and_counts_as_an_attempt() -> None:
    backoff = Backoff(lambda: 1.0)
    assert backoff.next_delay(Retry.LATER, 7000, 0) == 7
    assert backoff.next_delay(Retry.NOW, 0, 0) == 0
    assert backoff.next_delay(Retry.LATER, None, 0) == 2


def test_a_connection_that_lasted_starts_it_again() -> None:
    backoff = Backoff(lambda: 1.0)
    for _ in range(10):
        backoff.next_delay(Retry.LATER, None, STABLE_S - 1)
    assert backoff.next_delay(Retry.LATER, None, STABLE_S) == 0.5


def test_a_connection_that_lasted_ten_times_its_pause_starts_it_again() -> None:
    backoff = Backoff(lambda: 1.0)
    for expected in (0.5, 1, 2):
        assert backoff.next_delay(Retry.LATER, None, 4.9) == expected
    assert backoff.next_delay(Retry.LATER, None, 19) == 4
    assert backoff.next_delay(Retry.LATER, None, 40) == 0.5


def test_a_relay_that_is_killed_every_ten_seconds_keeps_nobody_away_for_long() -> None:
    backoff = Backoff(lambda: 1.0)
    assert max(backoff.next_delay(Retry.LATER, None, 9) for _ in range(100)) <= 1


def test_a_very_long_outage_does_not_overflow() -> None:
    backoff = Backoff(lambda: 1.0)
    for _ in range(5000):
        pause = backoff.next_delay(Retry.LATER, None, 0)
    assert pause == LONGEST_S
