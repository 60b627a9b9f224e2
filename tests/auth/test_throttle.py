"""The price of failed logins. Time is passed in; nothing here waits."""

from hypothesis import given
from hypothesis import strategies as st

from relay.auth import throttle
from relay.auth.throttle import FIRST_DELAY_S, MEMORY_S, Throttle


def test_nobody_waits_before_the_first_failure() -> None:
    assert Throttle(8).wait_s("10.0.0.1", 100.0) == 0


def test_each_failure_doubles_the_delay_up_to_the_cap() -> None:
    failures = Throttle(8)
    delays = [failures.fail("10.0.0.1", "alice", 100.0) for _ in range(8)]
    assert delays == [0.25, 0.5, 1, 2, 4, 8, 8, 8]


def test_a_delay_stays_finite_after_very_many_failures() -> None:
    failures = Throttle(1e9)
    delay = max(failures.fail("10.0.0.1", "alice", 100.0) for _ in range(2000))
    assert delay == FIRST_DELAY_S * 2**16


def test_while_an_answer_is_held_back_the_address_waits_as_long() -> None:
    failures = Throttle(8)
    for _ in range(3):
        failures.fail("10.0.0.1", "alice", 100.0)
    assert failures.wait_s("10.0.0.1", 100.0) == 1
    assert failures.wait_s("10.0.0.1", 100.75) == 0.25
    assert failures.wait_s("10.0.0.1", 101.5) == 0


def test_another_address_does_not_wait_however_often_this_one_fails() -> None:
    failures = Throttle(8)
    for _ in range(20):
        failures.fail("10.0.0.1", "alice", 100.0)
    assert failures.wait_s("10.0.0.2", 100.0) == 0


def test_attempts_on_one_account_from_many_addresses_are_slowed_together() -> None:
    failures = Throttle(8)
    delays = [failures.fail(f"10.0.0.{n}", "alice", 100.0) for n in range(6)]
    assert delays == [0.25, 0.5, 1, 2, 4, 8]


def test_attempts_on_many_accounts_from_one_address_are_slowed_together() -> None:
    failures = Throttle(8)
    delays = [failures.fail("10.0.0.1", f"user{n}", 100.0) for n in range(6)]
    assert delays == [0.25, 0.5, 1, 2, 4, 8]


def test_a_user_named_like_an_address_is_somebody_else() -> None:
    failures = Throttle(8)
    failures.fail("10.0.0.1", "alice", 100.0)
    failures.fail("elsewhere", "10.0.0.2", 100.0)
    assert failures.wait_s("10.0.0.2", 100.0) == 0
    assert failures.fail("10.0.0.2", "carol", 100.0) == FIRST_DELAY_S


def test_failures_are_forgotten_after_a_while() -> None:
    failures = Throttle(8)
    for _ in range(4):
        failures.fail("10.0.0.1", "alice", 100.0)
    assert failures.fail("10.0.0.1", "alice", 100.0 + MEMORY_S) == FIRST_DELAY_S
    assert failures.fail("10.0.0.1", "alice", 100.0 + MEMORY_S) == 2 * FIRST_DELAY_S


def test_they_are_remembered_until_then() -> None:
    failures = Throttle(8)
    for _ in range(4):
        failures.fail("10.0.0.1", "alice", 100.0)
    assert failures.fail("10.0.0.1", "alice", 99.0 + MEMORY_S) == 4


def test_a_cap_below_the_first_delay_holds() -> None:
    assert Throttle(0).fail("10.0.0.1", "alice", 100.0) == 0


def test_memory_is_bounded_and_the_oldest_go_first(monkeypatch) -> None:
    monkeypatch.setattr(throttle, "REMEMBERED_MAX", 10)
    failures = Throttle(8)
    failures.fail("old", "old", 100.0)
    failures.fail("old", "old", 100.0)
    for n in range(50):
        failures.fail(f"10.0.0.{n}", f"user{n}", 100.0)
    assert len(failures) == 10
    assert failures.wait_s("10.0.0.49", 100.0) == FIRST_DELAY_S
    assert failures.fail("old", "old", 100.0) == FIRST_DELAY_S


hosts = st.sampled_from(["a", "b", "c"])
users = st.sampled_from(["a", "b", "c"])


@given(st.lists(st.tuples(hosts, users, st.floats(0, 2000)), min_size=1, max_size=40))
def test_whoever_fails_waits_exactly_as_long_as_the_answer(failures: list[tuple[str, str, float]]) -> None:
    throttle_, now = Throttle(8), 0.0
    for host, user, passed in failures:
        now += passed
        delay = throttle_.fail(host, user, now)
        assert FIRST_DELAY_S <= delay <= 8
        assert abs(throttle_.wait_s(host, now) - delay) < 1e-6
        assert throttle_.wait_s(host, now + delay + 0.001) == 0
