"""Whom connected users do not want to hear from. Kept in step with the store like the rooms of connected users."""

from collections.abc import Iterable

from relay.router.directory import Directory


class Blocks:
    """The blocks of users who are connected; the store checks messages to everybody else. No method yields."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._blocked_by: dict[str, set[str]] = {}

    def __bool__(self) -> bool:
        return bool(self._blocked_by)

    def learn(self, user: str, blocked: Iterable[str]) -> None:
        """Whom the user blocks, as the store just said. What is known already is newer."""
        names = set(blocked)
        if names and self._directory.concerns(user):
            self._blocked_by.setdefault(user, names)

    def forget(self, user: str) -> None:
        """A session of the user ended."""
        if not self._directory.concerns(user):
            self._blocked_by.pop(user, None)

    def add(self, user: str, blocked: str) -> None:
        """The store has noted that `user` blocks `blocked`."""
        if self._directory.concerns(user):
            self._blocked_by.setdefault(user, set()).add(blocked)
            for session in self._directory.sessions_of(blocked):
                session.forget_routes()

    def remove(self, user: str, blocked: str) -> None:
        """The store has ended a block."""
        self._blocked_by.get(user, set()).discard(blocked)

    def blocks(self, user: str, sender: str) -> bool:
        """Whether `user`, if connected, blocks `sender`."""
        blocked = self._blocked_by.get(user)
        return blocked is not None and sender in blocked
