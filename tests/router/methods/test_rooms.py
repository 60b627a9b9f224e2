"""Calls about rooms: what changes is known to everybody concerned. tests/router/test_membership.py has who may what."""

from typing import Any

import pytest

from relay.protocol.codes import CloseCode, ErrorCode
from relay.protocol.packets import Delivery, Stored
from tests.router.recording import RecordingSubscriber
from tests.router.test_presence import events
from tests.router.town import Town


class Square:
    """Alice made #ops; Bob and Carol are about."""

    def __init__(self, **options: Any) -> None:
        self.town = Town("alice", "bob", "carol", "dave")
        self.alice, self.bob, self.carol = (self.town.join(user, receiving=True) for user in ("alice", "bob", "carol"))
        self.ask(self.alice, "rooms.create", room="#ops", title="Operations", **options)
        for session in (self.alice, self.bob, self.carol):
            events_of(session)

    def ask(self, session: RecordingSubscriber, method: str, **arguments: Any) -> Any:
        return self.town.ask(session, method, arguments)

    def told(self, session: RecordingSubscriber) -> list[tuple[str, str, str]]:
        return [(event["what"], event["user"], event["by"]) for event in events_of(session)]


def events_of(session: RecordingSubscriber) -> list[dict[str, Any]]:
    for frames, count in session.outlet.signalled:
        assert count == 1
        assert b"#ops" in frames or b"#new" in frames
    original, session.user = session.user, "#ops"
    try:
        return events(session)
    finally:
        session.user = original


def test_a_new_room_is_described_to_its_maker() -> None:
    at = Square()
    room = at.ask(at.bob, "rooms.create", room="#New")["room"]
    assert room == {"room": "#new", "title": "", "public": True, "role": "owner", "members": 1, "head": 0}
    assert at.town.router.rooms.is_member("#new", "bob")


def test_the_answer_tells_the_askers_own_role() -> None:
    at = Square(public=False)
    for method in ("rooms.invite", "rooms.remove", "rooms.ban", "rooms.unban"):
        assert at.ask(at.alice, method, room="#ops", user="bob")["room"]["role"] == "owner"
    assert at.ask(at.alice, "rooms.set", room="#ops", title="T")["room"]["role"] == "owner"


def test_coming_and_going_is_told_to_the_room_and_to_the_one_who_goes() -> None:
    at = Square()
    assert at.ask(at.bob, "rooms.join", room="#ops")["room"]["role"] == "member"
    assert at.told(at.alice) == at.told(at.bob) == [("joined", "bob", "bob")]
    assert at.told(at.carol) == []
    assert at.town.router.rooms.is_member("#ops", "bob")
    at.ask(at.bob, "rooms.leave", room="#ops")
    assert at.told(at.alice) == at.told(at.bob) == [("left", "bob", "bob")]
    assert not at.town.router.rooms.is_member("#ops", "bob")


def test_messages_and_signals_reach_members_from_joining_to_leaving() -> None:
    at = Square()
    at.town.send(at.alice, "#ops", 1)
    at.town.log.run()
    at.ask(at.bob, "rooms.join", room="#ops")
    at.town.send(at.alice, "#ops", 2)
    at.town.send(at.bob, "#ops", 1)
    at.town.send(at.carol, "#ops", 1)
    at.town.log.run()
    taken = at.bob.outlet.take()
    assert [packet.offset for packet in taken if isinstance(packet, Delivery | Stored)] == [2, 3]
    assert not any(isinstance(packet, Delivery) for packet in at.carol.outlet.take())
    at.ask(at.bob, "rooms.leave", room="#ops")
    at.town.send(at.alice, "#ops", 3)
    at.town.log.run()
    assert at.bob.outlet.take() == []


def test_all_devices_of_a_user_join_and_leave_with_her() -> None:
    at = Square()
    laptop = at.town.join("bob", "laptop")
    at.ask(at.bob, "rooms.join", room="#ops")
    assert set(at.town.router.rooms.sessions_in("#ops")) == {at.alice, at.bob, laptop}
    at.ask(laptop, "rooms.leave", room="#ops")
    assert set(at.town.router.rooms.sessions_in("#ops")) == {at.alice}


def test_an_invited_user_is_told_and_may_come() -> None:
    at = Square(public=False)
    assert at.ask(at.bob, "rooms.join", room="#ops") == ErrorCode.NO_SUCH_ROOM
    answer = at.ask(at.alice, "rooms.invite", room="#ops", user="Bob")
    assert answer["room"]["role"] == "owner"
    assert at.told(at.bob) == at.told(at.alice) == [("invited", "bob", "alice")]
    assert not at.town.router.rooms.is_member("#ops", "bob")
    assert at.ask(at.bob, "rooms.join", room="#ops")["room"]["role"] == "member"


def test_whoever_is_put_out_hears_it_and_nothing_more() -> None:
    at = Square()
    at.ask(at.bob, "rooms.join", room="#ops")
    at.ask(at.carol, "rooms.join", room="#ops")
    for session in (at.alice, at.bob, at.carol):
        events_of(session)
    at.ask(at.alice, "rooms.remove", room="#ops", user="bob")
    at.ask(at.alice, "rooms.ban", room="#ops", user="carol")
    assert at.told(at.bob) == [("removed", "bob", "alice")]
    assert at.told(at.carol) == [("removed", "bob", "alice"), ("banned", "carol", "alice")]
    assert at.bob.routes_forgotten
    assert at.ask(at.carol, "rooms.join", room="#ops") == ErrorCode.NO_SUCH_ROOM
    at.ask(at.alice, "rooms.unban", room="#ops", user="carol")
    assert at.told(at.carol) == [("unbanned", "carol", "alice")]
    at.ask(at.carol, "rooms.join", room="#ops")
    assert at.town.router.rooms.is_member("#ops", "carol")


def test_roles_and_titles_are_told() -> None:
    at = Square()
    at.ask(at.bob, "rooms.join", room="#ops")
    events_of(at.bob)
    at.ask(at.alice, "rooms.set_role", room="#ops", user="bob", role="moderator")
    at.ask(at.bob, "rooms.set", room="#ops", title="Other")
    (promoted, changed) = events_of(at.alice)[-2:]
    assert (promoted["what"], promoted["role"]) == ("role", "moderator")
    assert (changed["what"], changed["by"]) == ("changed", "bob")
    assert at.ask(at.alice, "rooms.set", room="#ops", public=False)["room"]["title"] == "Other"


def test_a_room_ends_with_its_last_member() -> None:
    at = Square()
    assert at.ask(at.alice, "rooms.leave", room="#ops") == {}
    assert at.told(at.alice) == [("left", "alice", "alice")]
    assert at.ask(at.alice, "rooms.join", room="#ops") == ErrorCode.NO_SUCH_ROOM
    assert len(at.town.router.rooms) == 0


def test_rooms_are_listed_in_pages() -> None:
    at = Square()
    for name in ("#b", "#a", "#c"):
        at.ask(at.bob, "rooms.create", room=name, public=name != "#c")
    assert [room["room"] for room in at.ask(at.bob, "rooms.list")["rooms"]] == ["#a", "#b", "#c"]
    assert [(room["room"], room["role"]) for room in at.ask(at.carol, "rooms.list", all=True)["rooms"]] == [
        ("#a", None),
        ("#b", None),
        ("#ops", None),
    ]
    found, after = [], ""
    for _ in range(10):
        page = at.ask(at.bob, "rooms.list", all=True, limit=1, after=after)
        found += [room["room"] for room in page["rooms"]]
        after = found[-1]
        if not page["more"]:
            break
    assert found == ["#a", "#b", "#c", "#ops"]


def test_members_are_listed_in_pages_and_to_whom_the_room_is_open() -> None:
    at = Square()
    at.ask(at.bob, "rooms.join", room="#ops")
    page = at.ask(at.carol, "rooms.members", room="#ops", limit=1)
    assert page == {"members": [{"user": "alice", "role": "owner"}], "more": True}
    page = at.ask(at.carol, "rooms.members", room="#ops", after="alice")
    assert page == {"members": [{"user": "bob", "role": "member"}], "more": False}
    at.ask(at.alice, "rooms.set", room="#ops", public=False)
    assert at.ask(at.carol, "rooms.members", room="#ops") == ErrorCode.NO_SUCH_ROOM
    assert at.ask(at.bob, "rooms.members", room="#ops")["more"] is False
    assert at.ask(at.bob, "rooms.members", room="#nowhere") == ErrorCode.NO_SUCH_ROOM


@pytest.mark.parametrize(
    "arguments",
    [
        {"room": "ops"},
        {"room": "#"},
        {"room": "#x", "title": "x" * 257},
        {"room": "#x", "title": "two\nlines"},
        {"room": "#x", "title": 5},
        {"room": "#x", "public": "yes"},
    ],
)
def test_rooms_that_cannot_be_are_refused(arguments: dict[str, Any]) -> None:
    at = Square()
    assert at.ask(at.bob, "rooms.create", **arguments) == ErrorCode.BAD_ARGUMENTS


@pytest.mark.parametrize("role", ["invited", "banned", "", "king"])
def test_only_roles_inside_are_given(role: str) -> None:
    at = Square()
    assert at.ask(at.alice, "rooms.set_role", room="#ops", user="alice", role=role) == ErrorCode.BAD_ARGUMENTS


def test_what_a_session_asked_is_done_even_if_it_left_meanwhile() -> None:
    at = Square()
    at.town.call(at.bob, "rooms.join", {"room": "#ops"})
    at.bob.end(CloseCode.NORMAL, "bye")
    at.town.log.run()
    assert at.told(at.alice) == [("joined", "bob", "bob")]
    assert not at.town.router.rooms.is_member("#ops", "bob")
    assert [name for (name, *_), _ in at.town.log.store.rooms_of("bob")] == ["#ops"]
