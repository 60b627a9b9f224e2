"""The fast path for messages stores what the slow path would, and leaves to it whatever it would refuse."""

from collections.abc import Iterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from relay.protocol.codes import CloseCode, ErrorCode
from relay.protocol.errors import RemoteError
from relay.protocol.frames import encode_frame
from relay.protocol.limits import BODY_MAX, CONTENT_TYPE_MAX_BYTES, FRAME_MAX, HEADER_BYTES, INTEGER_MAX, MESSAGE_WINDOW
from relay.protocol.packets import Close, Delivery, Error, Message, Ping, Pong, Stored, StoredRun, decode, encode
from relay.protocol.runs import RUN_BYTES_MAX, RUN_MESSAGES_MAX
from relay.session.messages import learn_shape, message_prefix, read_run
from relay.store.base import Append
from tests.loop import until
from tests.session.wire import Wire

ME = "alice/phone"
PREFIX = message_prefix(ME)


class Desk:
    """Alice's session; what it hands to the log is taken out again."""

    def __init__(self) -> None:
        self.wire = Wire("alice", "bob")
        self.session, self.client = self.wire.connect("alice", start=False)
        self.taken: list[Append] = []
        self.wire.town.log.append = self._append  # type: ignore[method-assign]

    def _append(self, item: Append) -> bool:
        self.taken.append(item)
        return True

    def fast(self, frame: bytes) -> list[Append] | None:
        """What the fast path stores; None if it leaves the frame to the slow one."""
        if not frame.startswith(PREFIX, HEADER_BYTES):
            return None
        shape = learn_shape(frame, 0, len(frame), PREFIX)
        if shape is None:
            return None
        first_id, total = read_run(frame, 0, len(frame), shape)
        if not total:
            return None
        self.wire.town.router.conversations.submit(self.session, shape.to, first_id, frame[HEADER_BYTES:])
        return self._take()

    def slow(self, frame: bytes) -> list[Append] | None:
        """What the slow path stores; None if it ends the session."""
        try:
            self.session._handle(frame)
        except RemoteError:
            return None
        return self._take()

    def _take(self) -> list[Append]:
        taken, self.taken = self.taken, []
        self.session.storing = 0
        return taken

    def close(self) -> None:
        self.session._connection._sock.close()
        self.wire.close()


@pytest.fixture(scope="module")
def desk() -> Iterator[Desk]:
    made = Desk()
    yield made
    made.close()


receivers = st.sampled_from(["bob", "bob", "bob", "#ops", "bob/phone", "Bob", "", "é", "x" * 70])
senders = st.sampled_from([ME] * 6 + ["bob/phone", "alice"])
edges = st.sampled_from([127, 128, 255, 256, 65535, 65536, 2**32 - 1, 2**32, INTEGER_MAX])
ids = st.one_of(st.integers(0, 300), st.integers(0, 2**32), edges)
content_types = st.one_of(st.sampled_from(["", "text/plain", "é"]), st.text(max_size=140))
bodies = st.one_of(st.binary(max_size=40), st.integers(0, 70_000).map(bytes))
messages = st.builds(Message, senders, receivers, ids, content_types, bodies)


def is_plain(message: Message) -> bool:
    """What the fast path is for."""
    return (
        message.sender == ME
        and 127 < message.id < 2**32
        and message.to.isascii()
        and message.content_type.isascii()
        and len(message.content_type) <= CONTENT_TYPE_MAX_BYTES
        and len(message.body) <= BODY_MAX
    )


@settings(max_examples=400, deadline=None)
@given(messages)
@example(Message(ME, "bob", 300, "", bytes(BODY_MAX)))
@example(Message(ME, "bob", 300, "", bytes(BODY_MAX + 1)))
@example(Message(ME, "bob", 2**32 - 1, "", b""))
@example(Message(ME, "bob", 2**32, "", b""))
@example(Message(ME, "bob", 300, "x" * CONTENT_TYPE_MAX_BYTES, b""))
@example(Message(ME, "bob", 300, "x" * (CONTENT_TYPE_MAX_BYTES + 1), b""))
def test_the_fast_path_stores_what_the_slow_path_stores(desk: Desk, message: Message) -> None:
    frame = encode(message)
    fast = desk.fast(frame)
    assert (fast is not None) == is_plain(message)
    if fast is not None:
        assert fast == desk.slow(frame)
        assert all(item.packet == frame[HEADER_BYTES:] for item in fast)
        if message.to == "bob":
            assert [(item.message_id, item.conversation) for item in fast] == [(message.id, "alice@bob")]


@settings(max_examples=1500, deadline=None)
@given(messages, st.data())
def test_mutated_bytes_are_stored_only_if_they_are_a_right_packet(
    desk: Desk, message: Message, data: st.DataObject
) -> None:
    wanted = message._replace(sender=ME, id=max(128, message.id), body=message.body[:300])
    payload = bytearray(encode(wanted)[HEADER_BYTES:])
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, max(0, len(payload) - 1)))
        change = data.draw(st.sampled_from(["flip", "cut", "insert", "append"]))
        byte = data.draw(st.integers(0, 255))
        if change == "flip" and payload:
            payload[place] = byte
        elif change == "cut":
            del payload[place:]
        elif change == "insert":
            payload.insert(place, byte)
        else:
            payload.append(byte)
    if not payload:
        return
    frame = encode_frame(bytes(payload))
    fast = desk.fast(frame)
    if fast is not None:
        packet = decode(bytes(payload))
        assert isinstance(packet, Message)
        assert packet.sender == ME
        assert fast == desk.slow(frame)


def raw(id: bytes, to: bytes = b"\xa3bob", content_type: bytes = b"\xa0", body: bytes = b"\xc4\x01x") -> bytes:
    return encode_frame(PREFIX + to + id + content_type + body)


@pytest.mark.parametrize(
    "id", [b"\xcc\x00", b"\xcd\x00\x00", b"\xcf" + bytes(8), b"\xcf" + b"\xff" * 8, b"\xcf\x00\x20" + bytes(6)]
)
def test_ids_that_no_message_may_have_are_left_to_the_slow_path(desk: Desk, id: bytes) -> None:
    assert desk.fast(raw(id)) is None
    assert not desk.slow(raw(id))


@pytest.mark.parametrize("id", [b"\xcc\x05", b"\xcd\x00\x05", b"\xce\x00\x00\x00\x05"])
def test_longer_ways_to_write_an_id_are_the_same_id(desk: Desk, id: bytes) -> None:
    fast = desk.fast(raw(id))
    assert fast
    assert fast[0].message_id == 5
    assert fast == desk.slow(raw(id))


def test_a_run_ends_where_the_shape_ends(desk: Desk) -> None:
    frames = [encode(Message(ME, "bob", id, "", b"x")) for id in range(200, 300)]
    data = b"".join(frames)
    shape = learn_shape(data, 0, len(frames[0]), PREFIX)
    assert shape
    assert read_run(data, 0, len(data), shape) == (200, 56)
    assert read_run(data, 0, len(data) - 1, shape) == (200, 56)
    assert read_run(data, 0, 3 * shape.size - 1, shape) == (200, 2)
    assert read_run(data, 0, shape.size, shape) == (200, 1)


def test_a_run_has_successive_ids(desk: Desk) -> None:
    frames = [encode(Message(ME, "bob", id, "", b"x")) for id in (300, 301, 303, 302, 302)]
    size = len(frames[0])
    shape = learn_shape(frames[0], 0, size, PREFIX)
    assert shape
    found = [read_run(b"".join(frames), at * size, 5 * size, shape) for at in (0, 2, 3, 4)]
    assert found == [(300, 2), (303, 1), (302, 1), (302, 1)]


def test_the_last_id_of_a_width_ends_a_run(desk: Desk) -> None:
    data = raw(b"\xcc\xff") + raw(b"\xcc\x00")
    shape = learn_shape(data, 0, len(data) // 2, PREFIX)
    assert shape
    assert read_run(data, 0, len(data), shape) == (255, 1)


@pytest.mark.parametrize("body_bytes", [0, 1000, RUN_BYTES_MAX])
def test_a_run_is_bounded_in_messages_and_bytes(desk: Desk, body_bytes: int) -> None:
    frames = [encode(Message(ME, "bob", id, "", bytes(body_bytes))) for id in range(300, 500)]
    shape = learn_shape(frames[0], 0, len(frames[0]), PREFIX)
    assert shape
    _, total = read_run(b"".join(frames), 0, 200 * shape.size, shape)
    assert 1 <= total <= RUN_MESSAGES_MAX
    assert total == RUN_MESSAGES_MAX or (total + 1) * shape.size > RUN_BYTES_MAX
    assert total == 1 or total * shape.size <= RUN_BYTES_MAX


def test_a_bad_id_in_the_middle_ends_the_run_before_it(desk: Desk) -> None:
    data = raw(b"\xcd\x01\x00") + raw(b"\xcd\x00\x00") + raw(b"\xcd\x01\x02")
    shape = learn_shape(data, 0, len(data) // 3, PREFIX)
    assert shape
    assert read_run(data, 0, len(data), shape) == (256, 1)


@pytest.mark.parametrize(
    "behind",
    [
        encode(Message(ME, "carol", 301, "", b"x")),
        encode(Message(ME, "bob", 301, "text/plain", b"x")),
        encode(Message(ME, "bob", 301, "", b"xy")),
        encode(Message("alice/lapto", "bob", 301, "", b"x")),
        encode(Ping(1)),
    ],
)
def test_whatever_is_different_is_not_part_of_the_run(desk: Desk, behind: bytes) -> None:
    data = encode(Message(ME, "bob", 300, "", b"x")) + behind
    shape = learn_shape(data, 0, len(data) - len(behind), PREFIX)
    assert shape
    assert read_run(data, 0, len(data), shape) == (300, 1)


def test_a_sender_gets_all_its_answers_through_either_path(wire: Wire) -> None:
    session, alice = wire.connect("alice")
    bob = wire.town.join("bob", receiving=True)
    frames = [encode(Message(ME, "bob", id, "", bytes([id % 7]))) for id in range(1, 401)]
    session.receive(b"".join(frames[:200]) + encode(Ping(1)) + b"".join(frames[200:]))
    wire.town.log.run()
    answered: dict[int, int] = {}
    pongs = 0
    while len(answered) < 400:
        packet = alice.receive()
        if isinstance(packet, Stored):
            answered[packet.id] = packet.offset
        elif isinstance(packet, StoredRun):
            assert 1 < packet.total <= MESSAGE_WINDOW
            answered |= {packet.id + step: packet.offset + step for step in range(packet.total)}
        else:
            pongs += packet == Pong(1)
    assert answered == {id: id for id in range(1, 401)}
    assert pongs == 1
    deliveries = [packet for packet in bob.outlet.take() if isinstance(packet, Delivery)]
    assert [encode_frame(packet.packet) for packet in deliveries] == frames


def test_runs_cut_anywhere_are_stored_once_and_in_order(wire: Wire) -> None:
    session, _ = wire.connect("alice")
    data = b"".join(encode(Message(ME, "bob" if id % 9 else "carol", id, "", b"x")) for id in range(120, 420))
    for start in range(0, len(data), 97):
        session.receive(data[start : start + 97])
    wire.town.log.run()
    for other, expected in (("bob", 267), ("carol", 33)):
        entries = wire.town.log.store.read(f"alice@{other}", 0, 1000, 1 << 30)
        found = [decode(entry.packet).id for entry in entries]  # type: ignore[union-attr]
        assert found == [id for id in range(120, 420) if (id % 9 == 0) == (other == "carol")]
        assert len(found) == expected


def test_what_is_refused_in_a_run_is_refused_one_by_one(wire: Wire) -> None:
    session, alice = wire.connect("alice")
    session.receive(b"".join(encode(Message(ME, "bob/phone", id, "", b"x")) for id in (300, 301, 302)))
    errors = [alice.receive() for _ in range(3)]
    assert [error[:3] for error in errors if isinstance(error, Error)] == [
        (17, id, ErrorCode.BAD_ADDRESS) for id in (300, 301, 302)
    ]


def test_a_full_queue_refuses_every_message_of_a_run(wire: Wire) -> None:
    session, alice = wire.connect("alice")
    wire.town.log.queue_max = 1
    for ids in ((300, 301), (302, 303)):
        session.receive(b"".join(encode(Message(ME, "bob", id, "", b"x")) for id in ids))
    errors = [alice.receive() for _ in range(2)]
    assert [error[:3] for error in errors if isinstance(error, Error)] == [
        (17, id, ErrorCode.QUEUE_FULL) for id in (302, 303)
    ]
    assert session.storing == 2


def test_an_id_out_of_range_ends_the_session_and_stores_nothing(wire: Wire) -> None:
    session, alice = wire.connect("alice")
    session.receive(raw(b"\xcf" + b"\xff" * 8))
    close = alice.closing()
    assert isinstance(close, Close)
    assert close.code == CloseCode.BAD_PACKET
    assert not wire.town.log.can["commit"]


def test_a_run_longer_than_the_window_pauses_once(wire: Wire) -> None:
    session, _ = wire.connect("alice")
    session.receive(b"".join(encode(Message(ME, "bob", id, "", b"x")) for id in range(300, 300 + 2 * MESSAGE_WINDOW)))
    assert session.storing == 2 * MESSAGE_WINDOW
    wire.town.log.run()
    until(lambda: session.storing == 0)


def test_limits_leave_room_for_the_largest_message() -> None:
    frame = encode(
        Message("a" * 64 + "/" + "b" * 64, "c" * 64, INTEGER_MAX, "x" * CONTENT_TYPE_MAX_BYTES, bytes(BODY_MAX))
    )
    assert len(frame) - HEADER_BYTES <= FRAME_MAX
