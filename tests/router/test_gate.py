"""What is under way to one receiver is bounded, streams take turns, and idle ones stop nobody."""

from hypothesis import given
from hypothesis import strategies as st

from relay.protocol.packets import Credit, encode
from relay.router.gate import HELD_MAX, Gate, Lane
from tests.router.recording import RecordingOutlet


class Junction:
    """Senders with a lane each into one receiver."""

    def __init__(self, limit_bytes: int, lanes: int) -> None:
        self.gate = Gate(limit_bytes)
        self.receiver = RecordingOutlet()
        self.senders = [RecordingOutlet() for _ in range(lanes)]
        self.lanes = [Lane(sender, self.receiver, self.gate) for sender in self.senders]

    def grant(self, lane: int, size: int) -> bool:
        return self.lanes[lane].grant(encode(Credit("b/x", "a/x", 1, size)), size)

    def passed(self, lane: int) -> list[int]:
        """The sizes of the CREDITs that have reached the sender since the last time."""
        return [packet.size for packet in self.senders[lane].take() if isinstance(packet, Credit)]


def test_credit_passes_until_the_bound_and_then_waits_for_data_to_leave() -> None:
    junction = Junction(100, 1)
    for _ in range(3):
        assert junction.grant(0, 40)
    assert junction.passed(0) == [40, 40]
    junction.lanes[0].send(b"", 40)
    assert junction.passed(0) == [] and junction.gate.under_way == 80
    junction.receiver.send_streams()
    assert junction.passed(0) == [40] and junction.gate.under_way == 80


def test_an_idle_stream_that_holds_credit_does_not_stop_another() -> None:
    junction = Junction(100, 3)
    junction.grant(0, 100)
    junction.grant(1, 50)
    junction.grant(1, 50)
    junction.grant(2, 60)
    assert (junction.passed(0), junction.passed(1), junction.passed(2)) == ([100], [50], [60])
    junction.lanes[1].send(b"", 50)
    junction.receiver.send_streams()
    assert junction.passed(1) == [50]


def test_a_receiver_that_reads_nothing_gets_no_more_however_many_streams_there_are() -> None:
    junction = Junction(100, 50)
    for lane in range(50):
        junction.grant(lane, 60)
        junction.lanes[lane].send(b"", junction.lanes[lane].credit)
    assert junction.gate.under_way <= 100
    for _ in range(50):
        junction.receiver.send_streams()
        for lane in junction.lanes:
            lane.send(b"", lane.credit)
    assert all(junction.passed(lane) == [60] for lane in range(50))


def test_a_closed_lane_gives_back_what_was_promised_and_keeps_what_is_queued() -> None:
    junction = Junction(100, 2)
    junction.grant(0, 60)
    junction.grant(0, 40)
    junction.grant(1, 30)
    junction.lanes[0].send(b"", 20)
    junction.grant(1, 30)
    assert junction.passed(1) == [30]
    junction.lanes[0].close()
    assert junction.gate.under_way == 80 and junction.passed(1) == [30]
    junction.receiver.send_streams()
    assert junction.gate.under_way == 60


def test_a_closed_lane_no_longer_waits() -> None:
    junction = Junction(100, 1)
    junction.grant(0, 100)
    junction.grant(0, 100)
    junction.lanes[0].close()
    assert junction.passed(0) == [100] and junction.gate.under_way == 0


def test_crumbs_do_not_pile_up() -> None:
    junction = Junction(10, 1)
    junction.grant(0, 10)
    assert all(junction.grant(0, 1) for _ in range(HELD_MAX))
    assert not junction.grant(0, 1)


@given(st.lists(st.tuples(st.sampled_from(["grant", "send", "leave", "close"]), st.integers(0, 3), st.integers(1, 64))))
def test_the_books_are_right_and_whoever_wants_goes_on(steps: list[tuple[str, int, int]]) -> None:
    junction = Junction(128, 4)
    closed = set()
    for step, lane, size in steps:
        if step == "leave":
            junction.receiver.send_streams()
        elif lane not in closed and step == "grant":
            junction.grant(lane, size)
        elif lane not in closed and step == "send":
            junction.lanes[lane].send(b"", min(size, junction.lanes[lane].credit))
        elif lane not in closed:
            closed.add(lane)
            junction.lanes[lane].close()
        queued = sum(lane.queued for lane in junction.lanes)
        assert junction.gate.under_way == sum(lane.credit for lane in junction.lanes) + queued
        assert queued <= 128 + 4 * 64
        for place in junction.lanes:
            assert not place.held or place.credit or queued
