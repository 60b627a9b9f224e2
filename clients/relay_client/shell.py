"""What both clients have in common: everything that does not wait.

A shell adds a carrier of bytes, a runner of handlers, and waiting: blocking.client with threads, aio.client with tasks.
"""

import logging
import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Generic, TypeVar

from relay.protocol.addresses import RELAY
from relay.protocol.payloads import Value
from relay_client.core import Core, Pending, Phase
from relay_client.errors import ClientClosed, RelayError
from relay_client.events import CallReceived, Event, MessageReceived, SignalReceived, StreamOffered, log_event
from relay_client.fate import Fate, FateState
from relay_client.identity import identify
from relay_client.jobs import Job, Submit
from relay_client.methods import Methods, fault_for
from relay_client.questions import Question
from relay_client.received import Call, ReceivedMessage, ReceivedSignal, Stored
from relay_client.streams import Services

log = logging.getLogger("relay_client")

# Signals that nobody asks for: the latest are kept. They are sent without a promise, so losing old ones is in order.
SIGNALS_MAX = 1000

# Messages for a program that never asks for any; see Core about `receive`.
UNASKED_MAX = 1000


class ShellMessage(ReceivedMessage):
    """A message that its client can acknowledge."""

    __slots__ = ("_client",)

    def __init__(self, event: MessageReceived, client: "Shell[Any, Any]") -> None:
        super().__init__(*event)
        self._client = client

    def mark_read(self) -> None:
        """Tell the relay that a person has read the conversation up to here. Does not wait."""
        self._client.mark_read(self)

    def ack(self) -> None:
        """Tell the relay that this message is dealt with, so that it never comes again. Does not wait."""
        self._client.acknowledge(self)


class ShellSignal(ReceivedSignal):
    """A signal that knows its client."""

    __slots__ = ("_client",)

    def __init__(self, event: SignalReceived, client: "Shell[Any, Any]") -> None:
        super().__init__(event.packet)
        self._client = client


class ShellPosted:
    """A message under way, to be followed."""

    def __init__(self, client: "Shell[Any, Any]", pending: Pending[Stored], to: str) -> None:
        self._client = client
        self._pending = pending
        self.to = to

    def __repr__(self) -> str:
        return f"<Posted {self.id} to {self.to}, {self.fate.state}>"

    @property
    def id(self) -> int:
        """The number of this message among those of this device."""
        return self._pending.id

    @property
    def done(self) -> bool:
        """Whether it is known if it was stored, so that `wait` returns at once."""
        return self._pending.done

    @property
    def fate(self) -> Fate:
        """What became of it so far. Who has it, and who has read it, is known once one of the methods that wait for it
        was called for this message or for another of its conversation."""
        return self._client._fate_of(self._pending)

    def _reached(self, *states: FateState) -> bool:
        return self.fate.state in states


M = TypeVar("M", bound=ShellMessage)
S = TypeVar("S", bound=ShellSignal)


class Shell(Generic[M, S]):
    """`message` and `signal` make what the program gets to see; `submit` runs its handlers,
    `submit_stream` those of `services`.

    The other arguments are those of Client.
    """

    def __init__(  # noqa: PLR0913 - the arguments of both clients
        self,
        url: str,
        device: str | None,
        *,
        timeout: float,
        password: str | None,
        start: int | None,
        receive: bool | None,
        patience_s: float | None,
        message: Callable[[MessageReceived, Any], M],
        signal: Callable[[SignalReceived, Any], S],
        submit: Submit,
        submit_stream: Submit,
        services: Services[Any],
    ) -> None:
        self.timeout = timeout
        identity, self._endpoint = identify(url, device, password)
        self._core = Core(identity, time.monotonic(), patience_s=patience_s, start=start, receive=receive)
        self._connect_timeout_s = None if patience_s is None else timeout + patience_s
        self._make_message = message
        self._make_signal = signal
        self._submit = submit
        self._submit_stream = submit_stream
        self._services = services
        self._messages: deque[M] = deque()
        self._signals: deque[S] = deque(maxlen=SIGNALS_MAX)
        self._asked = receive is True
        self._receiving: Pending[Value] | None = None
        self._left: list[M] = []  # handed out by loops that were left, to be acknowledged if all ends well
        self._methods = Methods()
        self._message_handler: Callable[[M], Any] | None = None
        self._signal_handler: Callable[[S], Any] | None = None
        self._event_handler: Callable[[Event], Any] | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.session} at {self._endpoint.place}, {self._core.phase.value}>"

    @property
    def session(self) -> str:
        """Our own address: `alice/laptop`."""
        return self._core.session

    @property
    def user(self) -> str:
        """Who we are: `alice`."""
        return self.session.partition("/")[0]

    @property
    def device(self) -> str:
        """Which of the user's devices we are: `laptop`."""
        return self.session.partition("/")[2]

    @property
    def place(self) -> str:
        """Where the relay is: host and port, or the path of its socket."""
        return self._endpoint.place

    @property
    def connected(self) -> bool:
        """Whether there is a connection at this moment. Without one the client is busy getting it back."""
        return self._core.phase is Phase.OPEN

    def on_signal(self, function: Callable[[S], Any]) -> None:
        """Hand every signal to `function` instead of to `signals`, in order per sender."""
        with self._using():
            self._signal_handler = function
            while self._signals:
                self._take_signal(self._signals.popleft())

    def on_event(self, function: Callable[[Event], Any]) -> None:
        """Hand what happens to `function`, in order: the connection (relay_client.events: Connected, Disconnected,
        Ended), what was missed (GapNoticed, SignalsDropped), what others do (RoomChanged, Presence, Receipt), and what
        the relay tells besides (Notice, Complaint)."""
        self._event_handler = function

    def acknowledge(self, message: ReceivedMessage) -> None:
        """What `message.ack()` does."""
        with self._using() as core:
            core.done(message.conversation, message.offset, time.monotonic())

    def mark_read(self, message: ReceivedMessage | Stored) -> None:
        """What `message.mark_read()` does; also for a message from the history, and for an own one."""
        with self._using() as core:
            core.mark_read(message.conversation, message.offset, time.monotonic())

    # For the shells.

    def _fate_of(self, pending: Pending[Stored]) -> Fate:
        """What became of a message so far."""
        if not pending.done:
            return Fate(FateState.UNDER_WAY)
        if pending.error is not None:
            return Fate(FateState.REFUSED, error=pending.error)
        with self._reading():
            return self._core.fate(pending.result())

    def _begin(self, question: Question) -> Pending[Value]:
        """Put a question to the relay."""
        method, arguments, lasting = question
        now = time.monotonic()
        with self._using() as core:
            if lasting:
                return core.keep(method, arguments, now)
            return core.call(RELAY, method, (), arguments, timeout_s=self.timeout, now=now)

    def _begin_service(self, name: str, handler: Callable[[Any], Any]) -> Pending[Value]:
        with self._using() as core:
            pending = core.offer([*self._services.names, name], time.monotonic())
            self._services.add(name, handler)
        return pending

    def _begin_to_follow(self, stored: Stored) -> Pending[None]:
        with self._using() as core:
            return core.follow(stored.conversation, time.monotonic())

    def _using(self) -> AbstractContextManager[Core]:
        """The carrier: every use of the core goes through it."""
        raise NotImplementedError

    def _reading(self) -> AbstractContextManager[Any]:
        """Keeps the core as it is, to look at it."""
        raise NotImplementedError

    def _dispatch(self, event: Event) -> None:
        """Put what came where it belongs. Called while the core is in use; does not wait."""
        match event:
            case MessageReceived():
                self._take_message(self._make_message(event, self))
            case SignalReceived():
                self._take_signal(self._make_signal(event, self))
            case CallReceived(call):
                self._submit(call, self._call_job(call))
            case StreamOffered(end):
                self._submit_stream(end, self._services.job(end))
            case _:
                log_event(self.session, event)
                if (function := self._event_handler) is not None:
                    self._submit("events", Job(lambda: function(event)))

    def _set_message_handler(self, function: Callable[[M], Any]) -> None:
        with self._using():
            self._message_handler = function
            while self._messages:
                self._take_message(self._messages.popleft())

    def _ack_left(self) -> None:
        left, self._left = self._left, []
        for message in left:
            message.ack()

    def _take_message(self, message: M) -> None:
        if (function := self._message_handler) is not None:
            self._submit(("conversation", message.conversation), _message_job(message, function))
            return
        self._messages.append(message)
        if not self._asked and len(self._messages) > UNASKED_MAX:
            unwanted = self._messages.popleft()
            self._core.done(unwanted.conversation, unwanted.offset, time.monotonic())
            log.info("%s: %r is dropped: nobody asks for messages here", self.session, unwanted)

    def _take_signal(self, signal: S) -> None:
        if (function := self._signal_handler) is not None:
            self._submit(("sender", signal.sender_session), Job(lambda: function(signal)))
        else:
            self._signals.append(signal)

    def _call_job(self, call: Call) -> Job:
        def done(answer: Value) -> None:
            try:
                with self._using() as core:
                    core.answer(call, answer)
            except Exception as error:
                failed(error)

        def failed(error: Exception) -> None:
            with self._using() as core:
                core.refuse(call, *fault_for(error, call))

        return Job(lambda: self._methods.run(call), done, failed)

    def _ask_for_messages(self) -> Pending[Value]:
        """Begin to receive. Settled once the relay has agreed; a refusal is raised where messages are waited for."""
        self._asked = True
        with self._using() as core:
            self._receiving = core.receive(time.monotonic())
        return self._receiving

    def _has_next(self, queue: deque[Any]) -> bool:
        """Whether there is a next of the queue, or will never be one."""
        return bool(queue) or self._core.phase is Phase.ENDED or self._refusal(queue) is not None

    def _next_or_end(self, queue: deque[Any]) -> Any:
        """The next of the queue; None if there is none, and nobody is to blame. Raises what ended the client."""
        if queue:
            return queue.popleft()
        if (refusal := self._refusal(queue)) is not None:
            raise refusal
        if self._core.error is not None and not isinstance(self._core.error, ClientClosed):
            self._core.check_alive()
        return None

    def _refusal(self, queue: deque[Any]) -> RelayError | None:
        """Why the relay does not deliver, if it refused to."""
        if queue is not self._messages or self._receiving is None or self._core.phase is Phase.ENDED:
            return None
        return self._receiving.error

    def _deadline(self, timeout: float | None) -> float:
        return time.monotonic() + (self.timeout if timeout is None else timeout)


def _message_job(message: M, function: Callable[[M], Any]) -> Job:
    """The message is acknowledged also if its handler fails: one that always does would get it again for ever."""

    def failed(error: Exception) -> None:
        log.error("the handler of messages failed on %r", message, exc_info=error)
        message.ack()

    return Job(lambda: function(message), lambda outcome: message.ack(), failed)


def remaining_s(deadline_at: float) -> float:
    """Seconds until an instant of time.monotonic(); 0 once it is past."""
    return max(0.0, deadline_at - time.monotonic())
