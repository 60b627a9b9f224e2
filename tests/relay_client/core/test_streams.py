"""Streams without I/O: credit, ends, and what each packet means. Over a real relay: tests/relay_client/test_streams."""

from collections import deque
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from relay_client.core.streams import WINDOW_BYTES, StreamEnd, Streams, StreamState
from relay_client.errors import ConnectionLost, StreamClosed, StreamReset

from relay.protocol.addresses import RELAY
from relay.protocol.codes import ErrorCode
from relay.protocol.limits import CHUNK_MAX_BYTES
from relay.protocol.packets import Accept, Credit, Data, Finish, Open, Packet, Reset


class Side:
    """One client's streams, and what they have sent."""

    def __init__(self, name: str) -> None:
        self.session = name
        self.sent: deque[Packet] = deque()
        self.offers: list[StreamEnd] = []
        self.streams = Streams(lambda: name, self.sent.append, self.offers.append)
        self.streams.services = frozenset({"echo"})

    def open(self) -> StreamEnd:
        return self.streams.open("bob", "echo", 5000, ("", b"hi"))

    def take_in(self, packet: Packet) -> None:
        self.streams.handlers[type(packet)](packet)


class Pair:
    """Two sides, and a relay between them that only checks credit."""

    def __init__(self) -> None:
        self.alice, self.bob = Side("alice/laptop"), Side("bob/pc")
        self.credit = {self.alice: 0, self.bob: 0}

    def carry(self, sender: Side, count: int = 1_000_000) -> None:
        receiver = self.bob if sender is self.alice else self.alice
        for _ in range(min(count, len(sender.sent))):
            packet = sender.sent.popleft()
            if isinstance(packet, Credit):
                self.credit[receiver] += packet.size
            elif isinstance(packet, Data):
                assert 0 < len(packet.body) <= min(CHUNK_MAX_BYTES, self.credit[sender])
                self.credit[sender] -= len(packet.body)
            receiver.take_in(packet)

    def run(self) -> None:
        while self.alice.sent or self.bob.sent:
            self.carry(self.alice)
            self.carry(self.bob)

    def opened(self) -> tuple[StreamEnd, StreamEnd]:
        ours = self.alice.open()
        self.run()
        [theirs] = self.bob.offers
        theirs.accept("", b"welcome")
        self.run()
        return ours, theirs


def test_opening() -> None:
    pair = Pair()
    ours, theirs = pair.opened()
    assert (theirs.service, theirs.opening, theirs.peer) == ("echo", ("", b"hi"), "alice/laptop")
    assert ours.opened.done and ours.peer == "bob/pc" and ours.answer == ("", b"welcome")
    assert theirs.id == ours.id + 1 and ours.id % 2 == 0
    assert ours.credit == theirs.credit == WINDOW_BYTES


def test_ids_grow() -> None:
    alice = Side("alice/laptop")
    assert alice.open().id + 2 == alice.open().id


actions = st.lists(
    st.tuples(st.sampled_from(["write", "take", "up", "down"]), st.integers(1, 3 * CHUNK_MAX_BYTES)), max_size=60
)


@settings(max_examples=60, deadline=None)
@given(actions, st.integers(0, 5 * WINDOW_BYTES), st.randoms(use_true_random=False))
def test_all_bytes_arrive_in_order_and_credit_is_kept(steps: list[tuple[str, int]], size: int, random: Random) -> None:
    pair = Pair()
    ours, theirs = pair.opened()
    data = memoryview(random.randbytes(size))
    sent, received = 0, bytearray()
    for action, number in steps:
        if action == "write":
            sent += ours.write(data[sent : sent + number])
        elif action == "take":
            received += theirs.take(number)
        else:
            pair.carry(pair.alice if action == "up" else pair.bob, 1 + number % 5)
    while sent < size:
        sent += ours.write(data[sent:])
        pair.run()
        received += theirs.take()
    ours.finish()
    pair.run()
    while part := theirs.take():
        received += part
    assert received == data and theirs.peer_finished
    theirs.finish()
    pair.run()
    assert ours.state is theirs.state is StreamState.OVER and ours.error is theirs.error is None
    assert len(pair.alice.streams) == len(pair.bob.streams) == 0


def test_nothing_is_granted_before_it_is_taken() -> None:
    pair = Pair()
    ours, theirs = pair.opened()
    for _ in range(4):
        assert ours.write(memoryview(bytes(CHUNK_MAX_BYTES))) == CHUNK_MAX_BYTES
    pair.run()
    assert not ours.may_write and ours.write(memoryview(b"more")) == 0
    theirs.take(CHUNK_MAX_BYTES - 1)
    pair.run()
    assert not ours.may_write
    theirs.take(1)
    pair.run()
    assert ours.credit == CHUNK_MAX_BYTES


def test_what_was_put_back_is_granted_once() -> None:
    pair = Pair()
    ours, theirs = pair.opened()
    ours.write(memoryview(bytes(CHUNK_MAX_BYTES)))
    pair.run()
    for _ in range(3):
        theirs.put_back(theirs.take())
    theirs.take()
    pair.run()
    assert ours.credit == WINDOW_BYTES


def test_an_offer_for_a_service_that_is_not_there_is_refused() -> None:
    bob = Side("bob/pc")
    bob.take_in(Open("alice/laptop", "bob/pc", 4, "other", 5000, "", b""))
    [refusal] = bob.sent
    assert isinstance(refusal, Reset)
    assert (refusal.sender, refusal.to, refusal.id) == ("bob/pc", "alice/laptop", 5)
    assert refusal.code == ErrorCode.NO_SUCH_SERVICE and not bob.offers


def test_a_refusal_of_a_session_that_the_relay_chose() -> None:
    pair = Pair()
    ours = pair.alice.open()
    pair.run()
    pair.bob.offers[0].reset(1234, "closed")
    pair.run()
    assert isinstance(ours.opened.error, StreamReset) and ours.opened.error.code == 1234


def test_a_late_acceptance_is_answered() -> None:
    pair = Pair()
    ours = pair.alice.open()
    pair.run()
    ours.reset(ErrorCode.CANCELLED, "no patience")
    pair.alice.sent.clear()
    pair.alice.take_in(Accept("bob/pc", "alice/laptop", ours.id + 1, "", b""))
    [reset] = pair.alice.sent
    assert isinstance(reset, Reset) and (reset.to, reset.id) == ("bob/pc", ours.id)


def test_what_came_before_a_reset_can_be_taken() -> None:
    pair = Pair()
    ours, theirs = pair.opened()
    ours.write(memoryview(b"last words"))
    ours.reset(1000, "enough")
    pair.run()
    assert theirs.take() == b"last words"
    with pytest.raises(StreamReset, match="enough"):
        theirs.take()
    with pytest.raises(StreamReset, match="enough"):
        theirs.write(memoryview(b"x"))
    with pytest.raises(StreamClosed):
        ours.take()


def test_a_closed_end_refuses_more() -> None:
    pair = Pair()
    ours, theirs = pair.opened()
    ours.close()
    pair.run()
    assert theirs.take() == b"" and theirs.peer_finished
    theirs.write(memoryview(b"but"))
    pair.run()
    with pytest.raises(StreamReset) as reset:
        theirs.write(memoryview(b"why"))
    assert reset.value.code == ErrorCode.CANCELLED and len(pair.alice.streams) == 0


def test_closing_with_bytes_unread_resets_at_once() -> None:
    pair = Pair()
    ours, theirs = pair.opened()
    ours.write(memoryview(b"unread"))
    pair.run()
    theirs.close()
    pair.run()
    assert ours.take() == b"" and isinstance(ours.error, StreamReset)


def test_more_than_was_granted_resets() -> None:
    pair = Pair()
    ours, theirs = pair.opened()
    for _ in range(5):
        pair.bob.take_in(Data("alice/laptop", "bob/pc", ours.id, bytes(CHUNK_MAX_BYTES)))
    assert theirs.state is StreamState.OVER
    reset = pair.bob.sent[-1]
    assert isinstance(reset, Reset) and reset.code == ErrorCode.FLOW_CONTROL


def test_the_relay_speaks_for_the_other_end() -> None:
    pair = Pair()
    ours, theirs = pair.opened()
    pair.alice.take_in(Reset(RELAY, "alice/laptop", ours.id + 1, ErrorCode.SESSION_GONE, "bob/pc left"))
    pair.bob.take_in(Reset(RELAY, "bob/pc", ours.id, ErrorCode.SESSION_GONE, "alice/laptop left"))
    for end in (ours, theirs):
        assert isinstance(end.error, StreamReset) and end.error.code == ErrorCode.SESSION_GONE


def test_an_answer_to_what_was_sent_late_ends_nothing() -> None:
    pair = Pair()
    ours, _ = pair.opened()
    pair.alice.take_in(Reset(RELAY, "alice/laptop", ours.id + 1, ErrorCode.NO_SUCH_STREAM, "it ended"))
    assert ours.state is StreamState.OPEN


def test_strangers_and_streams_that_are_over_are_ignored() -> None:
    pair = Pair()
    ours, theirs = pair.opened()
    pair.alice.take_in(Reset("carol/pc", "alice/laptop", ours.id + 1, 1000, "ha"))
    pair.bob.take_in(Data("carol/pc", "bob/pc", ours.id, b"ha"))
    pair.bob.take_in(Finish("alice/laptop", "bob/pc", ours.id + 100))
    assert ours.state is theirs.state is StreamState.OPEN and not theirs.may_take


def test_a_packet_that_the_relay_refused_ends_its_stream() -> None:
    pair = Pair()
    ours, theirs = pair.opened()
    pair.alice.streams.refused(ours.id, ErrorCode.TOO_LARGE, "too large")
    pair.bob.streams.refused(theirs.id, ErrorCode.TOO_LARGE, "too large")
    assert isinstance(ours.error, StreamReset) and isinstance(theirs.error, StreamReset)


def test_a_lost_connection_ends_all() -> None:
    pair = Pair()
    ours, _ = pair.opened()
    waiting = pair.alice.open()
    pair.alice.streams.lost("cut")
    assert isinstance(ours.error, ConnectionLost) and isinstance(waiting.opened.error, ConnectionLost)
    assert len(pair.alice.streams) == 0


def test_whoever_waits_is_told_of_every_change() -> None:
    pair = Pair()
    ours, theirs = pair.opened()
    seen: list[tuple[bool, bool, bool]] = []
    for end in (ours, theirs):
        end.on_change = lambda: seen.append((theirs.may_take, ours.may_write, theirs.state is StreamState.OVER))

    def news() -> list[tuple[bool, bool, bool]]:
        pair.run()
        found, seen[:] = seen[:], []
        return found

    assert news() == []
    ours.write(memoryview(bytes(CHUNK_MAX_BYTES)))
    assert (True, True, False) in news()
    theirs.take()
    assert news() != [], "credit came"
    ours.finish()
    assert (True, True, False) in news()
    theirs.finish()
    assert (True, True, True) in news()


@pytest.mark.parametrize("ending", ["reset", "close", "fail"])
def test_whoever_waits_is_told_of_an_end(ending: str) -> None:
    pair = Pair()
    ours, theirs = pair.opened()
    told: list[StreamEnd] = []
    for end in (ours, theirs):
        end.on_change = lambda end=end: told.append(end)  # type: ignore[misc]
    if ending == "fail":
        pair.alice.streams.lost("a test")
        assert set(map(id, told)) == {id(ours)} and ours.may_take and ours.may_write
    else:
        ours.reset(1000, "no") if ending == "reset" else ours.close()
        pair.run()
        assert set(map(id, told)) == {id(ours), id(theirs)} and theirs.may_take
