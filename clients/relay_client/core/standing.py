"""How it stands with others: who is there, and how far each is in the conversations that the program follows.

The relay tells what changes by signals, which may be dropped, and how it stands as an answer. So whatever is watched is
asked for again on every connection, and after a drop; what is news in it becomes events, as if it had been told.
"""

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

from relay.protocol.payloads import Value
from relay_client.answers import DeviceCursor, Presence
from relay_client.core.pending import Pending
from relay_client.core.receipts import Receipts
from relay_client.core.watched import Watched
from relay_client.errors import ConnectionLost, RelayError
from relay_client.events import Event, Receipt, SignalsDropped
from relay_client.fate import Fate, fate_of
from relay_client.received import Stored

WATCH_PRESENCE = "presence.watch"
WATCH_RECEIPTS = "receipts.watch"
RECEIPTS_OF = "receipts.of"


class Standing:
    """`keep` sets the session up, now and on every connection; `refresh` does that again for a method, if it is set up;
    `ask` makes one call. Answers to what is kept come to `answered`, refusals to `refused`."""

    def __init__(
        self,
        keep: Callable[[str, Mapping[str, Value]], Pending[Value]],
        refresh: Callable[[str], None],
        ask: Callable[[str, Mapping[str, Value]], Pending[Value]],
        emit: Callable[[Event], None],
    ) -> None:
        self._keep = keep
        self._refresh = refresh
        self._ask = ask
        self._emit = emit
        self._receipts = Receipts()
        self._watched = Watched()
        self._watching: Pending[Value] | None = None  # how asking for receipts went
        self._unknown: dict[str, Pending[None]] = {}  # followed, and not known yet how it stands there

    def follow(self, conversation: str) -> Pending[None]:
        """Learn how far others are in this conversation, from now on. Settled once it is known how it stands."""
        if (pending := self._unknown.get(conversation)) is not None:
            return pending
        pending = Pending()
        if not self._receipts.follow(conversation):
            pending.settle(None)
            return pending
        self._unknown[conversation] = pending
        if self._watching is None or self._watching.error is not None:
            self._watching = self._keep(WATCH_RECEIPTS, {"watch": True})
        elif self._watching.done:
            self._learn(conversation)
        return pending  # while the relay has not agreed: see `answered`

    def fate(self, stored: Stored, sender: str) -> Fate:
        """What became of a message that `sender`, we, stored, as far as it was told."""
        return fate_of(stored, sender, self._receipts.people(stored.conversation))

    def renew(self) -> None:
        """The relay's logs are others than before: what was told of offsets is void."""
        self._receipts.renew()

    def told(self, event: Event) -> None:
        """The relay told something of its own accord; it becomes an event."""
        self._emit(event)
        match event:
            case Presence():
                self._watched.told(event)
            case Receipt():
                self._receipts.move(event)
            case SignalsDropped():
                self._refresh(WATCH_PRESENCE)
                self._refresh(WATCH_RECEIPTS)

    def answered(self, method: str, answer: Any) -> None:
        """The relay has agreed to something that is kept: the first time, or again."""
        if method == WATCH_PRESENCE:
            with contextlib.suppress(KeyError, TypeError, ValueError):  # who asked is told when the answer is read
                for presence in self._watched.answered(map(Presence.from_row, answer["users"])):
                    self._emit(presence)
        elif method == WATCH_RECEIPTS:
            for conversation in self._receipts.followed:
                self._learn(conversation)

    def refused(self, method: str, error: RelayError) -> None:
        """The relay did not agree, the first time it was asked."""
        if method == WATCH_RECEIPTS:
            for conversation in list(self._unknown):
                self._give_up(conversation, error)

    def fail_all(self, error: RelayError) -> None:
        """Nothing will be told any more."""
        for pending in self._unknown.values():
            pending.fail(error)

    def _learn(self, conversation: str) -> None:
        call = self._ask(RECEIPTS_OF, {"conversation": conversation})
        call.on_done = lambda: self._learned(conversation, call)

    def _learned(self, conversation: str, call: Pending[Value]) -> None:
        if isinstance(call.error, ConnectionLost):
            return  # the next connection asks again
        if call.error is not None:
            self._give_up(conversation, call.error)
            return
        answer: Any = call.result()
        with contextlib.suppress(KeyError, TypeError, ValueError):
            for receipt in self._receipts.learn(conversation, map(DeviceCursor.from_row, answer["cursors"])):
                self._emit(receipt)
        if (pending := self._unknown.pop(conversation, None)) is not None:
            pending.settle(None)

    def _give_up(self, conversation: str, error: RelayError) -> None:
        self._receipts.forget(conversation)
        if (pending := self._unknown.pop(conversation, None)) is not None:
            pending.fail(error)
