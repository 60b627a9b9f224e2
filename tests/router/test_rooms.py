"""Who is listening in which room now."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from relay.protocol.codes import CloseCode
from relay.router.directory import Directory
from relay.router.feed import Feed
from relay.router.rooms import LiveRooms
from tests.router.recording import RecordingSubscriber, SteppedLog


class Lobby:
    """A directory and its rooms, as the router puts them together."""

    def __init__(self) -> None:
        self.directory = Directory(8)
        self.rooms = LiveRooms(self.directory)

    def join(self, user: str, *rooms: str, device: str = "phone") -> RecordingSubscriber:
        session = RecordingSubscriber(user, device, leave=self.leave)
        self.directory.expect(user)
        self.rooms.learn(user, rooms)
        self.directory.attach(session)
        self.rooms.attach(session)
        self.directory.stop_expecting(user)
        return session

    def leave(self, session: RecordingSubscriber) -> None:
        self.directory.detach(session)
        self.rooms.detach(session)

    def outlets(self, room: str) -> set[object]:
        route = self.rooms.route(room)
        return set(route.outlets) if route else set()


def test_a_session_hears_the_rooms_of_its_user() -> None:
    lobby = Lobby()
    alice = lobby.join("alice", "#ops", "#dev")
    bob = lobby.join("bob", "#ops")
    assert lobby.outlets("#ops") == {alice.outlet, bob.outlet}
    assert lobby.outlets("#dev") == {alice.outlet}
    assert lobby.rooms.route("#nowhere") is None
    assert lobby.rooms.is_member("#dev", "alice")
    assert not lobby.rooms.is_member("#dev", "bob")
    assert list(lobby.rooms.sessions_in("#nowhere")) == []


def test_joining_and_leaving_concerns_all_devices_of_the_user() -> None:
    lobby = Lobby()
    phone, laptop = lobby.join("alice"), lobby.join("alice", device="laptop")
    lobby.rooms.join("#ops", "alice")
    lobby.rooms.join("#ops", "alice")
    assert lobby.outlets("#ops") == {phone.outlet, laptop.outlet}
    lobby.rooms.leave("#ops", "alice")
    assert lobby.rooms.route("#ops") is None
    assert len(lobby.rooms) == 0
    assert phone.routes_forgotten
    assert laptop.routes_forgotten


def test_a_route_kept_by_a_sender_is_empty_as_soon_as_it_is_not_true_any_more() -> None:
    lobby = Lobby()
    lobby.join("alice", "#ops")
    route = lobby.rooms.route("#ops")
    assert route
    lobby.join("bob", "#ops")
    assert route.outlets == ()
    assert lobby.rooms.route("#ops") is route
    assert len(route.outlets) == 2
    lobby.rooms.leave("#ops", "bob")
    assert route.outlets == ()


def test_a_feed_follows_its_room_no_further_once_its_user_left() -> None:
    lobby = Lobby()
    alice = lobby.join("alice", "#ops")
    feed = alice.feed = Feed(alice, SteppedLog())
    feed.start([])
    feed.offer("#ops", 1, 1, b"frame")
    lobby.rooms.leave("#ops", "alice")
    assert repr(feed) == "<Feed of alice/phone: 0 conversations, 0 behind>"


def test_users_who_are_not_connected_are_not_known() -> None:
    lobby = Lobby()
    lobby.rooms.join("#ops", "alice")
    lobby.rooms.leave("#ops", "alice")
    lobby.rooms.learn("alice", ["#ops"])
    assert not lobby.rooms.is_member("#ops", "alice")
    alice = lobby.join("alice", "#ops")
    alice.end(CloseCode.NORMAL, "bye")
    assert repr(lobby.rooms) == "<LiveRooms: 0 rooms of 0 users>"


def test_what_is_known_is_newer_than_what_a_login_was_told() -> None:
    lobby = Lobby()
    lobby.join("alice", "#ops")
    lobby.rooms.leave("#ops", "alice")
    lobby.rooms.join("#dev", "alice")
    lobby.join("alice", "#ops", device="laptop")
    assert not lobby.rooms.is_member("#ops", "alice")
    assert len(lobby.outlets("#dev")) == 2


class Comings(RuleBasedStateMachine):
    """Rooms agree with a plain table of members and sessions, whatever happens."""

    users = st.sampled_from(["alice", "bob"])
    devices = st.sampled_from(["phone", "laptop"])
    names = st.sampled_from(["#ops", "#dev"])

    def __init__(self) -> None:
        super().__init__()
        self.lobby = Lobby()
        self.members: dict[str, set[str]] = {"#ops": set(), "#dev": set()}
        self.live: dict[str, RecordingSubscriber] = {}

    @rule(user=users, device=devices)
    def login(self, user: str, device: str) -> None:
        rooms = [room for room, members in self.members.items() if user in members]
        session = self.lobby.join(user, *rooms, device=device)
        self.live[session.address] = session

    @rule(user=users, device=devices)
    def logout(self, user: str, device: str) -> None:
        session = self.live.pop(f"{user}/{device}", None)
        if session:
            session.end(CloseCode.NORMAL, "bye")

    @rule(user=users, room=names)
    def join(self, user: str, room: str) -> None:
        self.members[room].add(user)
        self.lobby.rooms.join(room, user)

    @rule(user=users, room=names)
    def leave(self, user: str, room: str) -> None:
        self.members[room].discard(user)
        self.lobby.rooms.leave(room, user)

    @invariant()
    def everybody_hears_her_rooms(self) -> None:
        for room, members in self.members.items():
            expected = {session for session in self.live.values() if session.user in members}
            assert set(self.lobby.rooms.sessions_in(room)) == expected
            assert self.lobby.outlets(room) == {session.outlet for session in expected}


TestComings = Comings.TestCase
TestComings.settings = settings(max_examples=60, deadline=None)
