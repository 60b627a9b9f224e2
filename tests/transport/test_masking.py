"""Masks: in C and in Python the same."""

import random

import pytest

from relay.transport.masking import unmask, unmask_slowly


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 5, 7, 8, 100, 599, 600, 601, 602, 603, 5000])
def test_unmasking_is_an_xor_with_the_key(size: int) -> None:
    data, key = random.Random(size).randbytes(size), b"\x01\xff\x00\x7e"
    expected = bytes(byte ^ key[at % 4] for at, byte in enumerate(data))
    assert unmask(data, key) == unmask_slowly(data, key) == expected
