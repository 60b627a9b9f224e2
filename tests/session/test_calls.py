"""The fast path for calls does what decoding and handling each packet does: the same bytes to everybody, the same
refusals, the same calls in flight.
"""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from relay.protocol.codes import CloseCode
from relay.protocol.errors import RemoteError
from relay.protocol.limits import BODY_MAX, CONTENT_TYPE_MAX_BYTES, HEADER_BYTES, INTEGER_MAX
from relay.protocol.packets import Call, Fault, Ping, Result, encode
from relay.session.calls import LANES_MAX, SHARED_MAX
from relay.session.session import Phase, Session
from tests.session.wire import Wire

ALICE = "alice/phone"
LONG = "long-name-" * 4
IDS = [0, 1, 127, 128, 255, 256, 65535, 65536, 2**32 - 1, 2**32, INTEGER_MAX]


class Office:
    """Alice asks, the bot answers; both are real sessions whose outboxes nobody empties but the test."""

    def __init__(self) -> None:
        self.wire = Wire("alice", "bot", "mallory", LONG)
        self.town = self.wire.town
        self.sessions = {
            "alice": self.wire.connect("alice", start=False)[0],
            "bot": self.wire.connect("bot", "x", start=False)[0],
            LONG: self.wire.connect(LONG, "y", start=False)[0],
        }
        self.sessions["bot"].methods = frozenset({"add", "é"})
        self.town.join("mallory", blocked=("alice",)).methods = frozenset({"add"})

    def fast(self, who: str, stream: bytes, cut: int) -> None:
        """What arrives goes through the whole session, in two pieces."""
        self.sessions[who].receive(stream[:cut])
        self.sessions[who].receive(stream[cut:])

    def slow(self, who: str, frames: list[bytes]) -> None:
        """Each frame is decoded and handled."""
        session = self.sessions[who]
        for frame in frames:
            if session.phase is Phase.OPEN:
                try:
                    session._handle(frame)
                except RemoteError as error:
                    session.end(error.code, error.sentence)

    def happen(self, event: str) -> None:
        if event == "blocked by the bot":
            self.town.router.blocks.add("bot", "alice")
        elif event == "not blocked by the bot":
            self.town.router.blocks.remove("bot", "alice")
        elif event == "the bot forgets":
            self.sessions["bot"].methods = frozenset({"é"})
        elif event == "the bot learns":
            self.sessions["bot"].methods = frozenset({"add", "é"})
        elif event == "time passes":
            self.town.now_s += 0.7
            self.town.router.expire()
        elif self.sessions["bot"].phase is Phase.OPEN:
            self.sessions["bot"].end(CloseCode.NORMAL, "bye")

    def outcome(self) -> list[object]:
        """Everything that can be seen from outside."""
        seen: list[object] = [len(self.town.router.calls)]
        for session in self.sessions.values():
            seen += [session.phase, session.serving, session.asking, taken(session)]
        return seen

    def close(self) -> None:
        for session in self.sessions.values():
            session._connection._sock.close()
        self.wire.close()


def taken(session: Session) -> bytes:
    data = b"".join(session.outlet._chunks)
    session.outlet._chunks, session.outlet.size = [], 0
    return data


def frame_of(payload: bytes) -> bytes:
    return len(payload).to_bytes(HEADER_BYTES, "big") + payload


calls = st.builds(
    Call,
    st.sampled_from([ALICE] * 12 + ["bot/x"]),
    st.sampled_from(["bot", "bot", "bot", "bot/x", LONG + "/y", "alice", "mallory", "nobody", "#ops", "relay", ""]),
    st.sampled_from(IDS) | st.integers(0, 3),
    st.sampled_from(["add", "add", "é", "sub", "m" * 65]),
    st.sampled_from([500, 60_000, 0, 600_001]),
    st.sampled_from(["", "a", "é", "x" * CONTENT_TYPE_MAX_BYTES, "x" * (CONTENT_TYPE_MAX_BYTES + 1)]),
    st.binary(max_size=3) | st.sampled_from([bytes(255), bytes(256), bytes(65_536)]),
)
results = st.builds(
    Result,
    st.sampled_from(["bot/x"] * 12 + ["bot/y"]),
    st.sampled_from([ALICE, ALICE, ALICE, "alice", "nobody/x"]),
    st.sampled_from(IDS) | st.integers(0, 3),
    st.sampled_from(["", "a", "é"]),
    st.binary(max_size=3),
)
faults = st.builds(Fault, st.just("bot/x"), st.just(ALICE), st.integers(0, 3), st.just(1000), st.just("no"))
events = st.sampled_from(
    ["blocked by the bot", "not blocked by the bot", "the bot forgets", "the bot learns", "time passes", "the bot goes"]
)
steps = st.tuples(st.just("alice"), st.lists(calls | st.just(Ping(1)), min_size=1, max_size=6)) | st.tuples(
    st.just("bot"), st.lists(results | faults, min_size=1, max_size=6)
)


def ask(id: int, **changes: object) -> Call:
    return Call(ALICE, "bot", id, "add", 500, "", b"x")._replace(**changes)  # type: ignore[arg-type]


def tell(id: int) -> Result:
    return Result("bot/x", ALICE, id, "", b"y")


ROUND = [("alice", [ask(200)]), ("bot", [tell(200)]), ("alice", [ask(201)]), ("bot", [tell(201)])]


@settings(max_examples=300, deadline=None)
@given(st.lists(steps | events, max_size=12), st.floats(0, 1))
@example([*ROUND, "blocked by the bot", *ROUND], 0.5)
@example([*ROUND, "the bot forgets", *ROUND], 0.5)
@example([*ROUND, "the bot goes", *ROUND], 0.5)
@example([("alice", [ask(200), ask(200)]), ("bot", [tell(200), tell(200)])], 1.0)
@example([("alice", [ask(200)]), "time passes", ("alice", [ask(200)]), ("bot", [tell(200)]), *ROUND], 1.0)
@example([*ROUND, ("alice", [ask(202, body=bytes(BODY_MAX)), ask(203, body=bytes(BODY_MAX + 1))])], 1.0)
@example([*ROUND, ("alice", [ask(202, method="sub"), ask(203, timeout_ms=0), ask(204, to="nobody")])], 1.0)
def test_calls_and_answers_go_where_the_slow_path_sends_them(
    plan: list[tuple[str, list[Call | Result | Fault | Ping]] | str], cut: float
) -> None:
    fast, slow = Office(), Office()
    try:
        for step in plan:
            if isinstance(step, str):
                fast.happen(step)
                slow.happen(step)
            else:
                frames = [encode(packet) for packet in step[1]]
                stream = b"".join(frames)
                fast.fast(step[0], stream, int(cut * len(stream)))
                slow.slow(step[0], frames)
            assert fast.outcome() == slow.outcome()
    finally:
        fast.close()
        slow.close()


@settings(max_examples=1000, deadline=None)
@given(calls | results, st.data())
def test_mutated_packets_end_like_on_the_slow_path(packet: Call | Result, data: st.DataObject) -> None:
    fast, slow = Office(), Office()
    who = "alice" if isinstance(packet, Call) else "bot"
    asked, right = encode(ask(200)), encode(packet._replace(body=b"xy", sender=ALICE if who == "alice" else "bot/x"))
    payload = bytearray(right[HEADER_BYTES:])
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, max(0, len(payload) - 1)))
        change = data.draw(st.sampled_from(["flip", "flip", "cut", "insert", "append"]))
        byte = data.draw(st.integers(0, 255))
        if change == "flip" and payload:
            payload[place] = byte
        elif change == "cut":
            del payload[place + 1 :]
        elif change == "insert":
            payload.insert(place, byte)
        else:
            payload.append(byte)
    frames = [right, frame_of(bytes(payload)), right]
    try:
        for office in (fast, slow):
            office.slow("alice", [asked])
        stream = b"".join(frames)
        fast.fast(who, stream, data.draw(st.integers(0, len(stream))))
        slow.slow(who, frames)
        assert fast.outcome() == slow.outcome()
    finally:
        fast.close()
        slow.close()


def head(id: bytes, rest: bytes = b"\xa3add\xcd\x01\xf4\xa0\xc4\x01x") -> bytes:
    return frame_of(b"\x98\x18\xab" + ALICE.encode() + b"\xa3bot" + id + rest)


@pytest.mark.parametrize(
    "frame",
    [
        head(b"\xcc\x05"),
        head(b"\xcd\x00\x05"),
        head(b"\xcf\x00\x00\x00\x00\x00\x00\x00\x05"),
        head(b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff"),
        head(b"\xcf\x00\x20\x00\x00\x00\x00\x00\x00"),
        head(b"\xd0\x05"),
        head(b"\xd0\xff"),
        head(b"\xff"),
        head(b"\xc0"),
        head(b"\xa1x"),
        head(b"\x05", b"\xa3add\xcd\x01\xf4\xa0\xc5\x00\x01x"),
        head(b"\x05", b"\xa3add\xcd\x01\xf4\xa0\xc6\x00\x00\x00\x01x"),
        head(b"\x05", b"\xa3add\xcd\x01\xf4\xa0\xc4\x02x"),
        head(b"\x05", b"\xa3add\xcd\x01\xf4\xa0\xc4\x00x"),
        head(b"\x05", b"\xa3add\xcd\x01\xf4\xa0\xa1x"),
        head(b"\x05", b"\xa3add\xcd\x01\xf4\xa0"),
        head(b"\x05", b"\xd9\x03add\xcd\x01\xf4\xa0\xc4\x01x"),
        head(b"\xcd\x00"),
        head(b"", b""),
        frame_of(b"\x98\x18"),
        frame_of(b"\x98"),
    ],
)
def test_every_way_to_write_a_call_ends_like_on_the_slow_path(frame: bytes) -> None:
    """A lane is known that fits as far as it can; the frame comes alone, and before another that would complete it."""
    for behind in (b"", encode(ask(9))):
        fast, slow = Office(), Office()
        for office in (fast, slow):
            office.fast("alice", encode(ask(7)) + encode(ask(300)), 0)
        assert fast.outcome() == slow.outcome()
        fast.fast("alice", frame + behind, 0)
        slow.slow("alice", [frame, behind] if behind else [frame])
        assert fast.outcome() == slow.outcome()
        fast.close()
        slow.close()


def test_one_lane_serves_all_ids_and_sizes() -> None:
    office = Office()
    alice, bot = office.sessions["alice"], office.sessions["bot"]
    alice.receive(encode(ask(200)))
    bot.receive(encode(tell(200)))
    assert (len(alice.lanes), len(bot.lanes)) == (1, 1)
    taken(alice)
    taken(bot)
    for id in (1, 201, 60_000, 2**40):
        call = encode(ask(id, body=bytes(id % 1000)))
        alice.receive(call)
        assert taken(bot) == call
        answer = encode(tell(id))
        bot.receive(answer)
        assert taken(alice) == answer
    assert (len(alice.lanes), len(bot.lanes)) == (1, 1)
    office.close()


def test_many_lanes_are_remembered_but_not_more_than_may_be() -> None:
    office = Office()
    alice = office.sessions["alice"]
    most = 0
    for id in range(3 * LANES_MAX):
        alice.receive(encode(ask(1, method=f"m{id % 20}", to=f"bot/{id // 10}")))
        assert sum(map(len, alice.lanes._known.values())) == len(alice.lanes) <= LANES_MAX
        assert all(len(lanes) <= SHARED_MAX for lanes in alice.lanes._known.values())
        most = max(most, len(alice.lanes))
    assert most == LANES_MAX
    office.close()
