"""Receipts: how far the others in a conversation are, told to sessions that asked, a few times a second at most.

Delivered and read are cursors, so a receipt is a number and not a packet for each message: whatever moved since the
last `tick` is told once, as it is now.
"""

from collections.abc import Callable, Iterable

from relay.router.events import event_frame
from relay.router.subscriber import Subscriber
from relay.store.base import Cursor

# In larger rooms nobody follows who has read what, and the events would outnumber the messages.
MEMBERS_MAX = 50


class Receipts:
    """Cursors that moved, and the sessions that want to know. No method yields.

    `sessions_of(conversation)` are the live sessions of its members; None where receipts are not told.
    """

    def __init__(self, sessions_of: Callable[[str], Iterable[Subscriber] | None]) -> None:
        self._sessions_of = sessions_of
        self._watching: set[str] = set()
        self._moved: dict[tuple[str, str], dict[str, Cursor]] = {}

    def watch(self, session: Subscriber, wanted: bool) -> None:
        """Tell the session of receipts from now on, or no more."""
        if wanted:
            self._watching.add(session.address)
        else:
            self._watching.discard(session.address)

    def leave(self, session: Subscriber) -> None:
        """The session ended."""
        self._watching.discard(session.address)

    def note(self, cursor: Cursor) -> None:
        """A device moved on."""
        if self._watching:
            self._moved.setdefault((cursor.conversation, cursor.user), {})[cursor.device] = cursor

    def tick(self) -> None:
        """Tell what moved since the last time."""
        moved, self._moved = self._moved, {}
        for (conversation, user), cursors in moved.items():
            sessions = self._sessions_of(conversation)
            for session in sessions or ():
                if session.address in self._watching and not _is_own(session, user, cursors):
                    session.outlet.signal(_event(session.user, conversation, user, cursors), 1)


def _is_own(session: Subscriber, user: str, cursors: dict[str, Cursor]) -> bool:
    """Whether all that moved is this very session; other devices of the same user do want to know."""
    return session.user == user and cursors.keys() == {session.device}


def _event(to: str, conversation: str, user: str, cursors: dict[str, Cursor]) -> bytes:
    devices = {device: cursor.delivered for device, cursor in cursors.items()}
    read = max((cursor.read for cursor in cursors.values() if cursor.read is not None), default=None)
    return event_frame(
        to,
        "receipt",
        conversation=conversation,
        user=user,
        delivered=max(devices.values()),
        read=read,
        devices=devices,
    )
