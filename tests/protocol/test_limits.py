"""The limits fit each other: what is accepted can also be passed on."""

from relay.protocol.addresses import conversation_for, session_address
from relay.protocol.limits import (
    BODY_MAX,
    CALL_TIMEOUT_MAX_MS,
    CONTENT_TYPE_MAX_BYTES,
    FRAME_MAX,
    FRAME_MAX_BEFORE_LOGIN,
    INTEGER_MAX,
    MESSAGE_MAX,
    METHOD_MAX_BYTES,
    NAME_MAX_BYTES,
    SENTENCE_MAX_BYTES,
)
from relay.protocol.packets import Call, Delivery, Error, Fault, Hello, Message, encode_payload
from relay.protocol.scram import MECHANISM

NAME, OTHER = "a" * NAME_MAX_BYTES, "b" * NAME_MAX_BYTES
SESSION = session_address(NAME, OTHER)
CONTENT_TYPE = "x" * CONTENT_TYPE_MAX_BYTES
BODY = bytes(BODY_MAX)


def test_the_largest_message_can_be_stored() -> None:
    message = Message(SESSION, OTHER, INTEGER_MAX, CONTENT_TYPE, BODY)
    assert len(encode_payload(message)) <= MESSAGE_MAX


def test_the_largest_stored_message_can_be_delivered() -> None:
    delivery = Delivery(conversation_for(NAME, OTHER), INTEGER_MAX, INTEGER_MAX, bytes(MESSAGE_MAX))
    assert len(encode_payload(delivery)) <= FRAME_MAX


def test_the_largest_call_fits_into_a_frame() -> None:
    method = "m" * METHOD_MAX_BYTES
    call = Call(SESSION, SESSION, INTEGER_MAX, method, CALL_TIMEOUT_MAX_MS, CONTENT_TYPE, BODY)
    assert len(encode_payload(call)) <= FRAME_MAX


def test_the_largest_refusals_fit_into_what_a_stranger_may_be_sent() -> None:
    sentence = "s" * SENTENCE_MAX_BYTES
    for refusal in (
        Error(INTEGER_MAX, INTEGER_MAX, INTEGER_MAX, sentence),
        Fault(SESSION, SESSION, INTEGER_MAX, INTEGER_MAX, sentence),
    ):
        assert len(encode_payload(refusal)) <= FRAME_MAX_BEFORE_LOGIN


def test_a_hello_has_room_for_a_ticket_of_two_kilobytes() -> None:
    hello = Hello(INTEGER_MAX, INTEGER_MAX, NAME, OTHER, MECHANISM, bytes(2048), "x" * 64)
    assert len(encode_payload(hello)) <= FRAME_MAX_BEFORE_LOGIN


def test_integers_are_exact_as_doubles() -> None:
    assert float(INTEGER_MAX) == INTEGER_MAX
    assert float(INTEGER_MAX) + 1 == INTEGER_MAX + 1
    assert float(INTEGER_MAX + 2) != INTEGER_MAX + 2
