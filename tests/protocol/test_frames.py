"""Frames: any split of the stream gives the same payloads, and a bad length is refused at once."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.protocol.codes import CloseCode
from relay.protocol.errors import LocalError, RemoteError
from relay.protocol.frames import FrameReader, check_length, encode_frame
from relay.protocol.limits import FRAME_MAX, FRAME_MAX_BEFORE_LOGIN

LIMIT = 64


def drain(reader: FrameReader) -> list[bytes]:
    return list(iter(reader.next_payload, None))


def test_a_frame_is_the_length_and_the_payload() -> None:
    assert encode_frame(b"abc") == b"\x00\x00\x00\x03abc"


@pytest.mark.parametrize("size", [1, 255, 256, 65_536, FRAME_MAX])
def test_whole_frames_come_back(size: int) -> None:
    reader = FrameReader(FRAME_MAX)
    reader.feed(encode_frame(bytes(size)))
    assert reader.next_payload() == bytes(size)
    assert reader.next_payload() is None


@pytest.mark.parametrize("size", [0, FRAME_MAX + 1])
def test_a_payload_that_no_frame_holds_is_our_own_error(size: int) -> None:
    with pytest.raises(LocalError, match=str(size)):
        encode_frame(bytes(size))


def test_byte_by_byte() -> None:
    reader = FrameReader(LIMIT)
    received = []
    for byte in encode_frame(b"one") + encode_frame(b"two"):
        reader.feed(bytes([byte]))
        received += drain(reader)
    assert received == [b"one", b"two"]


def test_trailing_bytes_wait_for_the_rest_of_their_frame() -> None:
    reader = FrameReader(LIMIT)
    frame = encode_frame(b"second")
    reader.feed(encode_frame(b"first") + frame[:-1])
    assert drain(reader) == [b"first"]
    reader.feed(frame[-1:])
    assert drain(reader) == [b"second"]


@given(
    payloads=st.lists(st.binary(min_size=1, max_size=LIMIT), max_size=8),
    cuts=st.lists(st.integers(0, 9 * (LIMIT + 4)), max_size=20),
)
def test_any_split_gives_the_same_payloads(payloads: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(map(encode_frame, payloads))
    places = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    reader = FrameReader(LIMIT)
    received = []
    for start, stop in pairwise(places):
        reader.feed(stream[start:stop])
        received += drain(reader)
    assert received == payloads


@pytest.mark.parametrize("size", [0, LIMIT + 1, 2**31, 2**32 - 1])
def test_a_bad_length_is_refused_before_its_payload_comes(size: int) -> None:
    reader = FrameReader(LIMIT)
    header = size.to_bytes(4, "big")
    reader.feed(header[:3])
    assert reader.next_payload() is None
    reader.feed(header[3:])
    with pytest.raises(RemoteError, match=str(size)) as caught:
        reader.next_payload()
    assert caught.value.code is CloseCode.BAD_FRAME


def test_a_bad_length_behind_a_good_frame_spoils_only_what_follows() -> None:
    reader = FrameReader(LIMIT)
    reader.feed(encode_frame(b"good") + b"\xff\xff\xff\xff")
    assert reader.next_payload() == b"good"
    with pytest.raises(RemoteError):
        reader.next_payload()


@pytest.mark.parametrize(("size", "limit"), [(1, 1), (LIMIT, LIMIT), (FRAME_MAX, FRAME_MAX)])
def test_lengths_up_to_the_limit_are_fine(size: int, limit: int) -> None:
    check_length(size, limit)


def test_the_limit_can_be_raised_between_frames() -> None:
    reader = FrameReader(FRAME_MAX_BEFORE_LOGIN)
    long = encode_frame(bytes(FRAME_MAX_BEFORE_LOGIN + 1))
    reader.feed(encode_frame(b"short") + long)
    assert reader.next_payload() == b"short"
    reader.limit = FRAME_MAX
    assert reader.next_payload() == long[4:]


def test_the_rest_is_taken_once() -> None:
    reader = FrameReader(LIMIT)
    reader.feed(encode_frame(b"login") + b"\x00\x00\x00\x09unfin")
    assert reader.next_payload() == b"login"
    assert reader.take_rest() == b"\x00\x00\x00\x09unfin"
    assert reader.take_rest() == b""


def test_starts_with_looks_at_what_was_not_returned_yet() -> None:
    reader = FrameReader(LIMIT)
    reader.feed(encode_frame(b"x") + b"GE")
    assert not reader.starts_with(b"GE")
    reader.next_payload()
    assert reader.starts_with(b"GE")
    assert not reader.starts_with(b"GET")
