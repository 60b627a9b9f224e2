"""The bounded queue of a session, over a kernel that takes as many bytes as the test allows."""

import logging
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.protocol.limits import FRAME_MAX
from relay.session.outbox import Outbox, Turn


class Kernel:
    """A connection whose buffer has `room` bytes: the part of `Connection` that an outbox uses."""

    def __init__(self, room: int = 1 << 30) -> None:
        self.room = room
        self.taken = b""
        self.sends = 0
        self.waiting = False
        self.short = False

    def send(self, data: bytes) -> int:
        self.sends += 1
        count = min(self.room, len(data))
        self.room -= count
        self.taken += data[:count]
        return count

    def send_pieces(self, pieces: list[bytes]) -> int:
        return self.send(b"".join(pieces))

    def keep_short(self) -> None:
        self.short = True

    def wait_writable(self) -> None:
        self.waiting = True

    def stop_waiting(self) -> None:
        self.waiting = False


class Desk:
    """An outbox with its surroundings. `end_turn` is what the event loop does."""

    def __init__(self, room: int = 1 << 30, limit: int = 100) -> None:
        self.kernel = Kernel(room)
        self.soon: list[Callable[[], None]] = []
        self.turn = Turn(self.soon.append)
        self.drained = 0
        self.overflown = 0
        self.outbox = Outbox(self.kernel, self.turn, limit, self._drained, self._overflown)  # type: ignore[arg-type]

    def end_turn(self) -> None:
        soon, self.soon[:] = self.soon[:], []
        for task in soon:
            task()

    def _drained(self) -> None:
        self.drained += 1

    def _overflown(self) -> None:
        self.overflown += 1


def test_everything_put_in_during_a_turn_leaves_in_one_call_and_in_order() -> None:
    desk = Desk()
    desk.outbox.push(b"one")
    desk.outbox.signal(b"two", 1)
    desk.outbox.push(b"three")
    assert desk.kernel.sends == 0
    assert len(desk.soon) == 1
    desk.end_turn()
    assert (desk.kernel.taken, desk.kernel.sends) == (b"onetwothree", 1)
    assert desk.outbox.size == 0
    assert desk.soon == []


def test_the_next_turn_flushes_again() -> None:
    desk = Desk()
    for word in (b"one", b"two"):
        desk.outbox.push(word)
        desk.end_turn()
    assert desk.kernel.taken == b"onetwo"


def test_a_turn_flushes_each_outbox_once_and_one_that_is_touched_meanwhile_in_the_next() -> None:
    soon: list[Callable[[], None]] = []
    turn = Turn(soon.append)
    kernels = [Kernel(), Kernel()]
    second = Outbox(kernels[1], turn, 100, lambda: None, lambda: None)  # type: ignore[arg-type]
    first = Outbox(kernels[0], turn, 100, lambda: second.push(b"late"), lambda: None)  # type: ignore[arg-type]
    first.push(b"a")
    first.call_when_drained()
    second.push(b"b")
    soon.pop()()
    assert (kernels[0].taken, kernels[1].taken) == (b"a", b"blate")
    assert second.size == 0


def test_an_outbox_that_fails_does_not_keep_the_others(caplog: pytest.LogCaptureFixture) -> None:
    soon: list[Callable[[], None]] = []
    turn = Turn(soon.append)

    def fail() -> None:
        raise ZeroDivisionError

    kernels = [Kernel(), Kernel()]
    first = Outbox(kernels[0], turn, 100, fail, lambda: None)  # type: ignore[arg-type]
    second = Outbox(kernels[1], turn, 100, lambda: None, lambda: None)  # type: ignore[arg-type]
    first.push(b"a")
    first.call_when_drained()
    second.push(b"b")
    with caplog.at_level(logging.ERROR):
        soon.pop()()
    assert kernels[1].taken == b"b"
    assert "ZeroDivisionError" in caplog.text


def test_what_the_kernel_does_not_take_waits_for_it() -> None:
    desk = Desk(room=4)
    desk.outbox.push(b"abcdef")
    desk.end_turn()
    assert (desk.kernel.taken, desk.outbox.size, desk.kernel.waiting) == (b"abcd", 2, True)
    desk.outbox.push(b"gh")
    assert desk.soon == []
    desk.kernel.room = 3
    desk.outbox.flush()
    assert (desk.kernel.taken, desk.outbox.size, desk.kernel.waiting) == (b"abcdefg", 1, True)
    desk.kernel.room = 9
    desk.outbox.flush()
    assert (desk.kernel.taken, desk.outbox.size, desk.kernel.waiting) == (b"abcdefgh", 0, False)


def test_signals_over_the_bound_are_dropped_whole_and_counted() -> None:
    desk = Desk(room=0)
    desk.outbox.signal(b"x" * 60, 2)
    desk.outbox.signal(b"y" * 41, 3)
    desk.outbox.signal(b"z" * 40, 4)
    assert (desk.outbox.dropped, desk.outbox.size) == (3, 100)
    desk.kernel.room = 1000
    desk.end_turn()
    assert desk.kernel.taken == b"x" * 60 + b"z" * 40
    assert repr(desk.outbox) == "<Outbox: 0 bytes queued, 3 signals dropped>"


def test_what_must_not_be_dropped_may_go_beyond_the_bound() -> None:
    desk = Desk(room=0)
    desk.outbox.push(b"x" * 500)
    assert desk.outbox.size == 500
    assert desk.overflown == 0


def test_far_beyond_the_bound_the_owner_is_told() -> None:
    desk = Desk(room=0, limit=2 * FRAME_MAX)
    for _ in range(4):
        desk.outbox.push(bytes(FRAME_MAX))
    assert desk.overflown == 0
    desk.outbox.push(b"x")
    assert desk.overflown == 1


def test_a_burst_that_the_kernel_takes_is_no_overflow() -> None:
    desk = Desk()
    for _ in range(10):
        desk.outbox.push(bytes(FRAME_MAX))
    desk.end_turn()
    assert desk.overflown == 0
    assert len(desk.kernel.taken) == 10 * FRAME_MAX


def test_an_empty_outbox_takes_any_frame_however_low_the_bound() -> None:
    desk = Desk(room=0)
    assert desk.outbox.has_room(5000)
    desk.outbox.signal(b"x" * 5000, 1)
    assert desk.outbox.dropped == 0
    assert not desk.outbox.has_room(1)
    desk.outbox.signal(b"x", 1)
    assert desk.outbox.dropped == 1


def test_room_is_what_is_left_up_to_the_bound() -> None:
    desk = Desk(room=0)
    desk.outbox.push(b"x" * 60)
    assert desk.outbox.has_room(40)
    assert not desk.outbox.has_room(41)


def test_drained_is_told_once_at_half_the_bound() -> None:
    desk = Desk(room=0)
    desk.outbox.push(b"x" * 90)
    desk.end_turn()
    desk.outbox.call_when_drained()
    desk.kernel.room = 39
    desk.outbox.flush()
    assert desk.drained == 0
    desk.kernel.room = 1
    desk.outbox.flush()
    assert desk.drained == 1
    desk.kernel.room = 50
    desk.outbox.flush()
    assert desk.drained == 1


def test_progress_is_noted_only_when_the_kernel_takes_something() -> None:
    desk = Desk(room=0)
    desk.outbox.push(b"abc")
    desk.end_turn()
    assert not desk.outbox.progress
    desk.kernel.room = 1
    desk.outbox.flush()
    assert desk.outbox.progress
    desk.outbox.progress = False
    desk.outbox.flush()
    assert not desk.outbox.progress


def test_a_sealed_outbox_says_its_last_and_nothing_more() -> None:
    desk = Desk(room=2)
    ends: list[bytes] = []
    desk.outbox.push(b"abc")
    desk.outbox.call_when_drained()
    desk.outbox.seal(b"last", lambda: ends.append(desk.kernel.taken))
    desk.outbox.push(b"no")
    desk.outbox.signal(b"no", 1)
    assert not desk.outbox.has_room(0)
    assert ends == []
    desk.kernel.room = 100
    desk.outbox.flush()
    desk.end_turn()
    desk.outbox.push(b"no")
    desk.outbox.signal(b"no", 2)
    desk.end_turn()
    desk.outbox.flush()
    assert ends == [b"abclast"]
    assert desk.kernel.taken == b"abclast"
    assert (desk.outbox.dropped, desk.drained) == (3, 0)


def test_sealing_an_empty_outbox_is_over_at_once() -> None:
    desk = Desk()
    ends: list[bytes] = []
    desk.outbox.seal(b"last", lambda: ends.append(desk.kernel.taken))
    assert ends == [b"last"]


def test_a_sealed_outbox_is_finished_also_when_the_end_of_the_turn_empties_it() -> None:
    desk = Desk(room=0)
    ends: list[bytes] = []
    desk.outbox.push(b"abc")
    desk.outbox.seal(b"last", lambda: ends.append(desk.kernel.taken))
    desk.kernel.room = 100
    desk.end_turn()
    assert ends == [b"abclast"]


def test_after_the_connection_is_gone_nothing_is_kept() -> None:
    desk = Desk(room=0)
    desk.outbox.push(b"abc")
    desk.outbox.call_when_drained()
    desk.outbox.clear()
    desk.outbox.push(b"abc")
    desk.outbox.signal(b"abc", 1)
    desk.kernel.room = 100
    desk.end_turn()
    assert (desk.outbox.size, desk.kernel.taken, desk.drained) == (0, b"", 0)


moves = st.lists(
    st.one_of(
        st.tuples(st.just("push"), st.integers(1, 80)),
        st.tuples(st.just("signal"), st.integers(1, 80)),
        st.tuples(st.just("room"), st.integers(0, 120)),
        st.tuples(st.just("turn"), st.just(0)),
        st.tuples(st.just("wait"), st.just(0)),
    ),
    max_size=60,
)


@given(moves)
def test_bytes_leave_in_order_none_twice_none_lost(steps: list[tuple[str, int]]) -> None:
    desk = Desk(room=0)
    expected = b""
    dropped = 0
    for number, (move, size) in enumerate(steps):
        frame = bytes([number % 256]) * size
        if move == "push":
            desk.outbox.push(frame)
            expected += frame
        elif move == "signal":
            fits = desk.outbox.size + size <= 100 or desk.outbox.size == 0
            desk.outbox.signal(frame, 1)
            expected += frame if fits else b""
            dropped += not fits
        elif move == "room":
            desk.kernel.room += size
            if desk.kernel.waiting:
                desk.outbox.flush()
        elif move == "turn":
            desk.end_turn()
        else:
            desk.outbox.call_when_drained()
        assert desk.outbox.size == len(expected) - len(desk.kernel.taken)
    desk.kernel.room = 1 << 20
    desk.end_turn()
    if desk.kernel.waiting:
        desk.outbox.flush()
    assert desk.kernel.taken == expected
    assert (desk.outbox.size, desk.outbox.dropped, desk.kernel.waiting) == (0, dropped, False)


# Streams.


class Lane:
    """What is told of the data that has left."""

    def __init__(self) -> None:
        self.sent = 0

    def handle_sent(self, size: int) -> None:
        self.sent += size


def test_streams_go_behind_everything_else_whatever_came_first() -> None:
    desk, lane = Desk(), Lane()
    desk.outbox.stream(b"data", lane, 4)  # type: ignore[arg-type]
    desk.outbox.push(b"answer")
    desk.end_turn()
    assert desk.kernel.taken == b"answerdata" and lane.sent == 4


def test_streams_get_a_share_of_each_turn_and_are_not_counted() -> None:
    desk, lane = Desk(limit=10), Lane()
    chunk = bytes(64 * 1024)
    for _ in range(6):
        desk.outbox.stream(chunk, lane, len(chunk))  # type: ignore[arg-type]
    assert desk.outbox.size == 0 and desk.outbox.has_room(10) and desk.kernel.short
    desk.end_turn()
    assert lane.sent == 0, "much waits for the turn after this one"
    desk.end_turn()
    assert lane.sent == 4 * len(chunk)
    desk.outbox.push(b"answer")
    desk.end_turn()
    desk.end_turn()
    assert desk.kernel.taken == chunk * 4 + b"answer" + chunk * 2
    assert desk.soon == []


def test_a_stream_that_ends_while_its_data_is_deferred_leaves_nothing() -> None:
    desk, lane = Desk(), Lane()
    desk.outbox.stream(bytes(1 << 20), lane, 1 << 20)  # type: ignore[arg-type]
    desk.end_turn()
    desk.outbox.clear()
    desk.end_turn()
    assert desk.kernel.taken == b"" and desk.soon == []


def test_a_frame_of_a_stream_is_never_split_by_another() -> None:
    desk, lane = Desk(room=6), Lane()
    desk.outbox.stream(b"0123456789", lane, 10)  # type: ignore[arg-type]
    desk.outbox.stream(b"abc", lane, 3)  # type: ignore[arg-type]
    desk.end_turn()
    assert desk.kernel.waiting and desk.outbox.size == 4 and lane.sent == 10
    desk.outbox.push(b"answer")
    desk.kernel.room = 1000
    desk.outbox.flush()
    assert desk.kernel.taken == b"0123456789answerabc" and not desk.kernel.waiting


def test_streams_wait_while_the_kernel_is_full() -> None:
    desk, lane = Desk(room=2), Lane()
    desk.outbox.push(b"answer")
    desk.outbox.stream(b"data", lane, 4)  # type: ignore[arg-type]
    desk.end_turn()
    assert desk.kernel.taken == b"an" and lane.sent == 0
    desk.kernel.room = 1000
    desk.outbox.flush()
    assert desk.kernel.taken == b"answerdata" and lane.sent == 4


@pytest.mark.parametrize("ending", ["seal", "clear"])
def test_streams_end_with_the_connection(ending: str) -> None:
    desk, lane = Desk(room=0), Lane()
    desk.outbox.stream(b"data", lane, 4)  # type: ignore[arg-type]
    if ending == "seal":
        desk.outbox.seal(b"bye", lambda: None)
    else:
        desk.outbox.clear()
    desk.kernel.room = 1000
    desk.outbox.stream(b"more", lane, 4)  # type: ignore[arg-type]
    desk.outbox.flush()
    desk.end_turn()
    assert desk.kernel.taken == (b"bye" if ending == "seal" else b"")


def test_streams_that_pile_up_end_the_session() -> None:
    desk, lane = Desk(room=0), Lane()
    frame = bytes(1 << 20)
    for _ in range(32):
        desk.outbox.stream(frame, lane, 0)  # type: ignore[arg-type]
    desk.end_turn()
    assert not desk.overflown
    desk.outbox.stream(frame, lane, 0)  # type: ignore[arg-type]
    desk.outbox.stream(frame, lane, 0)  # type: ignore[arg-type]
    assert desk.overflown


# Work that can wait.


def test_one_piece_of_deferred_work_is_done_in_a_turn_and_what_is_ready_goes_before_it() -> None:
    desk, done = Desk(), []

    def work(number: int) -> None:
        done.append((number, desk.kernel.taken))
        if number == 1:
            desk.turn.defer(lambda: work(3))

    desk.turn.defer(lambda: work(1))
    desk.turn.defer(lambda: work(2))
    desk.outbox.push(b"a")
    desk.end_turn()
    assert done == [(1, b"a")]
    desk.outbox.push(b"b")
    desk.end_turn()
    desk.end_turn()
    assert done == [(1, b"a"), (2, b"ab"), (3, b"ab")]
    desk.end_turn()
    assert desk.soon == []


def test_deferred_work_that_fails_is_logged_and_the_rest_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    desk, done = Desk(), []
    desk.turn.defer(lambda: 1 // 0)
    desk.turn.defer(lambda: done.append(True))
    desk.end_turn()
    desk.end_turn()
    assert done and "could not be moved" in caplog.text
