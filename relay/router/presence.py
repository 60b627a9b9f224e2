"""Presence: who is online, away or offline, told to those who asked, at most once a second for each user.

A change is only noted; `tick` looks at what became of it. So somebody whose connection flaps, or who comes with five
devices at once, is one event, and none at all if she is where she was.
"""

from collections.abc import Callable, Iterable
from enum import StrEnum

from relay.router.directory import Directory
from relay.router.events import event_frame
from relay.router.subscriber import Subscriber

# Users one session may watch. Watching costs the relay an entry each, and an event at every change.
WATCHED_MAX = 2000


class State(StrEnum):
    """What others see of a user."""

    ONLINE = "online"
    AWAY = "away"
    OFFLINE = "offline"


class Presence:
    """Watched users and their watchers. No method yields. `clock_ms` is the time of day."""

    def __init__(self, directory: Directory, clock_ms: Callable[[], int]) -> None:
        self._directory = directory
        self._clock_ms = clock_ms
        self._watchers: dict[str, dict[str, Subscriber]] = {}
        self._watched: dict[str, set[str]] = {}
        self._told: dict[str, State] = {}
        self._changed: set[str] = set()

    def __repr__(self) -> str:
        return f"<Presence: {len(self._watchers)} users watched by {len(self._watched)} sessions>"

    def state(self, user: str) -> State:
        """Online if one of the user's sessions is not away; away if all are."""
        away = [session.away for session in self._directory.sessions_of(user)]
        if not away:
            return State.OFFLINE
        return State.AWAY if all(away) else State.ONLINE

    def watch(self, session: Subscriber, users: Iterable[str]) -> None:
        """Tell the session of every change of these users, in place of those it watched before."""
        self.leave(session)
        watched = self._watched[session.address] = set(users)
        for user in watched:
            self._watchers.setdefault(user, {})[session.address] = session
            self._told.setdefault(user, self.state(user))

    def leave(self, session: Subscriber) -> None:
        """The session watches nobody any more."""
        for user in self._watched.pop(session.address, ()):
            watchers = self._watchers[user]
            del watchers[session.address]
            if not watchers:
                del self._watchers[user], self._told[user]

    def change(self, user: str) -> None:
        """A session of the user came, went, or changed its state."""
        if user in self._watchers:
            self._changed.add(user)

    def tick(self) -> None:
        """A second has passed: tell what is different from what was told last."""
        changed, self._changed = self._changed, set()
        for user in changed:
            state = self.state(user)
            if self._told.get(user, state) is not state:
                self._told[user] = state
                self._tell(user, state)

    def _tell(self, user: str, state: State) -> None:
        seen_ms = self._clock_ms()
        for session in list(self._watchers[user].values()):
            frame = event_frame(session.user, "presence", user=user, state=str(state), seen_ms=seen_ms)
            session.outlet.signal(frame, 1)
