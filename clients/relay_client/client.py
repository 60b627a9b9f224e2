"""The blocking client, for plain threads and, in a patched process, for gevent: a thin shell on the core.

All decisions are the core's, the bytes are the pump's; here is what a program calls, and waiting.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self, TypeVar

from relay.protocol.payloads import Value
from relay_client.core import (
    CallReceived,
    Complaint,
    Core,
    Disconnected,
    Event,
    GapNoticed,
    MessageReceived,
    Pending,
    Phase,
    SignalReceived,
)
from relay_client.errors import ClientClosed, ConnectFailed, TimedOut
from relay_client.identity import identify
from relay_client.methods import CallRefusedError, Methods, fault_for, is_too_late
from relay_client.pump import Pump
from relay_client.received import Call, Online, ReceivedMessage, ReceivedSignal, Stored, online_from
from relay_client.workers import Workers

log = logging.getLogger("relay_client")

T = TypeVar("T")

# Signals that nobody asks for: the latest are kept. They are sent without a promise, so losing old ones is in order.
SIGNALS_MAX = 1000

# How long `close` waits for the thread of the connection, after everything is said.
THREAD_END_S = 2.0


class Message(ReceivedMessage):
    """A received message."""

    __slots__ = ("_client",)

    def __init__(self, event: MessageReceived, client: "Client") -> None:
        super().__init__(*event)
        self._client = client

    def reply(self, value: Value) -> Stored:
        """Send an answer to where this came from; returns once it is on the relay's disk. Errors as Client.send."""
        return self._client.send(self.reply_to, value)

    def ack(self) -> None:
        """Tell the relay that this message is dealt with, so that it never comes again. Does not wait."""
        self._client._done(self)


class Signal(ReceivedSignal):
    """A received signal."""

    __slots__ = ("_client",)

    def __init__(self, event: SignalReceived, client: "Client") -> None:
        super().__init__(event.packet)
        self._client = client

    def reply(self, value: Value) -> None:
        """Send a signal back to the session it came from. Errors as Client.signal."""
        self._client.signal(self.sender_session, value)


class Posted:
    """A message under way."""

    def __init__(self, client: "Client", pending: Pending[Stored], to: str) -> None:
        self._client = client
        self._pending = pending
        self.to = to

    @property
    def id(self) -> int:
        """The number of this message among those of this device."""
        return self._pending.id

    @property
    def done(self) -> bool:
        """Whether its fate is known, so that `wait` returns at once."""
        return self._pending.done

    def wait(self, timeout: float | None = None) -> Stored:
        """Wait until it is on the relay's disk, at most `timeout` seconds (None: the client's).

        Raises Refused, TimedOut (it stays under way: wait again), or what ended the client.
        """
        return self._client._wait_stored(self._pending, self.to, timeout)


class Client:
    """One device of one user. The constructor connects and logs in, or raises LoginFailed or ConnectFailed.

    `url`: see relay_client.url; `password` replaces the one in it. `device=None` is a temporary device, which the
    relay forgets soon after. `timeout` (seconds) holds for everything that names none of its own. `start`: how many
    earlier messages of each conversation a device new to the relay gets. `patience_s`: how long to go on trying if
    the relay cannot be reached at first (None: for ever). `threads`: how many handlers run at once.

    Every method may be called from any thread.
    """

    def __init__(  # noqa: PLR0913 - all but the URL have defaults and are named
        self,
        url: str,
        device: str | None = None,
        timeout: float = 10,
        *,
        password: str | None = None,
        start: int | None = None,
        patience_s: float | None = 0,
        threads: int = 8,
    ) -> None:
        self.timeout = timeout
        identity, endpoint = identify(url, device, password)
        self._place = endpoint.place
        self._start = start
        self._messages: deque[Message] = deque()
        self._signals: deque[Signal] = deque(maxlen=SIGNALS_MAX)
        self._left: list[Message] = []  # handed out by loops that were left, to be acknowledged if all ends well
        self._methods = Methods()
        self._message_handler: Callable[[Message], Any] | None = None
        self._signal_handler: Callable[[Signal], Any] | None = None
        self._event_handler: Callable[[Event], Any] | None = None
        self._workers = Workers(threads, f"relay {identity.user} handler")
        self._pump = Pump(Core(identity, time.monotonic(), patience_s=patience_s), endpoint, timeout, self._dispatch)
        self._pump.start()
        self._wait_connected(patience_s)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.session} at {self._place}, {self._pump.core.phase.value}>"

    @property
    def session(self) -> str:
        """Our own address: `alice/laptop`."""
        return self._pump.core.session

    @property
    def user(self) -> str:
        """Who we are: `alice`."""
        return self.session.partition("/")[0]

    @property
    def device(self) -> str:
        """Which of the user's devices we are: `laptop`."""
        return self.session.partition("/")[2]

    @property
    def connected(self) -> bool:
        """Whether there is a connection at this moment. Without one the client is busy getting it back."""
        return self._pump.core.phase is Phase.OPEN

    def send(self, to: str, value: Value, *, timeout: float | None = None) -> Stored:
        """Send a message to a user; returns once it is on the relay's disk.

        Raises Refused, BadAddress, BadValue, TimedOut (the message stays under way), or what ended the client.
        """
        deadline_at = self._deadline(timeout)
        return self._wait_stored(self._post(to, value, deadline_at), to, deadline_at - time.monotonic())

    def post(self, to: str, value: Value, *, timeout: float | None = None) -> Posted:
        """Send a message without waiting for the disk: `wait` on what it returns, now or later.

        Waits only while 256 messages are under way. Raises BadAddress, BadValue, TimedOut, or what ended the client.
        """
        return Posted(self, self._post(to, value, self._deadline(timeout)), to)

    def signal(self, to: str, value: Value) -> None:
        """Send to the live sessions of a user, or to one session: at most once, without an answer.

        Raises NotConnected, BadAddress, BadValue, or what ended the client.
        """
        with self._pump as core:
            core.signal(to, value)

    def call(self, to: str, method: str, *args: Value, timeout: float | None = None, **kwargs: Value) -> Value:
        """Call a method of a user, a session or `relay`, with positional or with named arguments, and return its
        answer.

        Raises CallFailed, TimedOut, ConnectionLost (it is unknown whether it ran), BadAddress, BadValue, or what ended
        the client.
        """
        timeout_s = self.timeout if timeout is None else timeout
        with self._pump as core:
            pending = core.call(to, method, args, kwargs, timeout_s=timeout_s, now=time.monotonic())
        return self._wait(pending)

    def who(self, *, timeout: float | None = None) -> list[Online]:
        """Who is online now, by name. Errors as `call`."""
        return online_from(self.call("relay", "presence.list", timeout=timeout))

    def receive(self) -> None:
        """Begin to receive messages. `messages` and `on_message` do it, too; call it before something else makes
        others answer, if the device is a temporary one."""
        with self._pump as core:
            pending = core.receive(self._start, time.monotonic())
        self._wait(pending)

    def messages(self, timeout: float | None = None, count: int | None = None) -> Iterator[Message]:
        """Messages as they come. Ends after `count` of them, or once none came for `timeout` seconds.

        A message is acknowledged when the next one is asked for, by `message.ack()`, or when the client is closed
        after its loop was left. What is not acknowledged comes again when this device connects the next time.
        """
        self.receive()
        self._ack_left()
        return self._iterate_messages(timeout, count)

    def signals(self, timeout: float | None = None, count: int | None = None) -> Iterator[Signal]:
        """Signals as they come, and the latest 1,000 that came before. Ends as `messages` does."""
        while count is None or count > 0:
            signal = self._next(self._signals, timeout)
            if signal is None:
                return
            yield signal
            count = count - 1 if count is not None else None

    def serve(self, method: str, function: Callable[..., Any]) -> None:
        """Answer calls of `method` with what `function(call, ...)` returns. It runs in one of the handler threads."""
        self._methods.add(method, function)
        with self._pump as core:
            pending = core.announce(self._methods.names, time.monotonic())
        self._wait(pending)

    def on_message(self, function: Callable[[Message], Any]) -> None:
        """Hand every message to `function` instead of to `messages`, in the handler threads, those of one conversation
        in order. A message is acknowledged when `function` has returned or failed."""
        with self._pump:
            self._message_handler = function
            while self._messages:
                self._hand_over(self._messages.popleft(), function)
        self.receive()

    def on_signal(self, function: Callable[[Signal], Any]) -> None:
        """Hand every signal to `function` instead of to `signals`, in the handler threads, in order per sender."""
        with self._pump:
            self._signal_handler = function
            while self._signals:
                signal = self._signals.popleft()
                self._workers.submit(("signal", signal.sender_session), lambda signal=signal: function(signal))  # type: ignore[misc]

    def on_event(self, function: Callable[[Event], Any]) -> None:
        """Hand Connected, Disconnected, Ended, GapNoticed and Complaint (relay_client.core) to `function`, in a handler
        thread, in order."""
        self._event_handler = function

    def close(self, timeout: float | None = None) -> None:
        """Wait for the disk to have what is under way, tell the relay what was dealt with, and say goodbye.

        Raises TimedOut if messages are still under way at the end of the timeout: it is unknown whether they are
        stored. Calling it twice is allowed.
        """
        deadline_at = self._deadline(timeout)
        self._workers.close(self._remaining(deadline_at))
        self._ack_left()
        self._settle_up(deadline_at)
        with self._pump as core:
            unstored = core.under_way
            core.close()
        self._pump.join(THREAD_END_S)
        if unstored:
            raise TimedOut(
                f"{unstored} messages were not stored in time ({self._pump.core.reason}); "
                "it is unknown whether they will be: send them again if a repetition does no harm"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self._abandon()

    # Waiting.

    def _deadline(self, timeout: float | None) -> float:
        return time.monotonic() + (self.timeout if timeout is None else timeout)

    @staticmethod
    def _remaining(deadline_at: float) -> float:
        return max(0.0, deadline_at - time.monotonic())

    def _wait(self, pending: Pending[T]) -> T:
        """For what the core settles by itself in time."""
        with self._pump.changed:
            self._pump.changed.wait_for(lambda: pending.done)
        return pending.result()

    def _wait_stored(self, pending: Pending[Stored], to: str, timeout: float | None) -> Stored:
        timeout_s = self.timeout if timeout is None else max(0.0, timeout)
        with self._pump.changed:
            if not self._pump.changed.wait_for(lambda: pending.done, timeout_s):
                raise TimedOut(
                    f"the message to {to} was not stored in time ({self._state()}); it stays under way "
                    "while this client is open"
                )
        return pending.result()

    def _state(self) -> str:
        core = self._pump.core
        return (
            "the relay has not answered yet" if core.phase is Phase.OPEN else f"there is no connection: {core.reason}"
        )

    def _wait_connected(self, patience_s: float | None) -> None:
        core = self._pump.core
        limit_s = None if patience_s is None else self.timeout + patience_s
        with self._pump.changed:
            known = self._pump.changed.wait_for(lambda: core.was_open or core.phase is Phase.ENDED, limit_s)
        if not known:
            with self._pump:
                core.end(ConnectFailed(f"cannot connect to the relay at {self._place}: {core.reason}"))
        if not core.was_open:
            self._pump.join(THREAD_END_S)
            core.check_alive()

    def _post(self, to: str, value: Value, deadline_at: float) -> Pending[Stored]:
        with self._pump as core:
            changed = self._pump.changed
            if not core.has_room and not changed.wait_for(
                lambda: core.has_room or core.phase is Phase.ENDED, self._remaining(deadline_at)
            ):
                raise TimedOut(f"{core.under_way} messages are under way, as many as may be ({self._state()})")
            return core.post(to, value)

    def _next(self, queue: deque[T], timeout: float | None) -> T | None:
        core = self._pump.core
        with self._pump.changed:
            self._pump.changed.wait_for(lambda: queue or core.phase is Phase.ENDED, timeout)
            if queue:
                return queue.popleft()
            if core.error is not None and not isinstance(core.error, ClientClosed):
                core.check_alive()
        return None

    def _iterate_messages(self, timeout: float | None, count: int | None) -> Iterator[Message]:
        while count is None or count > 0:
            message = self._next(self._messages, timeout)
            if message is None:
                return
            try:
                yield message
            except GeneratorExit:
                self._left.append(message)
                raise
            message.ack()
            count = count - 1 if count is not None else None

    # Ending.

    def _ack_left(self) -> None:
        left, self._left = self._left, []
        for message in left:
            message.ack()

    def _settle_up(self, deadline_at: float) -> None:
        core = self._pump.core
        with self._pump.changed:
            ended = self._pump.changed.wait_for(
                lambda: core.under_way == 0 or core.phase is Phase.ENDED, self._remaining(deadline_at)
            )
            if not ended or core.phase is Phase.ENDED:
                return
        with self._pump:
            pending = core.sync(time.monotonic())
        with self._pump.changed:
            self._pump.changed.wait_for(lambda: pending.done, self._remaining(deadline_at))
        if not pending.done or pending.error is not None:
            log.warning("the relay did not confirm the last acknowledgements; those messages may come again")

    def _abandon(self) -> None:
        self._workers.close(0)
        with self._pump as core:
            core.close()
        self._pump.join(THREAD_END_S)

    # Events; the lock is held.

    def _dispatch(self, event: Event) -> None:
        match event:
            case MessageReceived():
                message = Message(event, self)
                if self._message_handler is None:
                    self._messages.append(message)
                else:
                    self._hand_over(message, self._message_handler)
            case SignalReceived():
                self._dispatch_signal(Signal(event, self))
            case CallReceived(call):
                self._workers.submit(call, lambda: self._serve(call))
            case _:
                log_event(self.session, event)
                if (function := self._event_handler) is not None:
                    self._workers.submit("event", lambda: function(event))

    def _dispatch_signal(self, signal: Signal) -> None:
        if (function := self._signal_handler) is None:
            self._signals.append(signal)
        else:
            self._workers.submit(("signal", signal.sender_session), lambda: function(signal))

    def _hand_over(self, message: Message, function: Callable[[Message], Any]) -> None:
        def handle() -> None:
            try:
                function(message)
            except Exception:
                log.exception("the handler of messages failed on %r", message)
            message.ack()

        self._workers.submit(("message", message.conversation), handle)

    # In a handler thread.

    def _serve(self, call: Call) -> None:
        if is_too_late(call):
            log.warning("%r was not run: it came to its turn after its deadline", call)
            return
        try:
            answer = self._methods.prepare(call)()
            with self._pump as core:
                core.answer(call, answer)
        except (Exception, CallRefusedError) as error:
            code, sentence = fault_for(error, call)
            with self._pump as core:
                core.refuse(call, code, sentence)

    def _done(self, message: Message) -> None:
        with self._pump as core:
            core.done(message.conversation, message.offset, time.monotonic())


def log_event(session: str, event: Event) -> None:
    """Nothing that goes wrong between client and relay is silent."""
    match event:
        case Disconnected(reason, retry_s):
            log.warning("%s: %s; connecting again in %.1f s", session, reason, retry_s)
        case GapNoticed(conversation, first, last):
            log.warning("%s: messages %d to %d of %s no longer exist", session, first, last, conversation)
        case Complaint(code, sentence):
            log.warning("%s: the relay refused something: %s (%d)", session, sentence, code)
        case _:
            log.info("%s: %s", session, event)


__all__ = ["Call", "Client", "Message", "Posted", "Signal"]
