"""Who may do what in a room. Each function here decides and acts in one go on the store's writing thread, so that no
two decisions can contradict each other; it returns what changed, or a refusal.

To somebody outside, a private room and a room that does not exist are the same: the same code and sentence.
"""

from typing import NamedTuple

from relay.protocol.codes import ErrorCode
from relay.store.base import Refusal, Role, Room, RoomExistsError, Store

_RANK = {Role.OWNER: 3, Role.MODERATOR: 2, Role.MEMBER: 1, Role.INVITED: 0, Role.BANNED: 0}


class Change(NamedTuple):
    """What happened: `what` is joined, left, invited, removed, banned, unbanned, role or changed; `room` is as it is
    now, None when it ended; `role` is the user's role now.
    """

    what: str
    name: str
    room: Room | None
    user: str
    role: Role | None


Outcome = Change | Refusal


class Bounds(NamedTuple):
    """How large rooms may be, and how many a user may be in."""

    members_max: int
    rooms_max: int


def no_such_room(room: str) -> Refusal:
    """What everybody outside is told."""
    return Refusal(ErrorCode.NO_SUCH_ROOM, f"there is no room {room}, or you are not in it")


def create(store: Store, actor: str, name: str, title: str, public: bool, bounds: Bounds, now_ms: int) -> Outcome:  # noqa: PLR0913, PLR0917
    """Make a room, with the actor as its owner."""
    if _rooms_inside(store, actor) >= bounds.rooms_max:
        return _too_many_rooms(actor, bounds)
    try:
        store.create_room(name, title, public, actor, now_ms)
    except RoomExistsError:
        return Refusal(ErrorCode.NOT_ALLOWED, f"the name {name} is taken; choose another")
    return _change(store, "joined", name, actor)


def join(store: Store, actor: str, name: str, bounds: Bounds, now_ms: int) -> Outcome:
    """Enter a public room, or one that the actor was invited to. Joining again changes nothing."""
    room, role = store.room(name), store.role(name, actor)
    if room is None or role is Role.BANNED or (role is None and not room.public):
        return no_such_room(name)
    if role is not None and role.inside:
        return Change("joined", name, room, actor, role)
    if room.members >= bounds.members_max:
        return Refusal(ErrorCode.NOT_ALLOWED, f"{name} has its {bounds.members_max} members")
    if _rooms_inside(store, actor) >= bounds.rooms_max:
        return _too_many_rooms(actor, bounds)
    store.set_role(name, actor, Role.MEMBER, now_ms)
    return _change(store, "joined", name, actor)


def leave(store: Store, actor: str, name: str, now_ms: int) -> Outcome:
    """Leave, or decline an invitation. A room ends with its last member; before that an owner must remain."""
    room, role = store.room(name), store.role(name, actor)
    if room is None or role is None or role is Role.BANNED:
        return no_such_room(name)
    if role is Role.OWNER and room.members > 1 and len(store.owners(name)) == 1:
        return Refusal(ErrorCode.NOT_ALLOWED, f"you are the only owner of {name}; make another member owner first")
    if role.inside and room.members == 1:
        store.remove_room(name)
        return Change("left", name, None, actor, None)
    store.set_role(name, actor, None, now_ms)
    return _change(store, "left", name, actor)


def invite(store: Store, actor: str, name: str, user: str, now_ms: int) -> Outcome:
    """Let somebody join a private room. In a public one every member may invite."""
    seen = _inside(store, actor, name)
    if isinstance(seen, Refusal):
        return seen
    room, rank = seen
    if not room.public and rank < _RANK[Role.MODERATOR]:
        return _needs(Role.MODERATOR, name)
    if store.account(user) is None:
        return Refusal(ErrorCode.NO_SUCH_USER, f"there is no user {user}")
    role = store.role(name, user)
    if role is Role.BANNED:
        return Refusal(ErrorCode.NOT_ALLOWED, f"{user} is banned from {name}; unban first")
    if role is None:
        store.set_role(name, user, Role.INVITED, now_ms)
    return _change(store, "invited", name, user)


def remove(store: Store, actor: str, name: str, user: str, ban: bool, now_ms: int) -> Outcome:  # noqa: PLR0913, PLR0917
    """Put somebody of lower rank out, for now or for good."""
    seen = _inside(store, actor, name)
    if isinstance(seen, Refusal):
        return seen
    _, rank = seen
    if rank < _RANK[Role.MODERATOR]:
        return _needs(Role.MODERATOR, name)
    role = store.role(name, user)
    if role is not None and _RANK[role] >= rank:
        return Refusal(ErrorCode.NOT_ALLOWED, f"{user} is {role} of {name}; only those of higher rank may do that")
    if role is None and not ban:
        return Refusal(ErrorCode.NO_SUCH_USER, f"{user} is not in {name}")
    if ban and store.account(user) is None:
        return Refusal(ErrorCode.NO_SUCH_USER, f"there is no user {user}")
    if role is Role.BANNED and not ban:
        return Refusal(ErrorCode.NO_SUCH_USER, f"{user} is banned from {name} already")
    store.set_role(name, user, Role.BANNED if ban else None, now_ms)
    return _change(store, "banned" if ban else "removed", name, user)


def unban(store: Store, actor: str, name: str, user: str, now_ms: int) -> Outcome:
    """Let a banned user come back."""
    seen = _inside(store, actor, name)
    if isinstance(seen, Refusal):
        return seen
    if seen[1] < _RANK[Role.MODERATOR]:
        return _needs(Role.MODERATOR, name)
    if store.role(name, user) is not Role.BANNED:
        return Refusal(ErrorCode.NO_SUCH_USER, f"{user} is not banned from {name}")
    store.set_role(name, user, None, now_ms)
    return _change(store, "unbanned", name, user)


def set_role(store: Store, actor: str, name: str, user: str, role: Role, now_ms: int) -> Outcome:  # noqa: PLR0913, PLR0917
    """Make a member owner, moderator or member; owners only, and one owner must remain."""
    seen = _inside(store, actor, name)
    if isinstance(seen, Refusal):
        return seen
    if seen[1] < _RANK[Role.OWNER]:
        return _needs(Role.OWNER, name)
    earlier = store.role(name, user)
    if earlier is None or not earlier.inside:
        return Refusal(ErrorCode.NO_SUCH_USER, f"{user} is not in {name}")
    if earlier is Role.OWNER and role is not Role.OWNER and len(store.owners(name)) == 1:
        return Refusal(ErrorCode.NOT_ALLOWED, f"{user} is the only owner of {name}; make another member owner first")
    store.set_role(name, user, role, now_ms)
    return _change(store, "role", name, user)


def change_room(store: Store, actor: str, name: str, title: str | None, public: bool | None) -> Outcome:
    """Give the room another title (moderators) or open or close it (owners)."""
    seen = _inside(store, actor, name)
    if isinstance(seen, Refusal):
        return seen
    room, rank = seen
    needed = Role.MODERATOR if public is None else Role.OWNER
    if rank < _RANK[needed]:
        return _needs(needed, name)
    store.set_room(name, room.title if title is None else title, room.public if public is None else public)
    return _change(store, "changed", name, actor)


def _inside(store: Store, actor: str, name: str) -> tuple[Room, int] | Refusal:
    """The room and the actor's rank in it, for a member."""
    room, role = store.room(name), store.role(name, actor)
    if room is None or role is None or not role.inside:
        return no_such_room(name)
    return room, _RANK[role]


def _change(store: Store, what: str, name: str, user: str) -> Change:
    return Change(what, name, store.room(name), user, store.role(name, user))


def _needs(role: Role, name: str) -> Refusal:
    return Refusal(ErrorCode.NOT_ALLOWED, f"that needs to be done by {_article(role)} of {name}")


def _article(role: Role) -> str:
    return f"an {role}" if role is Role.OWNER else f"a {role}"


def _too_many_rooms(actor: str, bounds: Bounds) -> Refusal:
    return Refusal(ErrorCode.NOT_ALLOWED, f"{actor} is in {bounds.rooms_max} rooms, the most one user may be in")


def _rooms_inside(store: Store, user: str) -> int:
    return sum(role is not None and role.inside for _, role in store.rooms_of(user))
