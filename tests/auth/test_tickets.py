"""Tickets: what is one, which one of a device is good, and that nothing else is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.auth.tickets import TICKET_BYTES, TicketRefusedError, Tickets, check_held
from relay.store.base import HeldTicket

SECRET = bytes(range(32))
NOW_MS = 1_000_000
TICKETS = Tickets(SECRET, 60)
TICKET = TICKETS.issue("alice", "phone", NOW_MS)


def test_a_ticket_is_recognised_by_the_mark_that_is_kept_of_it() -> None:
    mark = TICKETS.mark_of(TICKET.data, "alice", "phone")
    assert mark == TICKET.held.mark
    assert mark not in TICKET.data
    assert len(TICKET.data) == TICKET_BYTES
    check_held(mark, TICKET.held, NOW_MS)


def test_another_relay_object_with_the_same_secret_knows_it() -> None:
    assert Tickets(SECRET, 5).mark_of(TICKET.data, "alice", "phone") == TICKET.held.mark


@pytest.mark.parametrize("position", range(8 * TICKET_BYTES))
def test_every_flipped_bit_is_a_forgery(position: int) -> None:
    data = bytearray(TICKET.data)
    data[position // 8] ^= 1 << position % 8
    with pytest.raises(TicketRefusedError) as caught:
        TICKETS.mark_of(bytes(data), "alice", "phone")
    assert caught.value.forged


@given(st.binary(max_size=200))
def test_any_other_bytes_are_a_forgery(data: bytes) -> None:
    for forged in (data, TICKET.data + data[:1] + b"x", TICKET.data[: len(data) % TICKET_BYTES]):
        with pytest.raises(TicketRefusedError) as caught:
            TICKETS.mark_of(forged, "alice", "phone")
        assert caught.value.forged


@pytest.mark.parametrize(
    ("user", "device"), [("alice", "laptop"), ("bob", "phone"), ("alic", "e/phone"), ("alice/phone", ""), ("", "")]
)
def test_it_is_bound_to_user_and_device(user: str, device: str) -> None:
    with pytest.raises(TicketRefusedError, match="this user and device"):
        TICKETS.mark_of(TICKET.data, user, device)


def test_another_relay_does_not_take_it() -> None:
    with pytest.raises(TicketRefusedError):
        Tickets(bytes(32), 60).mark_of(TICKET.data, "alice", "phone")


def test_two_tickets_are_never_alike() -> None:
    issued = [TICKETS.issue("alice", "phone", NOW_MS) for _ in range(100)]
    assert len({ticket.data for ticket in issued}) == len({ticket.held.mark for ticket in issued}) == 100


def test_it_is_good_for_its_lifetime_and_not_a_millisecond_longer() -> None:
    mark, held = TICKET.held.mark, TICKET.held
    check_held(mark, held, NOW_MS + 59_999)
    for late_ms in (60_000, 60_001, 10**9):
        with pytest.raises(TicketRefusedError, match="expired") as caught:
            check_held(mark, held, NOW_MS + late_ms)
        assert not caught.value.forged


def test_the_newest_is_the_only_one() -> None:
    newer = TICKETS.issue("alice", "phone", NOW_MS)
    with pytest.raises(TicketRefusedError, match="used before") as caught:
        check_held(TICKET.held.mark, newer.held, NOW_MS)
    assert not caught.value.forged


def test_one_that_is_not_held_was_revoked() -> None:
    with pytest.raises(TicketRefusedError, match="revoked"):
        check_held(TICKET.held.mark, None, NOW_MS)


@pytest.mark.parametrize(
    "mark",
    [b"", bytes(16), TICKET.held.mark[:-1], TICKET.held.mark + b"\0"],
    ids=["empty", "zeros", "shorter", "longer"],
)
def test_a_mark_of_another_length_or_value_is_another(mark: bytes) -> None:
    with pytest.raises(TicketRefusedError):
        check_held(TICKET.held.mark, HeldTicket(mark, NOW_MS + 1), NOW_MS)


def test_a_lifetime_of_nothing_means_no_tickets() -> None:
    assert not Tickets(SECRET, 0).enabled
    with pytest.raises(TicketRefusedError, match="takes no tickets") as caught:
        Tickets(SECRET, 0).mark_of(TICKET.data, "alice", "phone")
    assert not caught.value.forged


def test_every_refusal_says_what_to_do() -> None:
    assert str(TicketRefusedError("why")).endswith("log in with the password")
