"""Who may do what in a room: every decision, on a store in memory, and no series of them without an owner."""

from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from relay.protocol.codes import ErrorCode
from relay.router import membership
from relay.router.membership import Bounds, Change, Outcome
from relay.store.base import Refusal, Role
from relay.store.memory import MemoryStore
from tests.router.town import NO_CREDENTIALS

ROOM = "#ops"
BOUNDS = Bounds(members_max=4, rooms_max=2)
WIDE = Bounds(100, 100)
USERS = ["olga", "otto", "mona", "mike", "anna", "bert", "ivan", "bart", "zoe"]


class Hall:
    """A room with two owners, moderators, members, an invited and a banned user; Zoe is outside."""

    def __init__(self, public: bool = True, *, bounds: Bounds = WIDE) -> None:
        self.bounds = bounds
        self.store = MemoryStore()
        for user in USERS:
            self.store.add_account(user, NO_CREDENTIALS, False, 0)
        membership.create(self.store, "olga", ROOM, "Operations", public, bounds, 1)
        roles = {Role.OWNER: "otto", Role.MODERATOR: "mona mike", Role.MEMBER: "anna bert"}
        for role, users in (*roles.items(), (Role.INVITED, "ivan"), (Role.BANNED, "bart")):
            for user in users.split():
                self.store.set_role(ROOM, user, role, 1)

    def role(self, user: str) -> Role | None:
        return self.store.role(ROOM, user)


def code(outcome: Outcome) -> ErrorCode | None:
    if isinstance(outcome, Refusal):
        assert outcome.sentence
        return outcome.code
    return None


def made(outcome: Outcome) -> Change:
    assert isinstance(outcome, Change), outcome
    return outcome


def test_who_makes_a_room_owns_it() -> None:
    hall = Hall()
    change = made(membership.create(hall.store, "zoe", "#new", "New", False, hall.bounds, 7))
    assert (change.what, change.user, change.role) == ("joined", "zoe", Role.OWNER)
    assert change.room
    assert change.room[:4] == ("#new", "New", False, 1)
    assert code(membership.create(hall.store, "anna", "#new", "", True, hall.bounds, 7)) == ErrorCode.NOT_ALLOWED


@pytest.mark.parametrize(
    ("user", "public", "private"),
    [
        ("zoe", None, ErrorCode.NO_SUCH_ROOM),
        ("ivan", None, None),
        ("anna", None, None),
        ("olga", None, None),
        ("bart", ErrorCode.NO_SUCH_ROOM, ErrorCode.NO_SUCH_ROOM),
    ],
)
def test_joining(user: str, public: ErrorCode | None, private: ErrorCode | None) -> None:
    for hall, expected in ((Hall(True), public), (Hall(False), private)):
        before = hall.role(user)
        outcome = membership.join(hall.store, user, ROOM, hall.bounds, 7)
        assert code(outcome) == expected
        if expected is not None:
            assert hall.role(user) == before
        else:
            assert made(outcome).what == "joined"
            assert hall.role(user) == (before if before and before.inside else Role.MEMBER)


def test_outside_a_private_room_and_no_room_are_the_same() -> None:
    hall = Hall(public=False)
    acts: list[Callable[[str], Outcome]] = [
        lambda room: membership.join(hall.store, "zoe", room, hall.bounds, 7),
        lambda room: membership.leave(hall.store, "zoe", room, 7),
        lambda room: membership.invite(hall.store, "zoe", room, "anna", 7),
        lambda room: membership.remove(hall.store, "zoe", room, "anna", False, 7),
        lambda room: membership.remove(hall.store, "zoe", room, "anna", True, 7),
        lambda room: membership.unban(hall.store, "zoe", room, "bart", 7),
        lambda room: membership.set_role(hall.store, "zoe", room, "anna", Role.OWNER, 7),
        lambda room: membership.change_room(hall.store, "zoe", room, "mine", None),
    ]
    for act in acts:
        inside, nowhere = act(ROOM), act("#nil")
        assert isinstance(inside, Refusal)
        assert isinstance(nowhere, Refusal)
        assert inside.code == nowhere.code == ErrorCode.NO_SUCH_ROOM
        assert inside.sentence == nowhere.sentence.replace("#nil", ROOM)


def test_bounds_hold_for_rooms_and_for_users() -> None:
    hall = Hall(bounds=Bounds(members_max=6, rooms_max=1))
    assert code(membership.join(hall.store, "zoe", ROOM, hall.bounds, 7)) == ErrorCode.NOT_ALLOWED
    membership.leave(hall.store, "bert", ROOM, 7)
    made(membership.join(hall.store, "zoe", ROOM, hall.bounds, 7))
    assert code(membership.create(hall.store, "zoe", "#new", "", True, hall.bounds, 7)) == ErrorCode.NOT_ALLOWED
    made(membership.create(hall.store, "bert", "#new", "", True, hall.bounds, 7))
    assert code(membership.join(hall.store, "anna", "#new", hall.bounds, 7)) == ErrorCode.NOT_ALLOWED
    made(membership.create(hall.store, "ivan", "#other", "", True, hall.bounds, 7))
    made(membership.join(hall.store, "anna", ROOM, hall.bounds, 7))


@pytest.mark.parametrize("user", ["olga", "mona", "anna", "ivan"])
def test_leaving(user: str) -> None:
    hall = Hall()
    change = made(membership.leave(hall.store, user, ROOM, 7))
    assert (change.what, change.role, hall.role(user)) == ("left", None, None)


@pytest.mark.parametrize("user", ["zoe", "bart"])
def test_who_is_not_in_cannot_leave(user: str) -> None:
    hall = Hall()
    before = hall.role(user)
    assert code(membership.leave(hall.store, user, ROOM, 7)) == ErrorCode.NO_SUCH_ROOM
    assert hall.role(user) == before


def test_the_only_owner_cannot_leave_the_others_alone_and_the_last_member_ends_the_room() -> None:
    hall = Hall()
    membership.leave(hall.store, "otto", ROOM, 7)
    assert code(membership.leave(hall.store, "olga", ROOM, 7)) == ErrorCode.NOT_ALLOWED
    for user in ("mona", "mike", "anna", "bert"):
        membership.leave(hall.store, user, ROOM, 7)
    change = made(membership.leave(hall.store, "olga", ROOM, 7))
    assert (change.what, change.room) == ("left", None)
    assert hall.store.room(ROOM) is None
    assert code(membership.join(hall.store, "ivan", ROOM, hall.bounds, 7)) == ErrorCode.NO_SUCH_ROOM


@pytest.mark.parametrize(
    ("actor", "user", "public", "private"),
    [
        ("olga", "zoe", None, None),
        ("mona", "zoe", None, None),
        ("anna", "zoe", None, ErrorCode.NOT_ALLOWED),
        ("ivan", "zoe", ErrorCode.NO_SUCH_ROOM, ErrorCode.NO_SUCH_ROOM),
        ("zoe", "zoe", ErrorCode.NO_SUCH_ROOM, ErrorCode.NO_SUCH_ROOM),
        ("olga", "bart", ErrorCode.NOT_ALLOWED, ErrorCode.NOT_ALLOWED),
        ("olga", "nobody", ErrorCode.NO_SUCH_USER, ErrorCode.NO_SUCH_USER),
    ],
)
def test_inviting(actor: str, user: str, public: ErrorCode | None, private: ErrorCode | None) -> None:
    for hall, expected in ((Hall(True), public), (Hall(False), private)):
        assert code(membership.invite(hall.store, actor, ROOM, user, 7)) == expected
        assert (hall.role(user) is Role.INVITED) == (expected is None)


def test_inviting_somebody_who_is_in_changes_nothing() -> None:
    hall = Hall()
    assert made(membership.invite(hall.store, "olga", ROOM, "mona", 7)).role is Role.MODERATOR
    assert hall.role("mona") is Role.MODERATOR


NOT_ALLOWED, NO_USER = ErrorCode.NOT_ALLOWED, ErrorCode.NO_SUCH_USER


@pytest.mark.parametrize("ban", [False, True])
@pytest.mark.parametrize(
    ("actor", "user", "removing", "banning"),
    [
        ("olga", "mona", None, None),
        ("olga", "anna", None, None),
        ("olga", "ivan", None, None),
        ("olga", "otto", NOT_ALLOWED, NOT_ALLOWED),
        ("olga", "olga", NOT_ALLOWED, NOT_ALLOWED),
        ("olga", "zoe", NO_USER, None),
        ("olga", "bart", NO_USER, None),
        ("olga", "nobody", NO_USER, NO_USER),
        ("mona", "anna", None, None),
        ("mona", "mike", NOT_ALLOWED, NOT_ALLOWED),
        ("mona", "olga", NOT_ALLOWED, NOT_ALLOWED),
        ("anna", "bert", NOT_ALLOWED, NOT_ALLOWED),
        ("anna", "zoe", NOT_ALLOWED, NOT_ALLOWED),
        ("ivan", "anna", ErrorCode.NO_SUCH_ROOM, ErrorCode.NO_SUCH_ROOM),
    ],
)
def test_removing_and_banning(
    actor: str, user: str, removing: ErrorCode | None, banning: ErrorCode | None, ban: bool
) -> None:
    hall = Hall()
    before = hall.role(user)
    expected = banning if ban else removing
    assert code(membership.remove(hall.store, actor, ROOM, user, ban, 7)) == expected
    if expected is not None:
        assert hall.role(user) == before
    else:
        assert hall.role(user) is (Role.BANNED if ban else None)


@pytest.mark.parametrize(
    ("actor", "user", "expected"),
    [
        ("olga", "bart", None),
        ("mona", "bart", None),
        ("anna", "bart", NOT_ALLOWED),
        ("olga", "anna", NO_USER),
        ("bart", "bart", ErrorCode.NO_SUCH_ROOM),
    ],
)
def test_lifting_a_ban(actor: str, user: str, expected: ErrorCode | None) -> None:
    hall = Hall()
    before = hall.role(user)
    assert code(membership.unban(hall.store, actor, ROOM, user, 7)) == expected
    assert hall.role(user) == (None if expected is None else before)


@pytest.mark.parametrize("role", [Role.OWNER, Role.MODERATOR, Role.MEMBER])
@pytest.mark.parametrize(
    ("actor", "user", "expected"),
    [
        ("olga", "anna", None),
        ("olga", "otto", None),
        ("olga", "olga", None),
        ("mona", "anna", NOT_ALLOWED),
        ("anna", "anna", NOT_ALLOWED),
        ("olga", "ivan", NO_USER),
        ("olga", "bart", NO_USER),
        ("olga", "zoe", NO_USER),
        ("zoe", "anna", ErrorCode.NO_SUCH_ROOM),
    ],
)
def test_roles_are_given_by_owners_to_members(actor: str, user: str, role: Role, expected: ErrorCode | None) -> None:
    hall = Hall()
    before = hall.role(user)
    assert code(membership.set_role(hall.store, actor, ROOM, user, role, 7)) == expected
    assert hall.role(user) == (before if expected else role)


def test_the_only_owner_stays_owner() -> None:
    hall = Hall()
    made(membership.set_role(hall.store, "olga", ROOM, "otto", Role.MEMBER, 7))
    assert code(membership.set_role(hall.store, "olga", ROOM, "olga", Role.MEMBER, 7)) == NOT_ALLOWED
    made(membership.set_role(hall.store, "olga", ROOM, "olga", Role.OWNER, 7))
    assert hall.store.owners(ROOM) == ["olga"]


@pytest.mark.parametrize(
    ("actor", "titled", "opened"),
    [
        ("olga", None, None),
        ("mona", None, NOT_ALLOWED),
        ("anna", NOT_ALLOWED, NOT_ALLOWED),
        ("ivan", ErrorCode.NO_SUCH_ROOM, ErrorCode.NO_SUCH_ROOM),
        ("zoe", ErrorCode.NO_SUCH_ROOM, ErrorCode.NO_SUCH_ROOM),
    ],
)
def test_titles_and_doors(actor: str, titled: ErrorCode | None, opened: ErrorCode | None) -> None:
    hall = Hall()
    assert code(membership.change_room(hall.store, actor, ROOM, "Other", None)) == titled
    assert code(membership.change_room(hall.store, actor, ROOM, None, False)) == opened
    room = hall.store.room(ROOM)
    assert room
    assert (room.title, room.public) == ("Operations" if titled else "Other", opened is not None)


class Politics(RuleBasedStateMachine):
    """Whatever members try: a room with members has an owner, and bounds hold."""

    users = st.sampled_from(USERS)

    def __init__(self) -> None:
        super().__init__()
        self.store = MemoryStore()
        for user in USERS:
            self.store.add_account(user, NO_CREDENTIALS, False, 0)

    @rule(actor=users, public=st.booleans())
    def create(self, actor: str, public: bool) -> None:
        membership.create(self.store, actor, ROOM, "", public, BOUNDS, 1)

    @rule(actor=users)
    def join(self, actor: str) -> None:
        membership.join(self.store, actor, ROOM, BOUNDS, 1)

    @rule(actor=users)
    def leave(self, actor: str) -> None:
        membership.leave(self.store, actor, ROOM, 1)

    @rule(actor=users, user=users)
    def invite(self, actor: str, user: str) -> None:
        membership.invite(self.store, actor, ROOM, user, 1)

    @rule(actor=users, user=users, ban=st.booleans())
    def remove(self, actor: str, user: str, ban: bool) -> None:
        membership.remove(self.store, actor, ROOM, user, ban, 1)

    @rule(actor=users, user=users)
    def unban(self, actor: str, user: str) -> None:
        membership.unban(self.store, actor, ROOM, user, 1)

    @rule(actor=users, user=users, role=st.sampled_from([Role.OWNER, Role.MODERATOR, Role.MEMBER]))
    def set_role(self, actor: str, user: str, role: Role) -> None:
        membership.set_role(self.store, actor, ROOM, user, role, 1)

    @invariant()
    def a_room_has_members_and_an_owner(self) -> None:
        room = self.store.room(ROOM)
        if room is not None:
            assert 1 <= room.members <= BOUNDS.members_max
            assert self.store.owners(ROOM)
            inside = [user for user in USERS if (role := self.store.role(ROOM, user)) is not None and role.inside]
            assert len(inside) == room.members


TestPolitics = Politics.TestCase
TestPolitics.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
