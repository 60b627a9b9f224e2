"""The router: one object that sessions hand their packets to. It only composes its parts."""

from collections.abc import Callable

from relay.protocol.addresses import RELAY
from relay.protocol.packets import Call
from relay.router import methods
from relay.router.calls import CallTable
from relay.router.conversations import Conversations
from relay.router.directory import Directory
from relay.router.log import Log
from relay.router.subscriber import Subscriber


class Router:
    """Everything that happens between sessions. `clock_ms` is the time of day, `monotonic_s` never jumps."""

    def __init__(  # noqa: PLR0913, PLR0917
        self,
        log: Log,
        agent: str,
        clock_ms: Callable[[], int],
        monotonic_s: Callable[[], float],
        sessions_per_user_max: int,
        calls_in_flight_max: int,
    ) -> None:
        self.agent = agent
        self.clock_ms = clock_ms
        self._monotonic_s = monotonic_s
        self.directory = Directory(sessions_per_user_max)
        self.calls = CallTable(self.directory, calls_in_flight_max)
        self.conversations = Conversations(self.directory, log, clock_ms)

    def call(self, caller: Subscriber, call: Call, frame: bytes) -> None:
        """Answer a call to the relay, or forward it."""
        if call.to == RELAY:
            methods.answer(self, caller, call)
        else:
            self.calls.open(caller, call, frame, self._monotonic_s())

    def leave(self, session: Subscriber) -> None:
        """A session ended: nobody reaches it any more, and who waits for it is told."""
        self.directory.detach(session)
        self.calls.leave(session)
        if session.feed is not None:
            session.feed.stop()

    def expire(self) -> None:
        """Let time pass for calls in flight."""
        self.calls.expire(self._monotonic_s())
