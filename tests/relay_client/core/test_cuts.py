"""Exactly once, whatever happens to the connection: random histories of sending, receiving, cuts and restarts.

The claim, after every history that ends with a connection which holds: each message that the program posted stands in
the log once, in the order it was posted, and its sender was told the right offset; each message for the program was
handed to it once and in order; and the relay knows that.
"""

from hypothesis import given, settings
from hypothesis import strategies as st
from relay_client.core import Pending, Phase
from relay_client.events import MessageReceived
from relay_client.received import Stored

from relay.protocol.packets import Message
from tests.relay_client.simulated import SimulatedRelay
from tests.relay_client.wire import Wire

# Bytes to let through: cuts fall into the middle of lengths, headers and bodies.
few = st.integers(0, 400)

STEPS = st.one_of(
    st.tuples(st.just("post"), st.sampled_from(["bob", "carol"]), st.integers(1, 4)),
    st.tuples(st.just("say"), st.sampled_from(["bob/phone", "carol/phone"]), st.integers(1, 4)),
    st.tuples(st.just("own"), st.just("alice/phone"), st.just(1)),
    st.tuples(st.just("carry"), few, few),
    st.tuples(st.just("run"), st.none(), st.none()),
    st.tuples(st.just("done"), st.integers(1, 5), st.none()),
    st.tuples(st.just("wait"), st.sampled_from([0.01, 0.06, 30.0, 40.0]), st.none()),
    st.tuples(st.just("lag"), st.booleans(), st.none()),
    st.tuples(st.just("cut"), st.none(), st.none()),
    st.tuples(st.just("close"), st.sampled_from([4000, 4100, 4106]), st.sampled_from([None, 0, 500])),
)


class History:
    """Plays steps, and keeps the ledgers of what ought to be."""

    def __init__(self) -> None:
        self.relay = SimulatedRelay()
        self.wire = Wire(self.relay, receive=True)
        self.posted: list[tuple[str, str, Pending[Stored]]] = []
        self.waiting: list[MessageReceived] = []
        self.seen: list[MessageReceived] = []
        self.finished: set[tuple[str, int]] = set()
        self.taken = 0
        self.wire.open()

    def play(self, step: tuple) -> None:  # type: ignore[type-arg]
        getattr(self, step[0])(*step[1:])
        received = self.wire.seen(MessageReceived)
        self.waiting += received[self.taken :]
        self.seen += received[self.taken :]
        self.taken = len(received)
        if self.wire.core.should_dial(self.wire.now):
            self.wire.dial()
        self.check_acknowledged()

    def post(self, to: str, count: int) -> None:
        for _ in range(count):
            if self.wire.core.has_room:
                text = f"{len(self.posted)}"
                self.posted.append((to, text, self.wire.core.post(to, text, self.wire.now)))

    def say(self, sender: str, count: int) -> None:
        for _ in range(count):
            self.relay.say(sender, "alice", "for alice")

    def own(self, sender: str, _: int) -> None:
        self.relay.say(sender, "bob", "from another device of alice")

    def carry(self, up: int, down: int) -> None:
        self.wire.carry(up, down)

    def run(self, *_: None) -> None:
        self.wire.run()

    def done(self, count: int, _: None) -> None:
        finished, self.waiting = self.waiting[:count], self.waiting[count:]
        for message in finished:
            self.wire.core.done(message.conversation, message.offset, self.wire.now)
        self.finished |= {(message.conversation, message.offset) for message in finished}

    def wait(self, seconds: float, _: None) -> None:
        self.wire.wait(seconds)

    def lag(self, lagging: bool, _: None) -> None:
        self.relay.sessions_lag = lagging
        if self.wire.session is not None and not lagging:
            self.wire.session.catch_up()
        elif self.wire.session is not None:
            self.wire.session.lagging = True

    def cut(self, *_: None) -> None:
        if self.wire.session is not None:
            self.wire.cut()

    def close(self, code: int, retry_ms: int | None) -> None:
        if self.wire.session is not None and self.wire.core.phase is Phase.OPEN:
            self.wire.session.close(code, retry_ms=retry_ms)

    def heal(self) -> None:
        """Let everything come to its end over a connection that holds."""
        self.play(("lag", False, None))
        for _ in range(50):
            self.play(("run", None, None))
            self.play(("done", len(self.waiting), None))
            self.play(("wait", 1.0, None))
            if self.wire.core.phase is Phase.OPEN and not self.waiting and not self.wire.core.under_way:
                break
        sync = self.wire.core.sync(self.wire.now)
        self.wire.run()
        assert sync.done and sync.error is None

    def check_acknowledged(self) -> None:
        """Nothing that the program still works on is acknowledged."""
        for name, cursor in self.relay.cursors.get(("alice", "laptop"), {}).items():
            for offset, message in enumerate(self.relay.logs[name][:cursor], 1):
                assert message.sender == self.wire.core.session or (name, offset) in self.finished

    def check_sent(self) -> None:
        own = self.wire.core.session
        for to in ("bob", "carol"):
            log = self.relay.logs.get("@".join(sorted(("alice", to))), [])
            expected = [text for receiver, text, _ in self.posted if receiver == to]
            assert [m.body.decode() for m in log if m.sender == own] == expected
            for receiver, text, pending in self.posted:
                if receiver == to:
                    stored = pending.result()
                    assert log[stored.offset - 1].body.decode() == text and log[stored.offset - 1].sender == own

    def check_received(self) -> None:
        own = self.wire.core.session
        for name, log in self.relay.logs.items():
            expected = [offset for offset, message in enumerate(log, 1) if message.sender != own]
            assert [event.offset for event in self.seen if event.conversation == name] == expected
            for event in self.seen:
                if event.conversation == name:
                    assert event.packet == log[event.offset - 1]
            last = max(expected, default=0)
            assert self.relay.cursors[self.wire.session.device].get(name, 0) >= last  # type: ignore[union-attr]


@settings(max_examples=200, deadline=None)
@given(st.lists(STEPS, min_size=20, max_size=100))
def test_nothing_is_lost_repeated_or_reordered(steps: list[tuple]) -> None:  # type: ignore[type-arg]
    history = History()
    for step in steps:
        history.play(step)
    history.heal()
    history.check_sent()
    history.check_received()


@settings(max_examples=60, deadline=None)
@given(st.lists(few, min_size=1, max_size=15), st.integers(1, 20))
def test_cuts_at_every_place_of_a_transfer(places: list[int], count: int) -> None:
    """The same messages over and over a connection that is cut after so many bytes."""
    history = History()
    for _ in range(count):
        history.play(("post", "bob", 1))
        history.play(("say", "bob/phone", 1))
    for place in places:
        history.play(("carry", place * 4, place))
        history.play(("carry", 4000, place * 2))
        history.play(("cut", None, None))
        history.play(("wait", 31.0, None))
        history.play(("run", None, None))
    history.heal()
    history.check_sent()
    history.check_received()
    assert len(history.relay.sent(Message)) >= count
