"""What a program may ask the relay, through both clients, and how answers become values."""

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
from relay_client import Client, aio, errors
from relay_client.answers import Conversation, Member, Presence, Room
from relay_client.events import Receipt
from relay_client.fate import FateState
from relay_client.questions import Asked, Group, Question, advance

from relay.protocol import packets
from relay.protocol.packets import Call, Signal, encode_payload
from relay.protocol.payloads import decode_body, encode_body
from tests.relay_client.conftest import Connect
from tests.relay_client.peer import Peer, until
from tests.relay_client.simulated import TIME_MS, refuse_messages

ROOM = {"room": "#ops", "title": "", "public": True, "role": "owner", "members": 1, "head": 0}
GROUPS = ("rooms", "conversations", "devices", "blocks", "people")

# Each question, and the call that it is.
CALLS: list[tuple[str, str, tuple[Any, ...], dict[str, Any], str, dict[str, Any]]] = [
    ("rooms", "create", ("Ops",), {}, "rooms.create", {"room": "#ops", "title": "", "public": True}),
    (
        "rooms", "create", ("#ops", "Our plans"), {"public": False},
        "rooms.create", {"room": "#ops", "title": "Our plans", "public": False},
    ),
    ("rooms", "join", ("ops",), {}, "rooms.join", {"room": "#ops"}),
    ("rooms", "leave", ("ops",), {}, "rooms.leave", {"room": "#ops"}),
    ("rooms", "invite", ("ops", "bob"), {}, "rooms.invite", {"room": "#ops", "user": "bob"}),
    ("rooms", "remove", ("ops", "bob"), {}, "rooms.remove", {"room": "#ops", "user": "bob"}),
    ("rooms", "ban", ("ops", "bob"), {}, "rooms.ban", {"room": "#ops", "user": "bob"}),
    ("rooms", "unban", ("ops", "bob"), {}, "rooms.unban", {"room": "#ops", "user": "bob"}),
    (
        "rooms", "set_role", ("ops", "bob", "owner"), {},
        "rooms.set_role", {"room": "#ops", "user": "bob", "role": "owner"},
    ),
    ("rooms", "set", ("ops",), {"title": "T"}, "rooms.set", {"room": "#ops", "title": "T"}),
    ("rooms", "set", ("ops",), {"public": False}, "rooms.set", {"room": "#ops", "public": False}),
    ("rooms", "list", (), {"everything": True}, "rooms.list", {"all": True, "after": ""}),
    ("rooms", "members", ("ops",), {}, "rooms.members", {"room": "#ops", "after": ""}),
    ("conversations", "list", (), {}, "conversations.list", {"after": ""}),
    (
        "conversations", "read", ("bob",), {"after": 5},
        "history.read", {"conversation": "bob", "after": 5, "limit": 100},
    ),
    (
        "conversations", "read", ("bob",), {"before": 5, "limit": 7},
        "history.read", {"conversation": "bob", "before": 5, "limit": 7},
    ),
    ("conversations", "receipts", ("bob",), {}, "receipts.of", {"conversation": "bob"}),
    ("conversations", "watch_receipts", (), {}, "receipts.watch", {"watch": True}),
    ("devices", "list", (), {}, "devices.list", {}),
    ("devices", "forget", ("phone",), {}, "devices.forget", {"device": "phone"}),
    ("blocks", "add", ("bob",), {}, "blocks.add", {"user": "bob"}),
    ("blocks", "remove", ("bob",), {}, "blocks.remove", {"user": "bob"}),
    ("blocks", "list", (), {}, "blocks.list", {}),
    ("people", "watch", (), {}, "presence.watch", {}),
    ("people", "watch", (["bob"],), {}, "presence.watch", {"users": ["bob"]}),
    ("people", "unwatch", (), {}, "presence.watch", {"users": []}),
    ("people", "set_away", (), {}, "presence.set", {"state": "away"}),
    ("people", "set_away", (False,), {}, "presence.set", {"state": "online"}),
]  # fmt: skip

ANSWER: dict[str, Any] = {
    "room": ROOM, "rooms": [], "members": [], "conversations": [], "more": False, "messages": [], "cursors": [],
    "devices": [], "users": [], "conversation": "alice@bob", "first": 1, "head": 0,
}  # fmt: skip


@pytest.mark.parametrize("case", CALLS, ids=lambda case: f"{case[0]}.{case[1]}")
def test_each_question_is_one_call(peer: Peer, connect: Connect, case: tuple[Any, ...]) -> None:
    group, name, args, options, method, arguments = case
    asked: list[Any] = []
    peer.relay.answers[method] = lambda given: asked.append(given) or ANSWER
    getattr(getattr(connect(), group), name)(*args, **options)
    assert asked == [arguments]


def test_all_questions_are_tested_documented_and_the_same_on_both_clients() -> None:
    blocking, asynchronous = Client.__init__, aio.Client.__init__
    tested = {(group, name) for group, name, *_ in CALLS}
    with_groups = {
        (group.__name__.lower(), name)
        for group in Group.__subclasses__()
        if group.__module__ == Group.__module__  # files are steps of more than one call: tests/relay_client/files
        for name, value in vars(group).items()
        if isinstance(value, Asked) and value.__doc__
    }
    assert tested == with_groups
    for init in (blocking, asynchronous):
        assert all(f"self.{name}: " in inspect.getsource(init) for name in GROUPS)


def test_the_document_names_every_question() -> None:
    text = (Path(__file__).parents[2] / "docs" / "sdk.md").read_text()
    rows = dict(re.findall(r"^\| `me\.(\w+)` \| (.+) \|$", text, re.MULTILINE))
    named = {(group, name) for group, row in rows.items() for name in re.findall(r"`(\w+)`", row)}
    assert named == {(group, name) for group, name, *_ in CALLS}


def test_bound_questions_show_their_signature_and_text() -> None:
    class Nobody:
        def run_steps(self, steps: Any) -> Any:
            raise AssertionError

    (rooms,) = [group for group in Group.__subclasses__() if group.__name__ == "Rooms"]
    create = rooms(Nobody()).create  # type: ignore[attr-defined]
    assert str(inspect.signature(create)).startswith("(room: str, title: str = '', *, public: bool = True)")
    assert create.__doc__ and create.__doc__.startswith("Make a room")


def test_values_come_back(peer: Peer, connect: Connect) -> None:
    peer.relay.answers["rooms.create"] = lambda given: {"room": ROOM | {"title": given["title"]}}
    assert connect().rooms.create("ops", "Plans") == Room("#ops", "Plans", True, "owner", 1, 0)


def test_long_lists_are_read_page_by_page(peer: Peer, connect: Connect) -> None:
    names = [f"user{number:02}" for number in range(7)]

    def members(given: Any) -> Any:
        rest = [name for name in names if name > given["after"]]
        return {"members": [{"user": name, "role": "member"} for name in rest[:3]], "more": len(rest) > 3}

    peer.relay.answers["rooms.members"] = members
    assert connect().rooms.members("ops") == tuple(Member(name, "member") for name in names)


def test_refusals_carry_code_and_sentence(connect: Connect) -> None:
    with pytest.raises(errors.CallFailed, match="no such method") as caught:
        connect().rooms.join("ops")
    assert caught.value.code == 203


@pytest.mark.parametrize("name", ["", "a b", "#", "##ops", "x" * 100])
def test_names_that_are_none_are_refused_before_anybody_is_asked(peer: Peer, connect: Connect, name: str) -> None:
    with pytest.raises(errors.BadAddress, match="room"):
        connect().rooms.join(name)
    assert peer.relay.sent(Call) == []


@pytest.mark.parametrize("answer", [{}, None, {"room": 5}, {"room": {}}, "text"])
def test_an_answer_of_another_form_is_told(peer: Peer, connect: Connect, answer: Any) -> None:
    peer.relay.answers["rooms.join"] = lambda given: answer
    with pytest.raises(errors.BadValue, match=r"rooms\.join"):
        connect().rooms.join("ops")


def test_an_error_of_a_step_itself_is_passed_on() -> None:
    def steps() -> Any:
        yield Question("a", {})
        raise errors.BadAddress("no")

    begun = steps()
    with pytest.raises(errors.BadAddress):
        advance(begun, next(begun), {})


# History.


@pytest.fixture
def told(peer: Peer) -> Peer:
    """A relay whose conversation alice@bob has seven messages, told in pages of at most three."""
    for number in range(1, 8):
        peer.relay.say("bob/phone", "alice", str(number))

    def read(given: Any) -> Any:
        log = peer.relay.logs["alice@bob"]
        offsets = list(range(1, len(log) + 1))
        limit = min(3, given["limit"])
        if "after" in given:
            chosen = [offset for offset in offsets if offset > given["after"]][:limit]
        else:
            chosen = [offset for offset in offsets if offset < given.get("before", 99)][-limit:]
        rows = [{"offset": o, "time_ms": TIME_MS, "packet": encode_payload(log[o - 1])} for o in chosen]
        return {"conversation": "alice@bob", "first": 1, "head": len(log), "messages": rows}

    peer.relay.answers["history.read"] = read
    return peer


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "7654321"),
        ({"limit": 4}, "7654"),
        ({"before": 4}, "321"),
        ({"before": 6, "limit": 2}, "54"),
        ({"after": 0}, "1234567"),
        ({"after": 4}, "567"),
        ({"after": 1, "limit": 4}, "2345"),
        ({"after": 7}, ""),
        ({"limit": 0}, ""),
    ],
)
def test_history_is_read_both_ways(told: Peer, connect: Connect, options: dict[str, int], expected: str) -> None:
    assert "".join(message.text for message in connect().history("bob", **options)) == expected
    assert told.relay.sent(packets.Ack) == []


def test_history_goes_one_way_at_a_time(connect: Connect) -> None:
    with pytest.raises(errors.BadValue, match="give one of them"):
        list(connect().history("bob", after=1, before=5))


@pytest.mark.parametrize("limit", [0, 501])
def test_a_page_has_a_size(connect: Connect, limit: int) -> None:
    with pytest.raises(errors.BadValue, match="500"):
        connect().conversations.read("bob", limit=limit)


def test_history_is_read_as_far_as_it_is_asked_for(told: Peer, connect: Connect) -> None:
    messages = connect().history("bob")
    assert next(messages).offset == 7
    assert sum(call.method == "history.read" for call in told.relay.sent(Call)) == 1


# The fate of a message, and what others do.


@pytest.fixture
def following(peer: Peer) -> list[dict[str, Any]]:
    """What the relay says of devices, to be changed."""
    cursors: list[dict[str, Any]] = []
    peer.relay.answers |= {"receipts.watch": lambda given: {}, "receipts.of": lambda given: {"cursors": cursors}}
    return cursors


def tell(peer: Peer, event: str, **fields: Any) -> None:
    with peer.use() as relay:
        relay.sessions["alice/laptop"].push(Signal("relay", "alice", None, *encode_body({"event": event, **fields})))


def test_a_message_is_followed_to_its_reader(peer: Peer, connect: Connect, following: list[dict[str, Any]]) -> None:
    me = connect()
    posted = me.post("bob", "hello")
    assert posted.wait().offset == 1 and posted.fate.state is FateState.STORED
    following.append({"user": "bob", "device": "phone", "delivered": 1, "read": 0})
    fate = posted.wait_delivered()
    assert (fate.state, fate.delivered_to, fate.read_by) == (FateState.DELIVERED, ("bob/phone",), ())
    tell(peer, "receipt", conversation="alice@bob", user="bob", delivered=1, read=1, devices={"phone": 1})
    fate = posted.wait_read()
    assert (fate.state, fate.read_by, fate.stored) == (FateState.READ, ("bob",), posted.wait())


def test_a_sent_message_is_followed_by_where_it_is_stored(
    peer: Peer, connect: Connect, following: list[dict[str, Any]]
) -> None:
    me = connect()
    posted = me.follow(me.send("bob", "hello"))
    with pytest.raises(errors.TimedOut, match="not read in time"):
        posted.wait_read(timeout=0.01)
    following.append({"user": "bob", "device": "phone", "delivered": 1, "read": 1})
    peer.cut()
    assert posted.wait_read().state is FateState.READ


def test_a_refusal_is_a_fate(peer: Peer, connect: Connect) -> None:
    peer.relay.hook = refuse_messages(205, "bob does not want to hear from you")
    posted = connect().post("bob", "hello")
    with pytest.raises(errors.Refused):
        posted.wait_delivered()
    fate = posted.fate
    assert fate.state is FateState.REFUSED and isinstance(fate.error, errors.Refused) and fate.error.code == 205


def test_what_others_do_are_events(peer: Peer, connect: Connect, following: list[dict[str, Any]]) -> None:
    events: list[Any] = []
    me = connect()
    me.on_event(events.append)
    peer.relay.answers["presence.watch"] = lambda given: {"users": [{"user": "bob", "state": "away", "seen_ms": 0}]}
    assert me.people.watch() == (Presence("bob", "away", None),)
    tell(peer, "presence", user="bob", state="online", seen_ms=0)
    tell(peer, "receipt", conversation="alice@bob", user="bob", delivered=1, devices={"phone": 1})
    until(lambda: len(events) >= 2)
    assert events == [Presence("bob", "online", None), Receipt("alice@bob", "bob", 1, None, {"phone": 1})]


def test_read_marks_travel_with_acknowledgements(peer: Peer, connect: Connect) -> None:
    peer.relay.say("bob/phone", "alice", "hello")
    me = connect(receive=True)
    message = next(me.messages())
    message.mark_read()
    message.ack()
    me.close()
    acks = peer.relay.sent(packets.Ack)
    assert max(ack.delivered for ack in acks) == 1
    assert [ack.read for ack in acks if ack.read is not None] == [1]


def test_a_read_mark_of_history_acknowledges_nothing(told: Peer, connect: Connect) -> None:
    me = connect(receive=False)
    me.mark_read(next(iter(me.history("bob"))))
    me.close()
    assert told.relay.sent(packets.Ack) == [packets.Ack("alice@bob", 0, 7)]


def test_typing_is_a_signal_that_says_so(peer: Peer, connect: Connect) -> None:
    other = connect("bob", "phone")
    connect().typing("bob")
    (signal,) = other.signals(count=1)
    assert signal.is_typing and (signal.sender, signal.body) == ("alice", b"")


def test_a_conversation_row_becomes_a_value(peer: Peer, connect: Connect) -> None:
    row = {"conversation": "#ops", "title": "T", "head": 3, "first": 1, "delivered": 2, "read": 1, "time_ms": TIME_MS}
    peer.relay.answers["conversations.list"] = lambda given: {"conversations": [row], "more": False}
    (found,) = connect().conversations.list()
    assert isinstance(found, Conversation) and (found.title, found.unread) == ("T", 2)


def test_arguments_are_msgpack(peer: Peer, connect: Connect) -> None:
    peer.relay.answers["blocks.add"] = lambda given: {}
    connect().blocks.add("bob")
    (call,) = peer.relay.sent(Call)
    assert decode_body(call.content_type, call.body) == {"user": "bob"}
