"""The relay's end of a stream: bodies are found where they stand, and frames are what the packet encoder makes."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.files.end import StreamOverError, TransferEnd, data_frame, data_head
from relay.protocol.codes import ErrorCode
from relay.protocol.limits import CHUNK_MAX_BYTES
from relay.protocol.packets import Data, Finish, Open, Reset, encode
from relay.protocol.transfer import TransferError
from relay.router.directory import Directory
from relay.router.gate import Gate, Lane
from relay.router.streams import StreamLimits, StreamTable
from tests.router.recording import RecordingSubscriber

SIZES = [1, 2, 255, 256, 257, 4096, CHUNK_MAX_BYTES - 1, CHUNK_MAX_BYTES]


def an_end() -> tuple[TransferEnd, RecordingSubscriber, Lane]:
    alice = RecordingSubscriber("alice")
    packet = Open(alice.address, "relay", 2, "files.put", 1000, "", b"")
    end = TransferEnd(StreamTable(Directory(3), StreamLimits()), alice, packet, lambda end: None)
    return end, alice, Lane(alice.outlet, end, Gate(10**9))


@pytest.mark.parametrize("size", SIZES)
def test_the_frame_of_a_data_is_what_the_encoder_makes(size: int) -> None:
    body = bytes(range(256)) * 256
    packet = Data("relay", "alice/phone", 3, body[:size])
    assert data_frame(data_head(packet), [body[:size]], size) == encode(packet)
    assert data_frame(data_head(packet), [b"", memoryview(body)[:1], body[1:size]], size) == encode(packet)


@given(st.sampled_from(SIZES), st.binary(min_size=20, max_size=20), st.booleans())
def test_a_body_is_found_where_it_stands(size: int, beginning: bytes, viewed: bool) -> None:
    end, alice, lane = an_end()
    body = (beginning * (size // 20 + 1))[:size]
    frame = encode(Data(alice.address, "relay", 2, body))
    lane.send(memoryview(frame) if viewed else frame, size)
    assert end.reader.size == size
    end.reader._put_down()
    assert b"".join(end.reader._take(size)) == body


@pytest.mark.parametrize("around", [0, 100, 300_000])
def test_a_body_keeps_little_else_in_memory(around: int) -> None:
    end, alice, lane = an_end()
    frame = encode(Data(alice.address, "relay", 2, bytes(40_000)))
    read = bytes(around) + frame
    lane.send(memoryview(read)[around:], 40_000)
    (piece,) = end.reader._take(40_000)
    assert (piece.obj is read) is (around <= 100)
    assert len(piece.obj) <= 80_000


@pytest.mark.parametrize("size", [1, 300, 5000])
def test_a_body_with_fields_of_a_later_version_behind_it_is_found_too(size: int) -> None:
    end, alice, lane = an_end()
    body = bytes([7]) * size
    frame = encode(Data(alice.address, "relay", 2, body))
    longer = bytes([frame[4] + 1]) + frame[5:] + b"\xa3new"
    lane.send(len(longer).to_bytes(4, "big") + longer, size)
    assert end.reader.size == size
    end.reader._put_down()
    assert b"".join(end.reader._take(size)) == body


def test_how_the_other_end_stops_is_told_apart() -> None:
    end, alice, lane = an_end()
    lane.send(encode(Finish(alice.address, "relay", 2)), 0)
    assert (end.finished, end.over) == (True, False)
    end.check()
    lane.send(encode(Reset(alice.address, "relay", 2, 211, "enough")), 0)
    with pytest.raises(StreamOverError):
        end.check()
    with pytest.raises(StreamOverError):
        end.wait(1)
    with pytest.raises(StreamOverError):
        end.accept(None)


def test_waiting_ends_after_its_time() -> None:
    end, _, _ = an_end()
    with pytest.raises(TransferError) as error:
        end.wait(0.001)
    assert error.value.code is ErrorCode.TIMED_OUT


class Trickle:
    """An event whose every wait ends without it being set, after one byte came; until enough came."""

    def __init__(self, feed: Callable[[], None]) -> None:
        self._feed = feed
        self._is_set = False

    def clear(self) -> None:
        self._is_set = False

    def set(self) -> None:
        self._is_set = True

    def wait(self, timeout_s: float) -> bool:
        self._feed()
        return self._is_set


def test_who_is_slow_is_still_there() -> None:
    end, alice, lane = an_end()
    frame = encode(Data(alice.address, "relay", 2, b"\x00"))
    end._event = Trickle(lambda: lane.send(frame, 1))
    end.wait(0.001)
    assert end.reader.size == 4
    assert end.reader.ready


def test_nothing_is_said_on_a_stream_that_is_over() -> None:
    end, alice, _ = an_end()
    end.reset(ErrorCode.CANCELLED, "enough")
    end.reset(ErrorCode.CANCELLED, "enough")
    end.finish()
    end.grant(10**6)
    assert alice.outlet.packets() == []
    assert end.credit == 0
