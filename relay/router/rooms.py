"""Rooms as far as live sessions are concerned: who is listening in which room now.

The store knows every member of every room; here are only the rooms of users who are connected. Both are kept in step
by one rule: everything that changes a membership is learnt on the event loop in the order in which the store's
writing thread did it.
"""

from collections.abc import Iterable

from relay.router.directory import Directory, Route
from relay.router.subscriber import Subscriber


class _LiveRoom:
    """The live sessions of a room's members. Its route's outlets are empty until somebody asks for them again."""

    __slots__ = ("route", "sessions")

    def __init__(self) -> None:
        self.sessions: dict[str, Subscriber] = {}
        self.route = Route()


class LiveRooms:
    """Rooms with at least one live session. No method yields."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._rooms_of: dict[str, set[str]] = {}
        self._live: dict[str, _LiveRoom] = {}

    def __len__(self) -> int:
        return len(self._live)

    def __repr__(self) -> str:
        return f"<LiveRooms: {len(self._live)} rooms of {len(self._rooms_of)} users>"

    def learn(self, user: str, rooms: Iterable[str]) -> None:
        """The rooms a user is in, as the store just said; `attach` or `forget` follows. Known ones are newer."""
        if user not in self._rooms_of and self._directory.concerns(user):
            self._rooms_of[user] = set(rooms)

    def forget(self, user: str) -> None:
        """A session of the user ended, or none came of a login."""
        if not self._directory.concerns(user):
            self._rooms_of.pop(user, None)

    def attach(self, session: Subscriber) -> None:
        """A session is in the directory: let it hear its user's rooms."""
        for room in self._rooms_of.get(session.user, ()):
            self._enter(room, session)

    def detach(self, session: Subscriber) -> None:
        """A session has left the directory."""
        for room in self._rooms_of.get(session.user, ()):
            self._exit(room, session)
        self.forget(session.user)

    def join(self, room: str, user: str) -> None:
        """The store has made the user a member."""
        rooms = self._rooms_of.get(user)
        if rooms is None or room in rooms:
            return
        rooms.add(room)
        for session in self._directory.sessions_of(user):
            self._enter(room, session)

    def leave(self, room: str, user: str) -> None:
        """The store has ended the user's membership."""
        rooms = self._rooms_of.get(user)
        if rooms is None or room not in rooms:
            return
        rooms.discard(room)
        for session in self._directory.sessions_of(user):
            self._exit(room, session)
            session.forget_routes()
            if session.feed is not None:
                session.feed.leave(room)

    def is_member(self, room: str, user: str) -> bool:
        """Whether a connected user is in the room."""
        return room in self._rooms_of.get(user, ())

    def sessions_in(self, room: str) -> Iterable[Subscriber]:
        """The live sessions of a room's members. Do not change memberships while iterating."""
        live = self._live.get(room)
        return () if live is None else live.sessions.values()

    def route(self, room: str) -> Route | None:
        """The route to all live sessions in the room; None if there is none. It may become empty at any time."""
        live = self._live.get(room)
        if live is None:
            return None
        if not live.route.outlets:
            live.route.outlets = tuple([session.outlet for session in live.sessions.values()])
        return live.route

    def _enter(self, room: str, session: Subscriber) -> None:
        live = self._live.setdefault(room, _LiveRoom())
        live.sessions[session.address] = session
        live.route.outlets = ()

    def _exit(self, room: str, session: Subscriber) -> None:
        live = self._live.get(room)
        if live is None or live.sessions.get(session.address) is not session:
            return
        del live.sessions[session.address]
        live.route.outlets = ()
        if not live.sessions:
            del self._live[room]
