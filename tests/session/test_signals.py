"""The fast path forwards what the slow path would, byte for byte, and nothing that the slow path would refuse."""

import msgpack
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from relay.protocol.codes import CloseCode
from relay.protocol.errors import RemoteError
from relay.protocol.limits import BODY_MAX, CONTENT_TYPE_MAX_BYTES, HEADER_BYTES
from relay.protocol.packets import Signal, decode, encode
from relay.router.directory import Route
from relay.session.signals import RUNS_MAX, Run, Runs, learn_run, signal_prefix
from tests.router.recording import RecordingSubscriber
from tests.router.town import Town
from tests.session.wire import Wire

ME = "alice/phone"
PREFIX = signal_prefix(ME)


class Streets:
    """Alice sends; Bob, his phone, a room, and a blocker are there to be sent to."""

    def __init__(self) -> None:
        self.wire = Wire("alice", "bob")
        self.session, self.client = self.wire.connect("alice", rooms=("#ops",), start=False)
        town = self.wire.town
        self.others = [
            town.join("bob", rooms=("#ops",)),
            town.join("bob", "desk"),
            town.join("é", "ü"),
            town.join("mallory", blocked=("alice",)),
        ]

    def route(self, encoded: bytes) -> Route | None:
        return self.wire.town.router.signal_route(self.session, encoded)

    def learn(self, frame: bytes) -> Run | None:
        if not frame.startswith(PREFIX, HEADER_BYTES):
            return None
        return learn_run(frame, 0, len(frame), PREFIX, self.route)

    def slowly(self, frame: bytes) -> list[tuple[RecordingSubscriber, bytes, int]] | None:
        """What the slow path forwards, to whom; None if it refuses the frame or ends the session."""
        size = self.session.outlet.size
        try:
            self.session._handle(frame)
        except RemoteError:
            return None
        return None if self.session.outlet.size != size else self.forwarded()

    def forwarded(self) -> list[tuple[RecordingSubscriber, bytes, int]]:
        found = [(other, *signal) for other in self.others for signal in other.outlet.signalled]
        for other in self.others:
            other.outlet.signalled.clear()
            other.outlet.drain()
        return found

    def close(self) -> None:
        self.session._connection._sock.close()
        self.wire.close()

    def answers(self) -> bytes:
        """What the relay said to Alice since the last time."""
        said = b"".join(self.session.outlet._chunks)
        self.session.outlet._chunks, self.session.outlet.size = [], 0
        return said

    def happen(self, event: str) -> None:
        """Something that changes where signals of Alice go."""
        router = self.wire.town.router
        match event:
            case "bob/phone leaves":
                self.others[0].end(CloseCode.NORMAL, "bye")
            case "bob/phone comes":
                self.others[0].end(CloseCode.NORMAL, "replaced")
                self.others[0] = self.wire.town.join("bob", rooms=("#ops",))
            case "blocked by bob":
                router.blocks.add("bob", "alice")
            case "not blocked by bob":
                router.blocks.remove("bob", "alice")
            case "alice leaves the room":
                router.rooms.leave("#ops", "alice")
            case "alice joins the room":
                router.rooms.join("#ops", "alice")


@pytest.fixture(scope="module")
def streets():
    made = Streets()
    yield made
    made.close()


receivers = st.sampled_from(["bob", "bob/phone", "bob/desk", "é", "é/ü", "#ops", "carol", "nobody", "mallory", "", "#"])
senders = st.sampled_from([ME] * 6 + ["bob/phone", "alice", "alice/phon", "alice/phonex", ""])
content_types = st.one_of(
    st.sampled_from(["", "text/plain", "application/msgpack", "é"]), st.text(max_size=140), st.just("x" * 200)
)
bodies = st.one_of(st.binary(max_size=40), st.integers(0, 70_000).map(bytes))
signals = st.builds(Signal, senders, receivers, st.none() | st.integers(0, 2**53 - 1), content_types, bodies)


def is_plain(signal: Signal) -> bool:
    """What the fast path is for."""
    content_type = signal.content_type
    return (
        signal.sender == ME
        and signal.id is None
        and signal.to in ("bob", "bob/phone", "bob/desk", "é", "é/ü", "#ops")
        and content_type.isascii()
        and len(content_type) <= CONTENT_TYPE_MAX_BYTES
        and len(signal.body) <= BODY_MAX
    )


@settings(max_examples=400, deadline=None)
@given(signals)
@example(Signal(ME, "bob", None, "", bytes(BODY_MAX)))
@example(Signal(ME, "bob", None, "", bytes(BODY_MAX + 1)))
@example(Signal(ME, "bob", None, "x" * CONTENT_TYPE_MAX_BYTES, b""))
@example(Signal(ME, "bob", None, "x" * (CONTENT_TYPE_MAX_BYTES + 1), b""))
@example(Signal(ME, "#ops", None, "", b"x"))
@example(Signal(ME, "mallory", None, "", b"x"))
def test_the_fast_path_does_what_the_slow_path_does(streets: Streets, signal: Signal) -> None:
    frame = encode(signal)
    run = streets.learn(frame)
    assert (run is not None) == is_plain(signal)
    slow = streets.slowly(frame)
    if run is None:
        return
    assert frame.startswith(run.header)
    assert len(run.header) + len(signal.body) == run.size == len(frame)
    assert slow is not None
    streets.session._forward(run, frame, 0, len(frame))
    assert streets.forwarded() == slow
    assert slow


@settings(max_examples=1500, deadline=None)
@given(signals, st.data())
def test_no_mutated_bytes_are_forwarded_unless_they_are_a_right_packet(
    streets: Streets, signal: Signal, data: st.DataObject
) -> None:
    payload = bytearray(encode(signal._replace(sender=ME, body=signal.body[:300]))[HEADER_BYTES:])
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
    frame = len(payload).to_bytes(HEADER_BYTES, "big") + payload
    run = streets.learn(frame)
    if run is None:
        streets.forwarded()
        return
    packet = decode(bytes(payload))
    assert isinstance(packet, Signal)
    assert packet.sender == ME
    assert packet.id is None
    assert len(packet.body) == run.size - len(run.header)
    slow = streets.slowly(frame)
    streets.session._forward(run, frame, 0, len(frame))
    assert streets.forwarded() == slow


events = st.sampled_from(
    [
        "bob/phone leaves",
        "bob/phone comes",
        "blocked by bob",
        "not blocked by bob",
        "alice leaves the room",
        "alice joins the room",
    ]
)
few = st.builds(
    Signal,
    st.sampled_from([ME] * 12 + ["bob/phone"]),
    st.sampled_from(["bob", "bob/phone", "bob/desk", "é/ü", "#ops", "nobody", "mallory"]),
    st.sampled_from([None] * 6 + [5]),
    st.sampled_from(["", "a", "é"]),
    st.sampled_from([b"", b"x", b"y", b"xy"]),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(few, min_size=1, max_size=12) | events, max_size=25), st.data())
def test_whatever_happens_between_signals_they_go_where_the_slow_path_sends_them(
    steps: list[list[Signal] | str], data: st.DataObject
) -> None:
    fast, slow = Streets(), Streets()
    for step in steps:
        if isinstance(step, str):
            fast.happen(step)
            slow.happen(step)
            continue
        frames = [encode(signal) for signal in step]
        stream = b"".join(frames)
        cut = data.draw(st.integers(0, len(stream)))
        fast.session.receive(stream[:cut])
        fast.session.receive(stream[cut:])
        for frame in frames:
            slow.session._handle(frame)
        assert received(fast) == received(slow)
        assert fast.answers() == slow.answers()
    fast.close()
    slow.close()


def received(streets: Streets) -> list[tuple[str, bytes, int]]:
    """What each of the others got: its address, the bytes in their order, how many signals."""
    got = []
    for other in streets.others:
        sent = other.outlet.signalled
        got.append((other.address, b"".join(frames for frames, _ in sent), sum(count for _, count in sent)))
        sent.clear()
        other.outlet.drain()
    return got


def test_a_session_remembers_many_headers_but_not_more_than_it_may() -> None:
    fast = Streets()
    for size in range(3 * RUNS_MAX):
        fast.session.receive(encode(Signal(ME, "bob/desk", None, "", bytes(size))))
        assert len(fast.session._runs) <= RUNS_MAX
    assert received(fast)[1][2] == 3 * RUNS_MAX
    fast.session.forget_routes()
    assert len(fast.session._runs) == 0
    fast.close()


@pytest.mark.parametrize("to", ["bob", "bob/desk", "x" * 31, "x" * 32, "x" * 64 + "/" + "y" * 64])
def test_a_header_is_found_again_however_long_the_receivers_name_is(to: str) -> None:
    frame = encode(Signal(ME, to, None, "", b"x"))
    run = Run(frame[:-1], len(frame), Route(), False)
    runs = Runs(PREFIX)
    runs.remember(run)
    assert runs.find(frame, 0, len(frame)) is run
    assert runs.find(b"other" + frame, 5, 5 + len(frame)) is run
    assert all(runs.find(frame[:cut], 0, cut) is None for cut in range(len(run.header)))
    assert runs.find(frame[:-3] + b"\xa1z" + frame[-1:], 0, len(frame)) is None


def unusual(to: bytes, content_type: bytes, body: bytes, id: bytes = b"\xc0") -> bytes:
    payload = PREFIX + to + id + content_type + body
    return len(payload).to_bytes(HEADER_BYTES, "big") + payload


@pytest.mark.parametrize(
    "frame",
    [
        unusual(b"\xa3bob", b"\xd9\x01x", b"\xc4\x01y"),
        unusual(b"\xa3bob", b"\xa1x", b"\xc5\x00\x01y"),
        unusual(b"\xa3bob", b"\xa1x", b"\xc6\x00\x00\x00\x01y"),
        unusual(b"\xd9\x03bob", b"\xa1x", b"\xc4\x01y"),
        unusual(b"\xd9\x04#ops", b"\xa1x", b"\xc4\x01y"),
    ],
)
def test_longer_ways_to_write_the_same_arrive_as_they_were_written(streets: Streets, frame: bytes) -> None:
    run = streets.learn(frame)
    slow = streets.slowly(frame)
    assert slow
    assert {sent for _, sent, _ in slow} == {frame}
    if run is not None:
        streets.session._forward(run, frame, 0, len(frame))
        assert streets.forwarded() == slow


@pytest.mark.parametrize(
    "frame",
    [
        unusual(b"\xa3bob", b"\xa1\xff", b"\xc4\x01y"),
        unusual(b"\xa3bob", b"\xa1x", b"\xc4\x02y"),
        unusual(b"\xa3bob", b"\xa1x", b"\xc4\x00y"),
        unusual(b"\xa3bob", b"\xa1x", b"\xa1y"),
        unusual(b"\xa3bob", b"\xa1x", b"\xc7\x01\x05y"),
        unusual(b"\xa3bob", b"\xc4\x01x", b"\xc4\x01y"),
        unusual(b"\xa3bob", b"\xbfx", b"\xc4\x01y"),
        unusual(b"\xbfbob", b"\xa1x", b"\xc4\x01y"),
        unusual(b"\xa3bob", b"", b""),
        unusual(b"\xa3bob", b"\xa1x", b""),
        unusual(b"\xa3bob", b"\xa1x", b"\xc6\x00\x00"),
        unusual(b"", b"", b"", b""),
        unusual(b"\xa2#\xff", b"\xa1x", b"\xc4\x01y"),
        unusual(b"\xa3bob", b"\xa1x", b"\xc4\x01y", b"\x01"),
        unusual(b"\xa3bob", b"\xa1x", b"\xc4\x01y", b"\xc2"),
    ],
)
def test_what_does_not_fit_the_pattern_is_left_to_the_slow_path(streets: Streets, frame: bytes) -> None:
    assert streets.learn(frame) is None
    streets.slowly(frame)
    streets.forwarded()


def test_the_prefix_is_how_every_signal_of_a_session_begins() -> None:
    for address in (ME, "é/ü", "a" * 64 + "/" + "b" * 64):
        frame = encode(Signal(address, "bob", 5, "", b""))
        assert frame.startswith(signal_prefix(address), HEADER_BYTES)
        assert msgpack.unpackb(frame[HEADER_BYTES:])[1] == address


def test_a_prefix_that_runs_into_the_next_frame_is_not_taken_for_one() -> None:
    town = Town("alice", "bob")
    bob = town.join("bob")
    frame = encode(Signal(ME, "bob", None, "", b"x"))
    short = 5
    data = short.to_bytes(4, "big") + frame[4:]
    assert learn_run(data, 0, HEADER_BYTES + short, PREFIX, town.router.directory.route) is None
    assert bob.outlet.signalled == []
