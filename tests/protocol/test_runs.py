"""A run taken apart, and delivered: as its messages would be one by one."""

from hypothesis import example, given
from hypothesis import strategies as st

from relay.protocol.frames import encode_frame
from relay.protocol.packets import Delivery, encode
from relay.protocol.runs import deliveries, payload_at, payloads

pieces = st.integers(1, 9).flatmap(
    lambda total: st.integers(1, 300).flatmap(
        lambda size: st.lists(st.binary(min_size=size, max_size=size), min_size=total, max_size=total)
    )
)
offsets = st.one_of(
    st.integers(1, 300), st.sampled_from([120, 250, 65_530, 65_536, 2**32 - 4, 2**32, 2**40]), st.integers(1, 2**50)
)


def as_piece(messages: list[bytes]) -> bytes:
    return messages[0] if len(messages) == 1 else b"".join(map(encode_frame, messages))


@given(pieces)
def test_a_piece_gives_back_its_messages(messages: list[bytes]) -> None:
    packet, total = as_piece(messages), len(messages)
    assert payloads(packet, total) == messages
    assert [payload_at(packet, total, place) for place in range(total)] == messages


@given(st.sampled_from(["alice@bob", "#ops", "x" * 64 + "@" + "y" * 64]), offsets, st.integers(0, 2**50), pieces)
@example("alice@bob", 250, 1_700_000_000_000, [b"x"] * 9)
@example("alice@bob", 300, 1_700_000_000_000, [b"x" * 70_000] * 2)
def test_deliveries_are_those_of_the_messages_one_by_one(
    conversation: str, offset: int, time_ms: int, messages: list[bytes]
) -> None:
    expected = [
        encode(Delivery(conversation, offset + place, time_ms, message)) for place, message in enumerate(messages)
    ]
    found = deliveries(conversation, offset, time_ms, as_piece(messages), len(messages))
    assert found == b"".join(expected)
