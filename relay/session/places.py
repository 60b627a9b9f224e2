"""Places for logins: how many the relay works on at a time, and who is next.

When thousands come back at once, working on all of them together makes each take as long as all: every one runs out of
its time, and all begin anew. So a login takes a place for what the relay itself does for it, never while the client is
awaited: a silent stranger holds none. Who is nearly in goes first, and otherwise who came first.
"""

from collections import OrderedDict
from enum import IntEnum
from types import TracebackType

from gevent.event import Event


class Stage(IntEnum):
    """What a login waits to have done; the lowest goes first. What is nearly complete costs most to lose."""

    PROOF = 0
    TICKET = 1
    PASSWORD = 2


class Places:
    """At most `count` logins at a time; `free` are left. Nobody waits while a place is free."""

    def __init__(self, count: int) -> None:
        self.free = count
        self._waiting: dict[Stage, OrderedDict[Event, None]] = {stage: OrderedDict() for stage in Stage}

    def __repr__(self) -> str:
        return f"<Places: {self.free} free, {self.waiting} waiting>"

    @property
    def waiting(self) -> int:
        """Logins that wait for a place."""
        return sum(map(len, self._waiting.values()))

    def take(self, stage: Stage) -> None:
        """Wait for a place; whoever ends the wait by an exception has none. Yields."""
        if self.free:
            self.free -= 1
            return
        turn, line = Event(), self._waiting[stage]
        line[turn] = None
        try:
            turn.wait()
        except BaseException:
            if turn.is_set():
                self.give_back()
            else:
                del line[turn]
            raise

    def give_back(self) -> None:
        """The opposite of `take`: the place goes to who is next. Does not yield."""
        for line in self._waiting.values():
            if line:
                turn, _ = line.popitem(last=False)
                turn.set()
                return
        self.free += 1


class Place:
    """The place of one login. The context ends with the place given back, if it is held then."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._held = False

    def __enter__(self) -> "Place":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.leave()

    def take(self, stage: Stage) -> None:
        """Wait for it. Yields."""
        self._places.take(stage)
        self._held = True

    def leave(self) -> None:
        """Give it back, once. Does not yield."""
        if self._held:
            self._held = False
            self._places.give_back()
