"""The fast paths of DATA and CREDIT read what decoding would read, and leave the rest to it."""

from collections.abc import Callable

import gevent
import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.protocol.limits import CHUNK_MAX_BYTES, HEADER_BYTES, INTEGER_MAX
from relay.protocol.packets import Accept, Credit, Data, Open, decode, encode, encode_payload
from relay.router.directory import address_bytes
from relay.session.outbox import Turn
from relay.session.streams import LARGE_FRAME_BYTES, cut, read_credit, read_data
from tests.session.wire import Wire

ME = "alice/phone"
START = HEADER_BYTES + 2 + len(address_bytes(ME))


def read(frame: bytes) -> tuple[str, int, int] | None:
    return read_data(frame, START, len(frame))


@given(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60),
    st.one_of(st.integers(0, INTEGER_MAX), st.sampled_from([0, 127, 128, 255, 256, 65535, 65536, 2**32])),
    st.one_of(st.integers(1, 300), st.sampled_from([255, 256, 65535, 65536])),
)
def test_what_is_read_is_what_is_there(to: str, id: int, size: int) -> None:
    assert read(encode(Data(ME, to, id, bytes(size)))) == (to, id, size)


@given(st.data())
def test_a_changed_byte_is_read_as_decoding_reads_it_or_not_at_all(data: st.DataObject) -> None:
    payload = bytearray(encode_payload(Data(ME, "bob/desk", data.draw(st.sampled_from([1, 200, 70_000])), b"abc")))
    place = data.draw(st.integers(START - HEADER_BYTES, len(payload) - 1))
    payload[place] = data.draw(st.integers(0, 255))
    found = read(bytes(HEADER_BYTES) + payload)
    if found is not None:
        packet = decode(bytes(payload))
        assert isinstance(packet, Data)
        assert found == (packet.to, packet.id, len(packet.body))


@pytest.mark.parametrize("size", [0, CHUNK_MAX_BYTES + 1])
def test_bodies_beyond_the_limits_are_left_to_the_slow_path(size: int) -> None:
    assert read(encode(Data(ME, "bob/desk", 1, bytes(size)))) is None


def test_fields_behind_the_body_are_left_to_the_slow_path() -> None:
    payload = msgpack.packb([34, ME, "bob/desk", 1, b"abc", "later"])
    assert read(len(payload).to_bytes(HEADER_BYTES, "big") + payload) is None


def credit(frame: bytes) -> tuple[str, int, int] | None:
    return read_credit(frame, START, len(frame))


NUMBERS = st.one_of(st.integers(0, INTEGER_MAX), st.sampled_from([0, 127, 128, 255, 256, 65535, 65536, 2**32]))


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60), NUMBERS, NUMBERS)
def test_a_credit_is_read_as_it_is(to: str, id: int, size: int) -> None:
    assert credit(encode(Credit(ME, to, id, size))) == (to, id, size)


@given(st.data())
def test_a_credit_with_a_changed_byte_is_read_as_decoding_reads_it_or_not_at_all(data: st.DataObject) -> None:
    payload = bytearray(encode_payload(Credit(ME, "bob/desk", data.draw(NUMBERS), data.draw(NUMBERS))))
    place = data.draw(st.integers(START - HEADER_BYTES, len(payload) - 1))
    payload[place] = data.draw(st.integers(0, 255))
    found = credit(bytes(HEADER_BYTES) + payload)
    if found is not None:
        packet = decode(bytes(payload))
        assert isinstance(packet, Credit)
        assert found == (packet.to, packet.id, packet.size)


@given(st.integers(0, 40))
def test_a_credit_that_is_cut_is_left_to_the_slow_path(missing: int) -> None:
    frame = encode(Credit(ME, "bob/desk", 70_000, 65_536))
    assert credit(frame[: max(START, len(frame) - 1 - missing)]) is None
    assert credit(frame + b"\x01") is None


@pytest.mark.parametrize("size", [10, LARGE_FRAME_BYTES - 1, LARGE_FRAME_BYTES])
def test_a_frame_is_cut_out_as_it_is(size: int) -> None:
    data = bytes(3) + b"x" * size + bytes(3)
    frame = cut(data, 3, 3 + size)
    assert bytes(frame) == b"x" * size
    assert isinstance(frame, memoryview) == (size >= LARGE_FRAME_BYTES)


class Counting(Turn):
    """Counts what is deferred."""

    deferred = 0

    def defer(self, work: Callable[[], None]) -> None:
        self.deferred += 1
        super().defer(work)


@pytest.mark.parametrize(("size", "waits"), [(100, False), (CHUNK_MAX_BYTES, True)])
def test_much_data_waits_for_those_who_have_little_to_say(size: int, waits: bool) -> None:
    wire = Wire("alice", "bob")
    turn = Counting(gevent.get_hub().loop.run_callback)
    wire.surroundings = wire.surroundings._replace(turn=turn)
    (_, alice), (_, bob) = wire.connect("alice"), wire.connect("bob", "desk")
    here, there = "alice/phone", "bob/desk"
    try:
        alice.send(Open(here, there, 4, "bytes", 5000, "", b""))
        assert isinstance(bob.receive(), Open)
        bob.send(Accept(there, here, 5, "", b""), *[Credit(there, here, 5, CHUNK_MAX_BYTES)] * 8)
        packets = [alice.receive() for _ in range(9)]
        assert [type(packet) for packet in packets] == [Accept] + [Credit] * 8
        bodies = [bytes([number]) * size for number in range(8)]
        sending = gevent.spawn(alice.send, *(Data(here, there, 4, body) for body in bodies))
        assert [packet.body for packet in (bob.receive() for _ in range(8)) if isinstance(packet, Data)] == bodies
        sending.get()
        assert (turn.deferred > 0) is waits
    finally:
        wire.close()
