"""The torture: a short run against the real relay is clean, every lie of a lying one is found out, and its parts."""

import json
import random
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loadtest.torture.body import SIZE_MAX, SIZE_MIN, Seal, seal, unseal
from loadtest.torture.books import Books, Conversation, Received, key_of, seal_of
from loadtest.torture.findings import CLASSES, Findings
from loadtest.torture.link import Cut, Ending, Link
from loadtest.torture.loop import READ, Loop
from loadtest.torture.plan import make_plan
from tests.loadtest.lying import LIES

ROOT = Path(__file__).parents[2]
DEADLINE_S = 240.0


def torture(*words: str, cwd: Path = ROOT) -> tuple[int, dict[str, Any], str]:
    """Run it with a small crowd: exit code, the line of JSON, and what it says to people."""
    crowd = ("--senders", "20", "--receivers", "20", "--rooms", "2", "--messages", "2000")
    command = (sys.executable, "-m", "loadtest.torture", *crowd, *words)
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout.splitlines()[-1]), done.stderr


def wrong(result: dict[str, Any]) -> dict[str, int]:
    return {kind: result[kind] for kind in CLASSES if result[kind]}


# The real relay.


def test_nothing_is_lost_when_the_relay_is_killed(tmp_path: Path) -> None:
    code, result, said = torture("--kills", "3", "--seed", "3", "--directory", str(tmp_path))
    assert wrong(result) == {}, said
    assert code == 0
    assert result["kills"] == 3
    assert result["acknowledged"] >= 2000
    assert result["in_log"] >= result["acknowledged"]
    assert result["sdk_acknowledged"] > 0
    assert result["seed"] == 3
    assert list(tmp_path.iterdir()) == [], "a clean run clears up behind itself"


def test_connections_cut_at_any_byte_go_on_exactly_where_they_were(tmp_path: Path) -> None:
    code, result, said = torture("--cuts", "200", "--seed", "4", "--directory", str(tmp_path))
    assert wrong(result) == {}, said
    assert code == 0
    assert result["cuts"] >= 200
    assert 0 < result["cuts_left_open"] < result["cuts"]


# Lying ones.


FOUND = {
    "early": "lost",
    "forgetful": "duplicated",
    "lossy": "lost",
    "stuttering": "duplicated",
    "altering": "corrupted",
    "careless": "duplicated",
    "talkative": "failed",
    "clinging": "unexpected",
}


@pytest.mark.parametrize(("lie", "found"), FOUND.items())
def test_a_relay_that_lies_is_found_out(lie: str, found: str, tmp_path: Path) -> None:
    relay = f"{sys.executable} -m tests.loadtest.lying {lie}"
    code, result, said = torture("--kills", "3", "--relay", relay, "--directory", str(tmp_path), "--patience", "3")
    assert code == 1
    assert result[found] > 0, said
    assert f"{found}: " in said
    assert sum(result["wrong"][name][found] for name in result["wrong"] if found in result["wrong"][name])
    assert any(tmp_path.iterdir()), "the evidence is kept"


def test_all_lies_are_told() -> None:
    assert set(FOUND) == set(LIES)


# The books.


def books(*names: str) -> Books:
    """Books of the devices a/pc (0) and b/pc (1) and conversations between their users."""
    users = frozenset(("a", "b"))
    return Books(dict.fromkeys(names or ("a@b",), users), ["a/pc", "b/pc"], Findings())


class Reader:
    """What device b/pc gets of conversation a@b: `get` returns the classes of what is wrong with one delivery."""

    def __init__(self) -> None:
        self.books = books()
        self.conversation = self.books.by_name["a@b"]
        self.received = Received("b/pc", self.books.sent[1])

    def get(self, offset: int) -> list[str]:
        before = self.books.findings.counts.copy()
        self.books.arrived(self.received, self.conversation, offset)
        after = self.books.findings.counts
        return [kind for kind in after if after[kind] > before[kind]]

    @property
    def line(self) -> Any:
        return self.received.line(self.conversation)

    def acknowledge(self, confirmed: bool) -> None:
        acks = dict(self.received.acknowledge())
        if confirmed:
            self.received.confirm(acks)

    def sent_by_itself(self, offset: int) -> None:
        mine = Seal(1, self.books.sent[1].add(offset, 0))
        self.books.stored(mine, self.conversation, offset)
        self.received.stored(self.conversation, offset)


def test_a_conversation_in_order_is_clean() -> None:
    reader = Reader()
    assert [reader.get(offset) for offset in (1, 2, 3)] == [[], [], []]
    assert reader.received.acknowledge() == [(0, 3)]
    assert reader.received.acknowledge() == []


def test_the_same_offset_twice_on_one_connection_is_a_duplicate() -> None:
    reader = Reader()
    reader.get(1)
    reader.get(2)
    assert reader.get(2) == ["duplicated"]
    assert reader.get(1) == ["duplicated"]


def test_after_a_cut_it_may_begin_anywhere_behind_what_was_confirmed() -> None:
    reader = Reader()
    for offset in range(1, 6):
        reader.get(offset)
    reader.received.connect()
    assert reader.get(1) == [], "nothing was acknowledged"
    reader.acknowledge(confirmed=True)
    for first, wrong_with_it in ((5, ["duplicated"]), (6, [])):
        reader.received.connect()
        assert reader.get(first) == wrong_with_it


def test_an_acknowledgement_that_was_not_confirmed_may_be_lost_or_not() -> None:
    for first in (1, 2, 3):
        reader = Reader()
        reader.get(1)
        reader.get(2)
        reader.acknowledge(confirmed=False)
        reader.received.connect()
        assert reader.get(first) == []


def test_what_was_not_acknowledged_may_not_be_skipped_even_for_a_program_that_died() -> None:
    reader = Reader()
    for offset in (1, 2):
        reader.get(offset)
    reader.acknowledge(confirmed=False)
    reader.get(3)
    reader.received.die()
    reader.received.connect()
    reader.get(4)
    assert reader.line.missing == {3}
    assert "offset 4 came after 2" in reader.books.findings.examples[0]
    assert reader.received.acknowledge() == [(0, 2)], "what is missing is not acknowledged"


def test_what_comes_late_is_reordered() -> None:
    reader = Reader()
    reader.get(1)
    assert reader.get(3) == []
    assert reader.line.missing == {2}
    reader.received.connect()
    assert reader.get(1) == []
    assert reader.get(2) == ["reordered"]
    assert reader.line.missing == set()


def test_own_messages_need_not_come() -> None:
    reader = Reader()
    reader.get(1)
    reader.sent_by_itself(2)
    assert reader.get(3) == []
    assert reader.line.cursor == 3
    reader.sent_by_itself(5)
    assert reader.line.cursor == 3
    assert reader.get(4) == []
    assert reader.line.cursor == 5


def test_own_messages_come_unless_their_sender_was_told() -> None:
    reader = Reader()
    reader.get(1)
    mine = Seal(1, reader.books.sent[1].add(7, 0))
    reader.books.seen(mine, reader.conversation, 2)
    reader.get(3)
    assert reader.line.missing == {2}


def test_a_member_gets_what_is_stored_from_the_moment_she_joined() -> None:
    for first, wrong_with_it in ((5, ["duplicated"]), (6, []), (7, [])):
        reader = Reader()
        reader.received.begin(reader.conversation, 3)
        reader.received.begun(reader.conversation, 5, certain=True)
        assert reader.get(first) == wrong_with_it
        assert reader.line.missing == ({6} if first == 7 else set())


def test_who_does_not_know_when_she_joined_may_get_anything_between() -> None:
    for first, wrong_with_it in ((3, ["duplicated"]), (4, []), (6, []), (7, [])):
        reader = Reader()
        reader.received.begin(reader.conversation, 3)
        reader.received.connect()
        reader.received.begun(reader.conversation, 5, certain=False)
        assert reader.get(first) == wrong_with_it
        assert reader.line.missing == ({6} if first == 7 else set())


def test_what_comes_before_the_answer_to_joining_counts() -> None:
    reader = Reader()
    reader.received.begin(reader.conversation, 3)
    assert [reader.get(6), reader.get(7)] == [[], []]
    assert reader.received.acknowledge() == []
    reader.received.begun(reader.conversation, 5, certain=True)
    assert reader.line.due == 7
    assert reader.get(8) == []
    assert reader.received.acknowledge() == [(0, 8)]


def test_two_messages_at_one_offset_are_unexpected() -> None:
    kept = books()
    for serial in (1, 2):
        kept.sent[0].add(serial, 0)
    kept.stored(Seal(0, 1), kept.by_name["a@b"], 1)
    kept.seen(Seal(0, 2), kept.by_name["a@b"], 1)
    assert kept.findings.counts["unexpected"] == 1
    assert kept.findings.by_conversation["a@b"]["unexpected"] == 1
    assert not kept.findings.clean


def test_one_message_at_two_offsets_is_a_duplicate() -> None:
    kept = books()
    kept.sent[0].add(1, 0)
    kept.stored(Seal(0, 1), kept.by_name["a@b"], 1)
    kept.stored(Seal(0, 1), kept.by_name["a@b"], 1)
    assert kept.findings.clean
    assert kept.acknowledged == 1
    kept.seen(Seal(0, 1), kept.by_name["a@b"], 2)
    assert kept.findings.counts["duplicated"] == 1


def test_only_what_was_sent_like_this_is_known() -> None:
    kept = books("a@b", "b@b")
    kept.sent[0].add(5, 0)
    right = kept.by_name["a@b"]
    assert kept.known(Seal(0, 1), 5, right)
    assert not kept.known(Seal(0, 1), 6, right)
    assert not kept.known(Seal(0, 1), 5, kept.by_name["b@b"])
    assert not kept.known(Seal(0, 2), 5, right)
    assert not kept.known(Seal(1, 1), 5, right)
    assert not kept.known(Seal(9, 1), 5, right)


def test_holes_in_what_anybody_saw() -> None:
    conversation = Conversation(0, "a@b", frozenset("ab"))
    conversation.put(1, 7)
    conversation.put(4, 8)
    assert conversation.head == 4
    assert list(conversation.holes()) == [2, 3]
    assert [conversation.key_at(offset) for offset in (0, 1, 2, 4, 5)] == [0, 7, 0, 8, 0]


@pytest.mark.parametrize("sealed", [Seal(0, 1), Seal(293, 2**32), Seal(1000, 1)])
def test_a_key_is_a_message(sealed: Seal) -> None:
    assert seal_of(key_of(sealed)) == sealed
    assert key_of(sealed)


# Bodies.


@pytest.mark.parametrize("size", [SIZE_MIN, 100, SIZE_MAX])
def test_a_body_tells_who_wrote_it_and_every_change_shows(size: int) -> None:
    body = seal(3, 77, size)
    assert len(body) == size
    assert unseal(body) == Seal(3, 77)
    for at in {0, 4, 8, 16, size // 2, size - 1}:
        assert unseal(body[:at] + bytes((body[at] ^ 1,)) + body[at + 1 :]) is None
    assert unseal(body[:-1]) is None
    assert unseal(body + b"\0") is None
    assert unseal(b"") is None


# The plan.


def test_a_seed_makes_the_same_plan_and_another_seed_another() -> None:
    assert make_plan(1) == make_plan(1)
    assert make_plan(1) != make_plan(2)


def test_all_kinds_of_users_take_part() -> None:
    plan = make_plan(1)
    habits = [member.habit for member in plan.members]
    devices: dict[str, list[Any]] = {}
    for member in plan.members:
        devices.setdefault(member.user, []).append(member)
    assert sum(any(one.habit.in_flight for one in of_user) for of_user in devices.values()) == 100
    assert sum(not any(one.habit.in_flight for one in of_user) for of_user in devices.values()) == 100 + 10
    assert any(len(of_user) > 1 for of_user in devices.values())
    assert any(habit.absent_s for habit in habits)
    assert any(habit.dies and habit.receives for habit in habits)
    assert any(habit.dies and habit.in_flight for habit in habits)
    assert any(habit.in_flight and habit.receives for habit in habits)
    assert any(habit.sip_bytes for habit in habits)
    assert {len(set(users)) for users in plan.rooms.values()} == {22}
    assert sum(habit.roams for habit in habits) == 10
    assert all(member.user in plan.rooms[to] for member in plan.members for to in member.targets if to[0] == "#")
    assert set(plan.conversations()) >= set(plan.rooms)


# Connections that are cut.


class Peer:
    """A listening socket, and a link to it whose events are noted."""

    def __init__(self, loop: Loop, cut: Cut | None) -> None:
        self.loop = loop
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.events: list[Any] = []
        self.link = Link(loop, self._note("data"), self._note("lost"), self._note("cut"), cut)
        self.link.connect(self.listener.getsockname(), "127.0.0.1")
        self.accepted, _ = self.listener.accept()

    def _note(self, what: str) -> Any:
        def note(value: Any) -> None:
            self.events.append((what, value))
            self.loop.stop()

        return note

    def run(self) -> None:
        """Until something is noted; a guard ends what hangs."""
        guard = self.loop.later(10.0, self.loop.stop)
        self.loop.run()
        guard.cancel()

    def received(self, size: int) -> bytes:
        self.accepted.settimeout(10.0)
        data = b""
        while len(data) < size and (more := self.accepted.recv(65536)):
            data += more
        return data

    def close(self) -> None:
        self.link.close()
        self.accepted.close()
        self.listener.close()


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.close()


@pytest.mark.parametrize("after", [1, 7, 100, 70_000])
def test_sending_is_cut_at_the_very_byte(loop: Loop, after: int) -> None:
    peer = Peer(loop, Cut(after, True, Ending.CLOSE))
    whole = random.Random(1).randbytes(100_000)
    for at in range(0, len(whole), 10_000):
        peer.link.send(whole[at : at + 10_000])
    peer.run()
    assert peer.events == [("cut", Ending.CLOSE)]
    peer.link.close()
    assert peer.received(100_000) == whole[:after]
    peer.close()


@pytest.mark.parametrize("after", [1, 7, 100, 70_000])
def test_receiving_is_cut_at_the_very_byte(loop: Loop, after: int) -> None:
    peer = Peer(loop, Cut(after, False, Ending.LEAVE))
    whole = random.Random(1).randbytes(100_000)
    peer.accepted.sendall(whole)
    while not peer.events or peer.events[-1][0] != "cut":
        peer.run()
    assert b"".join(data for what, data in peer.events if what == "data") == whole[:after]
    left = peer.link.leave()
    assert left is not None
    assert not peer.link.open
    left.close()
    peer.close()


def test_a_connection_that_is_not_cut_reports_its_end_once(loop: Loop) -> None:
    peer = Peer(loop, None)
    peer.link.send(b"question")
    loop.later(0.0, loop.stop)
    loop.run()
    assert peer.received(8) == b"question"
    peer.accepted.sendall(b"answer")
    peer.run()
    peer.accepted.close()
    peer.run()
    assert peer.events[0] == ("data", b"answer")
    assert [what for what, _ in peer.events] == ["data", "lost"]
    assert not peer.link.open
    peer.close()


def test_a_paused_connection_reads_nothing_until_it_is_resumed(loop: Loop) -> None:
    peer = Peer(loop, None)
    peer.link.pause()
    peer.accepted.sendall(b"later")
    loop.later(0.02, peer.link.resume)
    loop.later(0.01, lambda: peer.events.append(("still", None)))
    peer.run()
    assert [what for what, _ in peer.events] == ["still", "data"]
    peer.close()


def test_timers_come_in_order_and_cancelled_ones_never(loop: Loop) -> None:
    seen: list[int] = []
    loop.later(0.002, lambda: seen.append(2))
    loop.later(0.001, lambda: seen.append(1))
    loop.later(0.0015, lambda: seen.append(0)).cancel()
    loop.later(0.003, loop.stop)
    loop.run()
    assert seen == [1, 2]


def test_a_ready_descriptor_is_told_until_it_is_forgotten(loop: Loop) -> None:
    ours, theirs = socket.socketpair()
    seen: list[int] = []

    def ready(events: int) -> None:
        seen.append(events)
        loop.forget(ours.fileno())
        loop.stop()

    loop.watch(ours.fileno(), READ, ready)
    theirs.send(b"x")
    loop.run()
    loop.later(0.0, loop.stop)
    loop.run()
    assert seen == [READ]
    ours.close()
    theirs.close()
