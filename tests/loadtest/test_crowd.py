"""Users of the load test against a real relay, and against one that cheats: what they report is what happened."""

import contextlib
import dataclasses
import hashlib
import hmac
import itertools
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import gevent
import pytest

from loadtest.accounts import add_accounts
from loadtest.books.settle import settle
from loadtest.books.tally import Tally, failures
from loadtest.crowd.crowd import (
    Crowd,
    Plan,
    every,
    is_among,
    room_members,
    room_name,
    room_number,
    source_address,
    user_name,
)
from loadtest.crowd.login import PASSWORD, KnownPasswordLogin, LoginError
from loadtest.crowd.person import Person, contacts
from loadtest.crowd.schedule import BATCH_MAX, Schedule
from loadtest.crowd.wire import Wire
from loadtest.processes import Relay
from loadtest.scenarios.scenario import Scenario
from relay.protocol.codes import ErrorCode
from relay.protocol.frames import FrameReader
from relay.protocol.limits import FRAME_MAX
from relay.protocol.packets import NUMBERS, Error, Message, Packet, Ping, Pong, Unknown, decode, encode
from relay.protocol.scram import ServerLogin, make_credentials
from tests.loadtest.tampering import Tamper, TamperingProxy

DEADLINE_S = 20.0
STRANGER = 50  # a user whose password is another one
QUIET = Scenario(
    name="quiet", summary="nothing happens by itself", pace_hz=0, logins_hz=None, echo_share=1.0, churn_away_s=0.05
)


def wait_until(done: Callable[[], bool]) -> None:
    """Let everything run until `done`. Fails after far longer than anything here takes."""
    with gevent.Timeout(DEADLINE_S, AssertionError("it did not happen")):
        while not done():
            gevent.sleep(0.005)


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    directory: Path = tmp_path_factory.mktemp("relay")
    add_accounts(directory / "data", [user_name(index) for index in range(STRANGER)], PASSWORD)
    add_accounts(directory / "data", [user_name(STRANGER)], "another password")
    relay = Relay(directory, ())
    yield relay
    assert relay.child.stop(DEADLINE_S) == 0


class Stage:
    """Users in this process, others in each test: a ledger begins with an empty conversation."""

    _numbers = itertools.count()

    def __init__(self, port: int, users: int, first: int | None = None, scenario: Scenario = QUIET) -> None:
        self.reports: list[tuple[str, str | None]] = []
        if first is None:
            first, *_ = [next(self._numbers) for _ in range(users)]
        plan = Plan(scenario, "127.0.0.1", port, users, first, 1)
        self.crowd = Crowd(plan, lambda kind, _ms, error: self.reports.append((kind, error)))
        self.people = [Person(self.crowd) for _ in range(users)]
        self.indexes = [person.index for person in self.people]
        self._lives = [gevent.spawn(person.live) for person in self.people]
        self.crowd.begin(time.monotonic())

    def all_in(self) -> None:
        wait_until(lambda: self.crowd.online == len(self.people) and not self.open_doings())

    def open_doings(self) -> int:
        return self.crowd.standing()["open_doings"]

    def close(self) -> Tally:
        """Everybody leaves; what the books amount to."""
        self.crowd.finish()
        gevent.killall(self._lives)
        assert self.crowd.crashes == []
        tally = Tally(self.crowd.tally)
        tally.update(settle(self.crowd.to_plain()["books"]).tally)
        return tally


def test_everything_arrives_and_is_counted(relay: Relay) -> None:
    stage = Stage(relay.port, 3)
    stage.all_in()
    for sender, receiver in itertools.permutations(stage.people, 2):
        for _ in range(20):
            sender.messages.send(receiver.index, time.monotonic())
            sender.signals.send(receiver.index, time.monotonic())
            sender.calls.make(receiver.index, time.monotonic())
    tally = stage.crowd.tally
    wait_until(lambda: not stage.open_doings() and tally["messages_received"] + tally["signals_received"] == 240)
    done = stage.close()
    assert failures(done, frozenset()) == []
    assert done["messages_sent"] == done["messages_stored"] == done["messages_received"] == 120
    assert done["signals_sent"] == done["signals_received"] == 120
    assert done["calls_made"] == done["calls_answered"] == done["calls_served"] == 120
    kinds = stage.crowd.timeline
    assert [kinds.total(kind).count for kind in ("login", "stored", "delivered", "signal", "call")] == [3, *[120] * 4]


def test_some_come_by_websocket_and_everything_arrives(relay: Relay) -> None:
    stage = Stage(relay.port, 4, scenario=dataclasses.replace(QUIET, web_share=0.5))
    stage.all_in()
    assert sorted(person.web for person in stage.people) == [False, False, True, True]
    for sender, receiver in itertools.permutations(stage.people, 2):
        for _ in range(10):
            sender.messages.send(receiver.index, time.monotonic())
            sender.signals.send(receiver.index, time.monotonic())
            sender.calls.make(receiver.index, time.monotonic())
    tally = stage.crowd.tally
    wait_until(lambda: not stage.open_doings() and tally["messages_received"] + tally["signals_received"] == 240)
    done = stage.close()
    assert failures(done, frozenset()) == []
    assert done["messages_received"] == done["signals_received"] == done["calls_answered"] == 120


def test_a_websocket_that_is_cut_comes_back(relay: Relay) -> None:
    proxy = TamperingProxy(relay.port)
    stage = Stage(proxy.port, 2, scenario=dataclasses.replace(QUIET, web_share=1.0))
    stage.all_in()
    one, two = stage.people
    for _ in range(40):
        one.messages.send(two.index, time.monotonic())
    gevent.idle()
    proxy.cut()
    wait_until(lambda: stage.crowd.tally["connections_lost"] == 2)
    wait_until(lambda: stage.crowd.tally["messages_received"] == 40 and not stage.open_doings())
    done = stage.close()
    proxy.stop()
    assert failures(done, frozenset({"connections_lost", "logins_repeated"})) == []


def drop_third(earlier: list[bytes], payload: bytes) -> list[bytes]:
    return [] if len(earlier) == 2 else [payload]


def repeat_third(earlier: list[bytes], payload: bytes) -> list[bytes]:
    return [payload] * (1 + (len(earlier) == 2))


def swap_third(earlier: list[bytes], payload: bytes) -> list[bytes]:
    """The third waits until the fourth has gone."""
    return {2: [], 3: [payload, earlier[-1]] if earlier else []}.get(len(earlier), [payload])


def change_third(earlier: list[bytes], payload: bytes) -> list[bytes]:
    return [payload[:-1] + b"?" if len(earlier) == 2 else payload]


@pytest.mark.parametrize(
    ("tamper", "expected"),
    [
        (drop_third, {"messages_lost": 1, "messages_skipped": 1, "messages_received": 9}),
        (repeat_third, {"messages_duplicated": 1, "messages_received": 10}),
        (swap_third, {"messages_skipped": 1, "messages_reordered": 1, "messages_received": 10}),
        (change_third, {"messages_corrupted": 1, "messages_lost": 1, "messages_received": 9}),
    ],
)
def test_a_relay_that_cheats_is_found_out(relay: Relay, tamper: Tamper, expected: dict[str, int]) -> None:
    proxy = TamperingProxy(relay.port, tamper)
    stage = Stage(proxy.port, 2)
    stage.all_in()
    sender, receiver = stage.people
    for _ in range(10):
        sender.messages.send(receiver.index, time.monotonic())
    wait_until(lambda: not stage.open_doings())
    wait_until(lambda: stage.crowd.tally["messages_received"] == expected["messages_received"])
    done = stage.close()
    proxy.stop()
    assert {name: done[name] for name in expected} == expected
    assert failures(done, frozenset()) != []


def test_what_was_cut_off_goes_out_again_and_arrives_once(relay: Relay) -> None:
    proxy = TamperingProxy(relay.port)
    stage = Stage(proxy.port, 2)
    stage.all_in()
    one, two = stage.people
    for round_number in range(5):
        for _ in range(40):
            one.messages.send(two.index, time.monotonic())
            two.messages.send(one.index, time.monotonic())
        gevent.idle()
        proxy.cut()
        lost = 2 * (round_number + 1)
        wait_until(lambda lost=lost: stage.crowd.tally["connections_lost"] == lost)  # type: ignore[misc]
        wait_until(lambda: stage.crowd.online == 2)
    wait_until(lambda: not stage.open_doings() and stage.crowd.tally["messages_received"] == 400)
    done = stage.close()
    proxy.stop()
    assert done["messages_sent"] == done["messages_stored"] == done["messages_received"] == 400
    assert failures(done, frozenset({"connections_lost", "logins_repeated"})) == []
    assert failures(done, frozenset()) == ["10 connections broke"]


def test_a_user_who_is_turned_away_gives_up_and_says_why(relay: Relay) -> None:
    stage = Stage(relay.port, 1, first=STRANGER)
    wait_until(lambda: stage.crowd.given_up == 1)
    done = stage.close()
    assert done["logins_failed"] == done["users_missing"] == 1
    [(kind, reason)] = stage.reports
    assert kind == "login"
    assert reason is not None and "password is wrong" in reason


def test_a_slow_reader_gets_everything_once_she_reads(relay: Relay) -> None:
    stage = Stage(relay.port, 2)
    stage.all_in()
    sender, receiver = stage.people
    receiver.slow = True
    stage.crowd.busy = True
    receiver._sip(time.monotonic())
    for _ in range(50):
        sender.messages.send(receiver.index, time.monotonic())
    wait_until(lambda: not len(sender.messages))
    assert stage.crowd.tally["messages_received"] < 50
    stage.crowd.drain()
    wait_until(lambda: stage.crowd.tally["messages_received"] == 50)
    done = stage.close()
    assert failures(done, frozenset()) == []
    assert stage.crowd.timeline.total("delivered").count == 0


def test_who_steps_out_comes_back_and_misses_nothing(relay: Relay) -> None:
    stage = Stage(relay.port, 2)
    stage.all_in()
    sender, receiver = stage.people
    stage.crowd.busy = True
    for number in range(1, 5):
        receiver._step_out(time.monotonic())
        sender.messages.send(receiver.index, time.monotonic())
        wait_until(lambda: stage.crowd.online == 2)
        wait_until(lambda number=number: stage.crowd.tally["messages_received"] == number)  # type: ignore[misc]
    stage.crowd.schedule.clear()
    done = stage.close()
    assert failures(done, frozenset()) == []
    assert done["logins"] == 6


@pytest.mark.parametrize(("code", "again"), [(ErrorCode.QUEUE_FULL, True), (ErrorCode.BLOCKED, False)])
def test_what_was_refused_for_the_moment_is_sent_again(code: ErrorCode, again: bool) -> None:
    crowd = Crowd(Plan(QUIET, "127.0.0.1", 1, 2, 0, 1), lambda *_: None)
    person, line = Person(crowd), Line()
    person._wire = line.wire
    person.messages.send(1, time.monotonic())
    person._handle_packet(Error(NUMBERS[Message], 1, code, "no"))
    assert len(person.messages) == int(again)
    crowd.schedule.run_due(time.monotonic() + 60)
    frames = FrameReader(FRAME_MAX)
    frames.feed(line.theirs.recv(65536))
    ids = []
    while (payload := frames.next_payload()) is not None:
        message = decode(payload)
        assert isinstance(message, Message)
        ids.append(message.id)
    assert ids == ([1, 2] if again else [1])
    assert (crowd.tally["messages_put_off"], crowd.tally["messages_refused"]) == (int(again), int(not again))
    line.wire.hang_up()


def test_users_come_from_many_addresses() -> None:
    addresses = [source_address(index) for index in range(20_000)]
    assert len(set(addresses)) == 200
    assert "127.0.0.1" not in addresses
    for address in set(addresses):
        assert socket.inet_aton(address)[0] == 127
        assert addresses.count(address) <= 100


@pytest.mark.parametrize("users", [1, 2, 3, 20, 2000])
def test_contacts_are_mutual(users: int) -> None:
    everybody = {index: contacts(index, users, 4) for index in range(users)}
    for index, peers in everybody.items():
        assert 1 <= len(peers) <= 4
        assert all(index in everybody[peer] for peer in peers)
        assert users == 1 or index not in peers


def test_everybody_is_in_one_room() -> None:
    scenario = Scenario("rooms", "", room_members=500)
    rooms = [room_members(room, scenario, 1200) for room in range(3)]
    assert [len(inside) for inside in rooms] == [500, 500, 200]
    assert [index for inside in rooms for index in inside] == list(range(1200))
    assert room_number(room_name(12)) == 12
    assert room_number("load1@load2") is None


def test_a_share_of_the_users_is_spread_evenly() -> None:
    assert sum(is_among(index, 0.1) for index in range(1000)) == 100
    assert not any(is_among(index, 0.0) for index in range(100))
    assert (every(0.5), every(1.0), every(0.1)) == (2, 1, 10)


def test_the_login_proves_both_sides() -> None:
    ours, theirs = KnownPasswordLogin("load1"), ServerLogin("load1", make_credentials(PASSWORD, 4096))
    ours.check(theirs.final(ours.final(theirs.first(ours.first()))))


def test_a_relay_that_does_not_know_the_account_is_refused() -> None:
    ours, theirs = KnownPasswordLogin("load1"), ServerLogin("load1", make_credentials(PASSWORD, 4096))
    ours.final(theirs.first(ours.first()))
    with pytest.raises(LoginError):
        ours.check(b"v=" + hmac.digest(b"guess", b"guess", hashlib.sha256).hex().encode())


@pytest.mark.parametrize("challenge", [b"", b"r=1", b"r=1,s=?,i=x", b"\xff"])
def test_a_broken_challenge_is_refused(challenge: bytes) -> None:
    with pytest.raises(LoginError):
        KnownPasswordLogin("load1").final(challenge)


class Line:
    """Both ends of a connection: ours as a Wire, theirs as a socket."""

    def __init__(self) -> None:
        sock, self.theirs = socket.socketpair()
        self.packets: list[Packet | Unknown] = []
        self.lost: list[str] = []
        self.wire = Wire(sock, self.packets.append, self.lost.append)
        self.wire.start()


def test_packets_are_cut_out_of_any_pieces() -> None:
    line = Line()
    stream = b"".join(encode(Ping(number)) for number in range(50))
    for start in range(0, len(stream), 3):
        line.theirs.send(stream[start : start + 3])
        gevent.idle()
    wait_until(lambda: len(line.packets) == 50)
    assert line.packets == [Ping(number) for number in range(50)]
    line.wire.hang_up()


def test_what_the_kernel_does_not_take_at_once_is_sent_later() -> None:
    line = Line()
    frames = [encode(Pong(number)) * 1000 for number in range(200)]
    for frame in frames:
        line.wire.send(frame)
    line.theirs.setblocking(False)
    received = bytearray()

    def read() -> bool:
        with contextlib.suppress(BlockingIOError):
            received.extend(line.theirs.recv(65536))
        return len(received) == sum(map(len, frames))

    wait_until(read)
    assert bytes(received) == b"".join(frames)
    line.wire.hang_up()


def test_the_end_of_a_connection_is_reported_once_with_its_reason() -> None:
    line = Line()
    line.theirs.close()
    wait_until(lambda: bool(line.lost))
    line.wire.send(encode(Ping(1)))
    assert line.lost == ["the relay closed the connection without a word"]
    assert not line.wire.open


def test_bytes_that_are_no_packet_end_the_connection() -> None:
    line = Line()
    line.theirs.send(b"\0\0\0\x01\xc1")
    wait_until(lambda: bool(line.lost))
    assert "cannot be read" in line.lost[0]


def test_hanging_up_says_the_last_word_and_reports_nothing() -> None:
    line = Line()
    line.wire.hang_up(b"goodbye")
    assert line.theirs.recv(100) == b"goodbye"
    assert line.theirs.recv(100) == b""
    assert line.lost == []


def test_a_schedule_does_what_is_due_in_order_with_its_own_time() -> None:
    schedule = Schedule()
    done: list[float] = []
    for due_at in (3.0, 1.0, 2.0, 9.0):
        schedule.add(due_at, done.append)
    assert schedule.run_due(5.0) == 9.0
    assert done == [1.0, 2.0, 3.0]
    assert schedule.run_due(9.0) is None


def test_a_schedule_that_is_late_catches_up_and_does_not_move_the_times() -> None:
    schedule = Schedule()
    done: list[float] = []

    def again(due_at: float) -> None:
        done.append(due_at)
        if due_at < 10:
            schedule.add(due_at + 1, again)

    schedule.add(1.0, again)
    schedule.run_due(100.0)
    assert done == [float(number) for number in range(1, 11)]


def test_much_that_is_overdue_is_done_in_batches() -> None:
    schedule = Schedule()
    for _ in range(BATCH_MAX + 5):
        schedule.add(0.0, lambda due_at: None)
    assert schedule.run_due(1.0) == 0.0
    assert len(schedule) == 5
