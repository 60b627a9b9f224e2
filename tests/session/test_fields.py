"""Where fields lie in a packet's bytes; compared with msgpack itself."""

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.session.fields import body_start, string_bounds


@given(st.text(max_size=260), st.binary(max_size=5), st.binary(max_size=5))
def test_a_string_is_found_where_msgpack_finds_it(text: str, before: bytes, behind: bytes) -> None:
    encoded = msgpack.packb(text)
    data = before + encoded + behind
    start, stop = len(before), len(data)
    begin, end = string_bounds(data, start, stop)
    if len(text.encode()) > 255 or start + 1 >= stop:
        assert (begin, end) == (stop, stop)
    else:
        assert data[begin:end] == text.encode()
        assert end == start + len(encoded)


@given(st.binary(max_size=40), st.integers(0, 40), st.integers(0, 40))
def test_whatever_the_bytes_nothing_outside_is_pointed_to(data: bytes, start: int, stop: int) -> None:
    stop = min(stop, len(data))
    start = min(start, stop)
    begin, end = string_bounds(data, start, stop)
    assert start <= end <= stop
    assert begin <= end or begin == stop + 1 or end == stop
    body = body_start(data, start, stop)
    assert body is None or start < body <= stop


@given(st.integers(0, 70_000), st.binary(max_size=5))
def test_a_body_is_found_where_msgpack_puts_it(size: int, before: bytes) -> None:
    data = before + msgpack.packb(bytes(size))
    begin = body_start(data, len(before), len(data))
    assert begin == len(data) - size
    assert body_start(data + b"x", len(before), len(data) + 1) is None
    if size:
        assert body_start(data, len(before), len(data) - 1) is None


@pytest.mark.parametrize("data", [b"", b"\xc4", b"\xc5\x00", b"\xc6\x00\x00\x00", b"\xa1x", b"\xc0", b"\xc7\x01\x05y"])
def test_what_is_no_body_is_none(data: bytes) -> None:
    assert body_start(data, 0, len(data)) is None


@pytest.mark.parametrize("data", [b"", b"\xa0", b"\xda\x00\x01x", b"\xdb\x00\x00\x00\x01x", b"\xc4\x01x", b"\x01\x01"])
def test_what_is_no_short_string_ends_the_search(data: bytes) -> None:
    assert string_bounds(data, 0, len(data)) == (len(data), len(data))


def test_a_string_that_claims_more_than_there_is_ends_at_the_end() -> None:
    assert string_bounds(b"\xa5abc", 0, 4) == (1, 4)
    assert string_bounds(b"\xd9\xffabc", 0, 5) == (2, 5)
