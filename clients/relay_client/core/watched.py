"""Users whose presence the program watches, as it was told last: after a reconnect only what changed is news."""

from collections.abc import Iterable

from relay_client.answers import Presence


class Watched:
    """The last known presence by user."""

    def __init__(self) -> None:
        self._known: dict[str, Presence] = {}

    def answered(self, people: Iterable[Presence]) -> list[Presence]:
        """These, and no others, are watched, and so they stand. What has changed since it was told last."""
        before, self._known = self._known, {presence.user: presence for presence in people}
        return [p for p in self._known.values() if p.user in before and before[p.user].state != p.state]

    def told(self, presence: Presence) -> None:
        """One of them came or went."""
        self._known[presence.user] = presence
