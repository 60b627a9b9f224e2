"""Every call gets exactly one answer. Packets are bytes, time is a number, sessions are recordings."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from relay.protocol.codes import CloseCode, ErrorCode
from relay.protocol.limits import CALL_TIMEOUT_MAX_MS, SENTENCE_MAX_BYTES
from relay.protocol.packets import Call, Fault, Result, encode
from relay.router.calls import LATE_MAX, SLOT_S, CallTable, Question
from relay.router.directory import Directory
from tests.router.recording import RecordingOutlet, RecordingSubscriber


class Exchange:
    """A directory and a table, as the router puts them together."""

    def __init__(self, in_flight_max: int = 1000) -> None:
        self.directory = Directory(8)
        self.table = CallTable(self.directory, in_flight_max)

    def join(
        self, user: str, device: str = "phone", *methods: str, outlet: RecordingOutlet | None = None
    ) -> RecordingSubscriber:
        session = RecordingSubscriber(user, device, leave=self.leave, outlet=outlet)
        session.methods = frozenset(methods)
        self.directory.attach(session)
        return session

    def leave(self, session: RecordingSubscriber) -> None:
        self.directory.detach(session)
        self.table.leave(session)

    def call(
        self,
        caller: RecordingSubscriber,
        to: str,
        id: int = 1,
        *,
        method: str = "add",
        timeout_ms: int = 1000,
        now_s: float = 0.0,
        body: bytes = b"",
    ) -> bytes:
        call = Call(caller.address, to, id, method, timeout_ms, "", body)
        self.table.open(caller, Question(to, method, timeout_ms), id, encode(call), now_s)
        return encode(call)

    def answer(self, callee: RecordingSubscriber, to: str, id: int = 1) -> bool:
        result = Result(callee.address, to, id, "", b"5")
        return self.table.answer(callee, to, id, encode(result))


def faults(session: RecordingSubscriber) -> list[tuple[int, int]]:
    return [(packet.id, packet.code) for packet in session.outlet.take() if isinstance(packet, Fault)]


def test_a_call_and_its_answer_are_forwarded_byte_for_byte() -> None:
    exchange = Exchange()
    alice, bot = exchange.join("alice"), exchange.join("bot", "x", "add")
    frame = exchange.call(alice, "bot")
    assert bot.outlet.pushed == [frame]
    assert bot.serving == 1
    assert exchange.answer(bot, "alice/phone")
    assert alice.outlet.pushed == [encode(Result("bot/x", "alice/phone", 1, "", b"5"))]
    assert bot.serving == 0
    assert len(exchange.table) == 0


def test_a_fault_of_the_callee_is_an_answer_too() -> None:
    exchange = Exchange()
    alice, bot = exchange.join("alice"), exchange.join("bot", "x", "add")
    exchange.call(alice, "bot")
    fault = Fault("bot/x", "alice/phone", 1, 1000, "no such number")
    assert exchange.table.answer(bot, fault.to, fault.id, encode(fault))
    assert alice.outlet.pushed == [encode(fault)]


def test_a_second_answer_finds_nobody() -> None:
    exchange = Exchange()
    alice, bot = exchange.join("alice"), exchange.join("bot", "x", "add")
    exchange.call(alice, "bot")
    assert exchange.answer(bot, "alice/phone")
    assert not exchange.answer(bot, "alice/phone")
    assert len(alice.outlet.take()) == 1


def test_only_the_session_that_was_asked_may_answer() -> None:
    exchange = Exchange()
    alice, bot = exchange.join("alice"), exchange.join("bot", "x", "add")
    mallory = exchange.join("mallory")
    exchange.call(alice, "bot")
    assert not exchange.answer(mallory, "alice/phone")
    assert not exchange.answer(alice, "alice/phone")
    assert not exchange.answer(bot, "alice/phone", id=2)
    assert alice.outlet.pushed == []
    assert exchange.answer(bot, "alice/phone")


@pytest.mark.parametrize(
    ("to", "code"),
    [
        ("carol", ErrorCode.NO_SUCH_SESSION),
        ("bot/y", ErrorCode.NO_SUCH_SESSION),
        ("bot/", ErrorCode.BAD_ADDRESS),
        ("", ErrorCode.BAD_ADDRESS),
        ("alice", ErrorCode.NO_SUCH_METHOD),
        ("#ops", ErrorCode.BAD_ADDRESS),
        ("c" * 1_000_000, ErrorCode.BAD_ADDRESS),
        ("c/" * 400_000, ErrorCode.BAD_ADDRESS),
    ],
)
def test_a_call_to_nobody_is_answered_at_once(to: str, code: ErrorCode) -> None:
    exchange = Exchange()
    alice = exchange.join("alice")
    exchange.join("bot", "x", "add")
    exchange.call(alice, to, 7)
    (fault,) = alice.outlet.take()
    assert isinstance(fault, Fault)
    assert fault[:4] == ("relay", "alice/phone", 7, code)
    assert 0 < len(fault.sentence.encode()) <= SENTENCE_MAX_BYTES
    assert len(exchange.table) == 0


def test_a_named_session_needs_to_announce_nothing() -> None:
    exchange = Exchange()
    alice, bob = exchange.join("alice"), exchange.join("bob")
    assert exchange.call(alice, "bob/phone") in bob.outlet.pushed


def test_calls_go_to_sessions_that_serve_the_method_only_and_take_turns() -> None:
    exchange = Exchange()
    alice = exchange.join("alice")
    exchange.join("bot", "idle")
    workers = [exchange.join("bot", device, "add") for device in "abc"]
    for number in range(1, 10):
        exchange.call(alice, "bot", number)
    assert [worker.serving for worker in workers] == [3, 3, 3]


def test_turns_are_taken_when_nobody_is_busy_as_well() -> None:
    exchange = Exchange()
    alice = exchange.join("alice")
    workers = [exchange.join("bot", device, "add") for device in "abc"]
    for number in range(1, 7):
        exchange.call(alice, "bot", number)
        (busy,) = [worker for worker in workers if worker.serving]
        exchange.answer(busy, "alice/phone", number)
    assert [len(worker.outlet.pushed) for worker in workers] == [2, 2, 2]


def test_the_least_busy_session_is_chosen() -> None:
    exchange = Exchange()
    alice = exchange.join("alice")
    busy, idle = exchange.join("bot", "a", "add"), exchange.join("bot", "b", "add")
    for number in (1, 2, 3):
        exchange.call(alice, "bot/a", number)
    exchange.call(alice, "bot", 4)
    exchange.call(alice, "bot", 5)
    assert (busy.serving, idle.serving) == (3, 2)


def test_an_id_in_flight_is_not_taken_twice_by_one_session_but_by_two() -> None:
    exchange = Exchange()
    alice, laptop = exchange.join("alice"), exchange.join("alice", "laptop")
    bot = exchange.join("bot", "x", "add")
    exchange.call(alice, "bot", 1)
    exchange.call(alice, "bot", 1)
    assert faults(alice) == [(1, ErrorCode.ID_REUSED)]
    exchange.call(laptop, "bot", 1)
    assert faults(laptop) == []
    assert bot.serving == 2
    assert exchange.answer(bot, "laptop") is False
    assert exchange.answer(bot, "alice/laptop")
    assert exchange.answer(bot, "alice/phone")
    exchange.call(alice, "bot", 1)
    assert bot.serving == 1


@pytest.mark.parametrize("timeout_ms", [0, CALL_TIMEOUT_MAX_MS + 1, 2**53 - 1])
def test_a_timeout_out_of_range_is_refused(timeout_ms: int) -> None:
    exchange = Exchange()
    alice = exchange.join("alice")
    exchange.join("bot", "x", "add")
    exchange.call(alice, "bot", timeout_ms=timeout_ms)
    assert faults(alice) == [(1, ErrorCode.BAD_ARGUMENTS)]


def test_calls_in_flight_are_capped_per_caller() -> None:
    exchange = Exchange(in_flight_max=2)
    alice, carol, bot = exchange.join("alice"), exchange.join("carol"), exchange.join("bot", "x", "add")
    for number in (1, 2, 3):
        exchange.call(alice, "bot", number)
    assert faults(alice) == [(3, ErrorCode.RATE_LIMITED)]
    exchange.call(carol, "bot", 1)
    assert faults(carol) == []
    exchange.answer(bot, "alice/phone", 1)
    alice.outlet.take()
    exchange.call(alice, "bot", 3)
    assert faults(alice) == []


def test_answering_many_calls_leaves_a_session_free_to_make_its_own() -> None:
    exchange = Exchange(in_flight_max=2)
    alice, bot = exchange.join("alice"), exchange.join("bot", "x", "add")
    for number in (1, 2):
        exchange.call(alice, "bot", number)
    exchange.call(bot, "alice/phone", 1)
    assert faults(bot) == []


def test_a_callee_that_does_not_keep_up_is_not_asked() -> None:
    exchange = Exchange()
    alice = exchange.join("alice")
    bot = exchange.join("bot", "x", "add", outlet=RecordingOutlet(limit=300))
    exchange.call(alice, "bot", 1, body=bytes(200))
    exchange.call(alice, "bot", 2, body=bytes(200))
    assert faults(alice) == [(2, ErrorCode.QUEUE_FULL)]
    assert (bot.serving, len(bot.outlet.pushed)) == (1, 1)
    bot.outlet.drain()
    exchange.call(alice, "bot", 2, body=bytes(200))
    assert faults(alice) == []


def test_time_runs_out_once() -> None:
    exchange = Exchange()
    alice, bot = exchange.join("alice"), exchange.join("bot", "x", "add")
    exchange.call(alice, "bot", timeout_ms=1000, now_s=100.0)
    exchange.table.expire(100.9)
    assert alice.outlet.pushed == []
    exchange.table.expire(101.0 + SLOT_S)
    (fault,) = alice.outlet.take()
    assert isinstance(fault, Fault)
    assert (fault.sender, fault.code) == ("relay", ErrorCode.TIMED_OUT)
    assert "bot/x" in fault.sentence
    exchange.table.expire(200.0)
    assert not exchange.answer(bot, "alice/phone")
    assert alice.outlet.take() == []
    assert (bot.serving, len(exchange.table)) == (0, 0)


def test_calls_run_out_in_the_order_of_their_deadlines_also_after_a_long_pause() -> None:
    exchange = Exchange()
    alice = exchange.join("alice")
    exchange.join("bot", "x", "add")
    for number, timeout_ms in ((1, 3000), (2, 1000), (3, 2000)):
        exchange.call(alice, "bot", number, timeout_ms=timeout_ms)
    exchange.table.expire(60.0)
    assert [number for number, _ in faults(alice)] == [2, 3, 1]


def test_a_call_made_behind_the_clock_still_runs_out() -> None:
    exchange = Exchange()
    alice = exchange.join("alice")
    exchange.join("bot", "x", "add")
    exchange.table.expire(100.0)
    exchange.call(alice, "bot", timeout_ms=1, now_s=99.0)
    exchange.table.expire(100.0)
    assert alice.outlet.pushed == []
    exchange.table.expire(100.0 + 2 * SLOT_S)
    assert faults(alice) == [(1, ErrorCode.TIMED_OUT)]


def test_callers_are_told_when_the_callee_leaves() -> None:
    exchange = Exchange()
    alice, carol, bot = exchange.join("alice"), exchange.join("carol"), exchange.join("bot", "x", "add")
    exchange.call(alice, "bot", 1)
    exchange.call(carol, "bot", 1)
    bot.end(CloseCode.NORMAL, "bye")
    assert faults(alice) == [(1, ErrorCode.SESSION_GONE)]
    assert faults(carol) == [(1, ErrorCode.SESSION_GONE)]
    exchange.table.expire(100.0)
    assert alice.outlet.take() == []


def test_answers_to_a_caller_that_left_are_refused_and_a_newcomer_is_not_confused() -> None:
    exchange = Exchange()
    alice, bot = exchange.join("alice"), exchange.join("bot", "x", "add")
    exchange.call(alice, "bot")
    alice.end(CloseCode.NORMAL, "bye")
    assert (bot.serving, len(exchange.table)) == (0, 0)
    again = exchange.join("alice")
    assert not exchange.answer(bot, "alice/phone")
    exchange.table.expire(100.0)
    assert again.outlet.pushed == []


def test_a_session_may_call_itself_and_leave_meanwhile() -> None:
    exchange = Exchange()
    alice = exchange.join("alice", "phone", "add")
    exchange.call(alice, "alice", 1)
    assert exchange.answer(alice, "alice/phone", 1)
    exchange.call(alice, "alice", 2)
    alice.end(CloseCode.NORMAL, "bye")
    assert (alice.serving, len(exchange.table)) == (0, 0)
    assert len(alice.outlet.take()) == 3


def test_a_caller_that_ends_over_its_answer_takes_its_other_calls_along() -> None:
    """Telling a slow caller closes it; all its calls, of which several run out at once, are forgotten then."""
    exchange = Exchange()
    slow = exchange.join("slow", outlet=RecordingOutlet(overflow=120))
    quick = exchange.join("quick")
    bot = exchange.join("bot", "x", "add")
    for number in range(1, 6):
        exchange.call(slow, "bot", number)
        exchange.call(quick, "bot", number, timeout_ms=1020)
    exchange.table.expire(10.0)
    assert slow.ended
    assert sorted(faults(quick)) == [(number, ErrorCode.TIMED_OUT) for number in range(1, 6)]
    assert (bot.serving, len(exchange.table)) == (0, 0)


def test_callees_and_callers_that_end_each_other() -> None:
    exchange = Exchange()
    outlets = [RecordingOutlet(overflow=150) for _ in range(3)]
    sessions = [exchange.join(name, "phone", "add", outlet=outlet) for name, outlet in zip("abc", outlets, strict=True)]
    for number in (1, 2):
        for caller in sessions:
            for callee in sessions:
                exchange.call(caller, callee.user, number * 10 + sessions.index(callee))
    sessions[0].end(CloseCode.NORMAL, "bye")
    exchange.table.expire(100.0)
    assert len(exchange.table) == 0
    assert [session.serving for session in sessions] == [0, 0, 0]


def test_an_id_is_not_taken_again_while_its_older_answer_may_come() -> None:
    """The late answer would be taken for that to the new call."""
    exchange = Exchange()
    alice, bot, other = exchange.join("alice"), exchange.join("bot", "x", "add"), exchange.join("bot", "y", "add")
    exchange.call(alice, "bot/x", 5)
    exchange.table.expire(10.0)
    assert faults(alice) == [(5, ErrorCode.TIMED_OUT)]
    exchange.call(alice, "bot/x", 5, now_s=10.0)
    assert faults(alice) == [(5, ErrorCode.ID_REUSED)]
    exchange.call(alice, "bot/y", 5, now_s=10.0)
    assert not exchange.answer(bot, "alice/phone", 5)
    assert exchange.answer(other, "alice/phone", 5)
    assert [type(packet) for packet in alice.outlet.take()] == [Result]
    exchange.call(alice, "bot/x", 5, now_s=10.0)
    assert faults(alice) == []
    assert exchange.answer(bot, "alice/phone", 5)


def test_a_caller_that_comes_back_does_not_get_the_answer_to_its_older_call() -> None:
    exchange = Exchange()
    alice, bot = exchange.join("alice"), exchange.join("bot", "x", "add")
    exchange.call(alice, "bot", 1)
    alice.end(CloseCode.NORMAL, "bye")
    again = exchange.join("alice")
    exchange.call(again, "bot", 1)
    assert faults(again) == [(1, ErrorCode.ID_REUSED)]
    assert not exchange.answer(bot, "alice/phone", 1)
    exchange.call(again, "bot", 1)
    assert exchange.answer(bot, "alice/phone", 1)


def test_answers_that_never_come_are_forgotten_with_their_callee_and_beyond_a_number() -> None:
    exchange = Exchange(in_flight_max=2 * LATE_MAX)
    alice, bot = exchange.join("alice"), exchange.join("bot", "x", "add")
    for id in range(LATE_MAX + 1):
        exchange.call(alice, "bot", id)
    exchange.table.expire(10.0)
    alice.outlet.take()
    for id in range(LATE_MAX + 1):
        exchange.call(alice, "bot", id, now_s=10.0)
    assert [code for _, code in faults(alice)] == [ErrorCode.ID_REUSED] * LATE_MAX
    bot.end(CloseCode.NORMAL, "bye")
    alice.outlet.take()
    exchange.join("bot", "x", "add")
    for id in range(LATE_MAX + 1):
        exchange.call(alice, "bot", id, now_s=10.0)
    assert faults(alice) == []


class Calls(RuleBasedStateMachine):
    """Whatever happens, in whatever order: one answer for each call whose caller stays, and nothing is left behind."""

    sessions = st.integers(0, 3)
    ids = st.integers(1, 4)

    def __init__(self) -> None:
        super().__init__()
        self.exchange = Exchange(in_flight_max=3)
        self.now_s = 50.0
        # One bot serves nothing by announcement; "bot" has two sessions that do.
        self.names = [("alice", "phone"), ("carol", "phone"), ("bot", "x"), ("bot", "y")]
        self.live: list[RecordingSubscriber | None] = [None] * 4
        # (caller's place, id) -> callee's place, for calls that wait.
        self.waiting: dict[tuple[int, int], int] = {}
        # (caller's place, id, callee's place) of calls that ended without the callee's answer, which may still come.
        self.late: set[tuple[int, int, int]] = set()
        for place in range(4):
            self.join(place)

    @rule(place=sessions)
    def join(self, place: int) -> None:
        if self.live[place] is not None:
            self.leave(place)
        user, device = self.names[place]
        self.live[place] = self.exchange.join(user, device, *(["add"] if user == "bot" else []))

    @rule(place=sessions)
    def leave(self, place: int) -> None:
        session = self.live[place]
        if session is None:
            return
        self.live[place] = None
        self.late |= {(*key, callee) for key, callee in self.waiting.items() if key[0] == place}
        self.late = {entry for entry in self.late if entry[2] != place}
        told = sorted((caller, id) for (caller, id), callee in self.waiting.items() if callee == place != caller)
        self.waiting = {key: callee for key, callee in self.waiting.items() if place not in (key[0], callee)}
        session.end(CloseCode.NORMAL, "bye")
        for caller, id in told:
            self.expect(caller, id, ErrorCode.SESSION_GONE)
        self.nothing_else()

    @rule(place=sessions, id=ids, to=st.sampled_from(["bot", "bot/x", "bot/y", "alice", "carol/phone", "nobody"]))
    def call(self, place: int, id: int, to: str) -> None:
        caller = self.live[place]
        if caller is None:
            return
        timeout_ms = 100 * id
        frame = self.exchange.call(caller, to, id, timeout_ms=timeout_ms, now_s=self.now_s)
        reached = [n for n, s in enumerate(self.live) if s is not None and frame in s.outlet.pushed]
        if reached:
            (callee,) = reached
            assert to in (self.live[callee].user, self.live[callee].address)  # type: ignore[union-attr]
            self.live[callee].outlet.pushed.remove(frame)  # type: ignore[union-attr]
            assert (place, id) not in self.waiting
            assert (place, id, callee) not in self.late
            assert sum(caller == place for caller, _ in self.waiting) < 3
            self.waiting[place, id] = callee
        else:
            code = self.expect(place, id, None)
            used = (place, id) in self.waiting or any((place, id) == entry[:2] for entry in self.late)
            assert used or code != ErrorCode.ID_REUSED
        self.nothing_else()

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        (caller, id), callee = data.draw(st.sampled_from(sorted(self.waiting.items())))
        del self.waiting[caller, id]
        session = self.live[callee]
        assert session is not None
        assert self.exchange.answer(session, "/".join(self.names[caller]), id)
        (answer,) = self.live[caller].outlet.take()  # type: ignore[union-attr]
        assert isinstance(answer, Result)
        assert answer.id == id
        self.nothing_else()

    @rule(place=sessions, caller=sessions, id=ids)
    def answer_unasked(self, place: int, caller: int, id: int) -> None:
        session = self.live[place]
        if session is not None and self.waiting.get((caller, id)) != place:
            assert not self.exchange.answer(session, "/".join(self.names[caller]), id)
            self.late.discard((caller, id, place))
        self.nothing_else()

    @rule(passed=st.floats(0, 0.3))
    def wait(self, passed: float) -> None:
        self.now_s += passed
        self.exchange.table.expire(self.now_s)
        for place, session in enumerate(self.live):
            for packet in session.outlet.take() if session else []:
                assert isinstance(packet, Fault)
                assert packet.code == ErrorCode.TIMED_OUT
                self.late.add((place, packet.id, self.waiting.pop((place, packet.id))))

    def expect(self, place: int, id: int, code: ErrorCode | None) -> int:
        """Exactly one fault for this call is there. Returns its code."""
        session = self.live[place]
        assert session is not None
        mine = [frame for frame in session.outlet.packets() if isinstance(frame, Fault) and frame.id == id]
        assert len(mine) == 1
        assert mine[0].sender == "relay"
        if code is not None:
            assert mine[0].code == code
        session.outlet.pushed = [f for f in session.outlet.pushed if f != encode(mine[0])]
        return mine[0].code

    def nothing_else(self) -> None:
        for session in self.live:
            assert session is None or session.outlet.pushed == []

    @invariant()
    def the_table_and_the_counters_agree(self) -> None:
        assert len(self.exchange.table) == len(self.waiting)
        for place, session in enumerate(self.live):
            if session is not None:
                assert session.serving == sum(callee == place for callee in self.waiting.values())

    def teardown(self) -> None:
        self.now_s += 10
        self.wait(0)
        assert self.waiting == {}
        assert len(self.exchange.table) == 0
        for place in range(4):
            self.leave(place)
        table = self.exchange.table
        assert not table._made
        assert not table._served
        assert not table._slots
        assert not table._late


TestCalls = Calls.TestCase
TestCalls.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
