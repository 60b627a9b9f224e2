"""Stamps: whatever is done to a body on its way, its receiver sees it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.books.stamp import BODY_MAX_BYTES, BODY_MIN_BYTES, Stamp, decode_stamp, encode_stamp

STAMP = Stamp(17, 3, 123_456_789)


@pytest.mark.parametrize("size", [BODY_MIN_BYTES, 128, 8192, BODY_MAX_BYTES])
def test_a_body_has_its_size_and_its_stamp(size: int) -> None:
    body = encode_stamp(STAMP, size)
    assert len(body) == size
    assert decode_stamp(body) == STAMP


@given(st.integers(0, 199), st.integers(1, 255))
def test_a_changed_byte_is_another_stamp_or_none(place: int, difference: int) -> None:
    body = bytearray(encode_stamp(STAMP, 200))
    body[place] ^= difference
    assert decode_stamp(bytes(body)) != STAMP


@pytest.mark.parametrize(
    "body", [b"", b"load", encode_stamp(STAMP, 200)[:-1], encode_stamp(STAMP, 200) + b"x", b"?" * 200]
)
def test_what_no_sender_made_has_no_stamp(body: bytes) -> None:
    assert decode_stamp(body) is None
