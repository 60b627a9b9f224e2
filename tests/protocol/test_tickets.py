"""Presenting a ticket: both proofs, and every byte of what is presented counts."""

import pytest

from relay.protocol.codes import CloseCode
from relay.protocol.errors import RemoteError
from relay.protocol.tickets import (
    NONCE_BYTES,
    PROOF_BYTES,
    TICKET_MAX_BYTES,
    ClientTicket,
    Resume,
    is_proven,
    read_presented,
    relay_proof,
)
from tests.protocol.examples import EXAMPLES, LOGIN, TICKET_NONCE, TICKETS

KEY = bytes(range(32))
RESUME = Resume(b"a ticket", KEY)


def test_both_sides_prove_that_they_know_the_key() -> None:
    client = ClientTicket(RESUME)
    presented = read_presented(client.first())
    assert presented is not None
    assert presented.ticket == b"a ticket"
    assert is_proven(KEY, presented)
    client.check(relay_proof(KEY, presented.nonce, presented.ticket))


def test_the_worked_example() -> None:
    client = ClientTicket(Resume(TICKETS[0], LOGIN.server_key), TICKET_NONCE)
    assert client.first() == EXAMPLES["HELLO with a ticket"].data  # type: ignore[union-attr]
    client.check(EXAMPLES["WELCOME after a ticket"].data)  # type: ignore[union-attr]


def test_every_flipped_bit_breaks_the_proof() -> None:
    data = ClientTicket(RESUME).first()
    for position in range(8 * len(data)):
        altered = bytearray(data)
        altered[position // 8] ^= 1 << position % 8
        presented = read_presented(bytes(altered))
        assert presented is not None
        assert not is_proven(KEY, presented)


def test_another_key_proves_nothing() -> None:
    presented = read_presented(ClientTicket(RESUME).first())
    assert presented is not None
    assert not is_proven(bytes(32), presented)


@pytest.mark.parametrize(
    ("size", "readable"),
    [
        (0, False),
        (NONCE_BYTES + PROOF_BYTES, False),
        (NONCE_BYTES + PROOF_BYTES + 1, True),
        (NONCE_BYTES + PROOF_BYTES + TICKET_MAX_BYTES, True),
        (NONCE_BYTES + PROOF_BYTES + TICKET_MAX_BYTES + 1, False),
    ],
)
def test_what_is_too_short_or_too_long_is_no_ticket(size: int, readable: bool) -> None:
    assert (read_presented(bytes(size)) is not None) == readable


def test_a_recorded_answer_does_not_prove_the_relay_a_second_time() -> None:
    first, second = ClientTicket(RESUME), ClientTicket(RESUME)
    presented = read_presented(first.first())
    assert presented is not None
    answer = relay_proof(KEY, presented.nonce, presented.ticket)
    first.check(answer)
    for data in (answer, b"", presented.proof, relay_proof(bytes(32), presented.nonce, presented.ticket)):
        with pytest.raises(RemoteError) as caught:
            second.check(data)
        assert caught.value.code is CloseCode.LOGIN_FAILED


def test_secrets_are_not_printed() -> None:
    assert repr(RESUME) == "<Resume: a ticket of 8 bytes>"
