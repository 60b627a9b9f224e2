"""What a program does with what comes to it, if it gave functions for it, run in the threads of Workers.

No method waits, so all of them may be called with the pump's lock held; the functions themselves run without it.
"""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from relay_client.blocking.workers import Workers
from relay_client.events import Event, log_event
from relay_client.methods import Methods, fault_for, is_too_late
from relay_client.received import Call

if TYPE_CHECKING:
    from relay.protocol.payloads import Value
    from relay_client.blocking.client import Message, Signal

log = logging.getLogger("relay_client")


class Handlers:
    """`answer` and `refuse` are how the outcome of a call goes back; they are called in a handler's thread."""

    def __init__(
        self,
        name: str,
        threads_max: int,
        answer: Callable[[Call, "Value"], None],
        refuse: Callable[[Call, int, str], None],
    ) -> None:
        self.methods = Methods()
        self.on_message: Callable[[Message], Any] | None = None
        self.on_signal: Callable[[Signal], Any] | None = None
        self.on_event: Callable[[Event], Any] | None = None
        self._workers = Workers(threads_max, f"{name} handler")
        self._answer = answer
        self._refuse = refuse

    def run(self, lane: str, function: Callable[[], Any]) -> None:
        """Run a function of the program behind those submitted to the same lane before."""
        self._workers.submit(("lane", lane), function)

    def take_message(self, message: "Message") -> bool:
        """Hand a message to its handler; False if there is none. It is acknowledged when the handler is through,
        also if it failed: a message that kills its handler would come again for ever."""
        function = self.on_message
        if function is None:
            return False

        def handle() -> None:
            try:
                function(message)
            except Exception:
                log.exception("the handler of messages failed on %r", message)
            message.ack()

        self._workers.submit(("conversation", message.conversation), handle)
        return True

    def take_signal(self, signal: "Signal") -> bool:
        """Hand a signal to its handler; False if there is none."""
        function = self.on_signal
        if function is None:
            return False
        self._workers.submit(("sender", signal.sender_session), lambda: function(signal))
        return True

    def take_call(self, call: Call) -> None:
        """Have a call answered. Calls run side by side, each in a lane of its own."""
        self._workers.submit(call, lambda: self._serve(call))

    def take_event(self, session: str, event: Event) -> None:
        """Log an event of the connection, and hand it to its handler."""
        log_event(session, event)
        if (function := self.on_event) is not None:
            self._workers.submit("events", lambda: function(event))

    def close(self, timeout_s: float) -> None:
        """Start no further handler, and wait for those that run."""
        if not self._workers.close(timeout_s):
            log.warning("handlers were still running after %.1f s; they are left behind", timeout_s)

    def _serve(self, call: Call) -> None:
        if is_too_late(call):
            log.warning("%r was not run: its turn came after its deadline", call)
            return
        try:
            self._answer(call, self.methods.prepare(call)())
        except Exception as error:
            self._refuse(call, *fault_for(error, call))
