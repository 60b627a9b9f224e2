"""The blocking client, for plain threads and, in a patched process, for gevent: a thin shell on the core.

All decisions are the core's, the bytes are the pump's; here is what a program calls, and waiting.
"""

import functools
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from relay.protocol.payloads import Value
from relay_client.blocking.pump import Pump
from relay_client.blocking.streams import Stream, Streams
from relay_client.blocking.workers import Workers
from relay_client.core import Core, Pending, Phase
from relay_client.fate import Fate, FateState
from relay_client.jobs import Job
from relay_client.methods import Methods
from relay_client.questions import (
    Blocks,
    Conversations,
    Devices,
    History,
    People,
    Rooms,
    Steps,
    Waits,
    advance,
)
from relay_client.received import TYPING, Online, ReceivedMessage, Stored, online_from
from relay_client.sentences import (
    UNSENT_MAX_BYTES,
    left_unstored,
    no_room,
    not_agreed,
    not_connected,
    not_reached,
    not_stored,
    not_taken,
)
from relay_client.shell import Shell, ShellMessage, ShellPosted, ShellSignal, remaining_s
from relay_client.streams import Services

if TYPE_CHECKING:
    from relay_client.files.group import Files

log = logging.getLogger("relay_client")

T = TypeVar("T")

# How long `close` waits for the thread of the connection, after everything is said.
THREAD_END_S = 2.0

# Streams may last for days, so their handlers do not share the threads of the others. As many as the relay allows.
STREAM_THREADS = 256


class Message(ShellMessage):
    """A received message."""

    __slots__ = ()
    _client: "Client"

    def reply(self, value: Value) -> Stored:
        """Send an answer to where this came from; returns once it is on the relay's disk. Errors as Client.send."""
        return self._client.send(self.reply_to, value)


class Signal(ShellSignal):
    """A received signal."""

    __slots__ = ()
    _client: "Client"

    def reply(self, value: Value) -> None:
        """Send a signal back to the session it came from. Errors as Client.signal."""
        self._client.signal(self.sender_session, value)


class Posted(ShellPosted):
    """A message under way, or stored: what becomes of it can be awaited, and looked at in `fate`."""

    _client: "Client"

    def wait(self, timeout: float | None = None) -> Stored:
        """Wait until it is on the relay's disk, at most `timeout` seconds (None: the client's).

        Raises Refused, TimedOut (it stays under way: wait again), or what ended the client.
        """
        return self._client._wait_stored(self._pending, self.to, timeout)

    def wait_delivered(self, timeout: float | None = None) -> Fate:
        """Wait until a device of somebody else has it. Errors as `wait`, and CallFailed where the relay does not tell.

        In a room: the first of its members. `fate` tells more as it comes.
        """
        return self._client._wait_fate(self, "delivered", (FateState.DELIVERED, FateState.READ), timeout)

    def wait_read(self, timeout: float | None = None) -> Fate:
        """Wait until somebody else has read it. Errors as `wait_delivered`."""
        return self._client._wait_fate(self, "read", (FateState.READ,), timeout)


class Client(Shell[Message, Signal]):
    """One device of one user. The constructor connects and logs in, or raises LoginFailed or ConnectFailed.

    `url`: see relay_client.url; `password` replaces the one in it. `device=None` is a temporary device, which the
    relay forgets soon after. `timeout` (seconds) holds for everything that names none of its own. `start`: how many
    earlier messages of each conversation a device new to the relay gets. `receive`: whether to receive messages from
    the first moment (True), or only once `messages` or `on_message` is called (False); None is False, except that a
    temporary device begins before it sends its first message, so as not to miss the answer. `patience_s`: how long to
    go on trying if the relay cannot be reached at first (None: for ever). `threads`: how many handlers run at once.
    `wait=False` returns at once and connects meanwhile.

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
        receive: bool | None = None,
        patience_s: float | None = 0,
        threads: int = 8,
        wait: bool = True,
    ) -> None:
        self._workers = Workers(threads, "relay handler")
        self._stream_workers = Workers(STREAM_THREADS, "relay stream")
        super().__init__(
            url,
            device,
            timeout=timeout,
            password=password,
            start=start,
            receive=receive,
            patience_s=patience_s,
            message=Message,
            signal=Signal,
            submit=self._workers.submit,
            submit_stream=self._stream_workers.submit,
            services=Services(lambda end: Stream(end, self._pump)),
        )
        self.rooms: Rooms[Waits] = Rooms(self)
        self.conversations: Conversations[Waits] = Conversations(self)
        self.devices: Devices[Waits] = Devices(self)
        self.blocks: Blocks[Waits] = Blocks(self)
        self.people: People[Waits] = People(self)
        self._pump = Pump(self._core, self._endpoint, timeout, self._dispatch)
        self.streams = Streams(self._pump, timeout)
        self._pump.start()
        if wait:
            self._wait_connected()

    def send(self, to: str, value: Value, *, content_type: str | None = None, timeout: float | None = None) -> Stored:
        """Send a message to a user or a room; returns once it is on the relay's disk.

        A text is sent as text, bytes as bytes, anything else as msgpack; `content_type` says what bytes are.
        Raises Refused, BadAddress, BadValue, TimedOut (the message stays under way), or what ended the client.
        """
        deadline_at = self._deadline(timeout)
        return self._wait_stored(self._post(to, value, content_type, deadline_at), to, deadline_at - time.monotonic())

    def post(self, to: str, value: Value, *, content_type: str | None = None, timeout: float | None = None) -> Posted:
        """Send a message without waiting for the disk: `wait` on what it returns, now or later.

        Waits only while 256 messages are under way. Raises BadAddress, BadValue, TimedOut, or what ended the client.
        """
        return Posted(self, self._post(to, value, content_type, self._deadline(timeout)), to)

    def signal(self, to: str, value: Value, *, content_type: str | None = None, timeout: float | None = None) -> None:
        """Send to the live sessions of a user or of a room, or to one session: at most once, without an answer.

        Waits only while a lot is waiting to be sent. Raises NotConnected, TimedOut, BadAddress, BadValue, or what ended
        the client.
        """
        with self._pump as core:
            if not self._pump.changed.wait_for(
                lambda: self._pump.unsent_bytes < UNSENT_MAX_BYTES, remaining_s(self._deadline(timeout))
            ):
                raise not_taken(core)
            core.signal(to, value, content_type)

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

    def typing(self, to: str) -> None:
        """Tell a user, a session or a room that somebody is typing: a signal whose `is_typing` holds. Say it again
        every few seconds; it counts for about five. Errors as `signal`."""
        self.signal(to, b"", content_type=TYPING)

    def follow(self, stored: Stored, to: str = "") -> Posted:
        """The message that `send` stored, to wait for what becomes of it. `to` is for error messages."""
        pending: Pending[Stored] = Pending(stored.id)
        pending.settle(stored)
        return Posted(self, pending, to or stored.conversation)

    def history(
        self,
        conversation: str,
        *,
        after: int | None = None,
        before: int | None = None,
        limit: int | None = None,
    ) -> Iterator[ReceivedMessage]:
        """What the relay keeps of a conversation (a room, a user, or `alice@bob`), read in pages as it is asked for.

        With `after`, what stands behind that offset, ascending. Otherwise descending: from just below `before`, or from
        the end. At most `limit` messages. Marks nothing. Errors as those of `conversations`.
        """
        history = History(conversation, after, before, limit)
        while found := self.run_steps(history.next_messages()):
            yield from found

    def who(self, *, timeout: float | None = None) -> list[Online]:
        """Who is online now, by name. Errors as `call`."""
        return online_from(self.call("relay", "presence.list", timeout=timeout))

    def receive(self, *, timeout: float | None = None) -> None:
        """Begin to receive messages, so that from now on the relay keeps them for this device. `messages` and
        `on_message` do it, too. Raises CallFailed, TimedOut, or what ended the client."""
        self._wait_agreed(self._ask_for_messages(), timeout)

    def messages(self, timeout: float | None = None, count: int | None = None) -> Iterator[Message]:
        """Messages as they come. Ends after `count` of them, or once none came for `timeout` seconds.

        A message is acknowledged when the next one is asked for, by `message.ack()`, or when the client is closed
        after its loop was left. What is not acknowledged comes again when this device connects the next time.
        """
        self._ask_for_messages()
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

    def serve(self, method: str, function: Callable[..., Any], *, timeout: float | None = None) -> None:
        """Answer calls of `method` with what `function(call, ...)` returns. It runs in one of the handler threads.

        Raises TimedOut if the relay does not know of it in time (the client goes on asking), or what ended the client.
        """
        self._methods.add(method, function)
        with self._pump as core:
            pending = core.announce(self._methods.names, time.monotonic())
        self._wait_agreed(pending, timeout)

    def serve_stream(self, service: str, handler: Callable[[Stream], Any], *, timeout: float | None = None) -> None:
        """Hand each stream that is opened to `service` of our user to `handler(stream)`, in a thread of its own.

        The stream is closed when the handler returns, and reset when it fails: with METHOD_FAILED, or with the code and
        the sentence of a MethodError. Errors as `serve`.
        """
        self._wait_agreed(self._begin_service(service, handler), timeout)

    def on_message(self, function: Callable[[Message], Any]) -> None:
        """Hand every message to `function` instead of to `messages`, in the handler threads, those of one conversation
        in order. A message is acknowledged when `function` has returned or failed. Errors as `receive`."""
        self._set_message_handler(function)
        self.receive()

    def close(self, timeout: float | None = None) -> None:
        """Wait for the disk to have what is under way, tell the relay what was dealt with, and say goodbye.

        Raises TimedOut if messages are still under way at the end of the timeout: it is unknown whether they are
        stored. Calling it twice is allowed.
        """
        deadline_at = self._deadline(timeout)
        self._workers.close(remaining_s(deadline_at))
        self._leave_streams(remaining_s(deadline_at))
        self._ack_left()
        self._settle_up(deadline_at)
        with self._pump as core:
            unstored = core.under_way
            problem = left_unstored(core, unstored)
            core.close()
        self._pump.join(THREAD_END_S)
        if unstored:
            raise problem

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self._abandon()

    # For a bot, which brings all its handlers at once and waits for nothing but its end.

    def attach(
        self,
        methods: Methods,
        on_message: Callable[[Message], Any] | None,
        on_signal: Callable[[Signal], Any] | None,
        services: Mapping[str, Callable[[Stream], Any]],
    ) -> list[Pending[Any]]:
        """Use these handlers; what the relay has to agree to is settled later."""
        with self._pump as core:
            now = time.monotonic()
            self._methods = methods
            self._message_handler = on_message
            self._signal_handler = on_signal
            pending = [core.announce(methods.names, now)] if methods.names else []
            for name, handler in services.items():
                self._services.add(name, handler)
            pending += [core.offer(self._services.names, now)] if services else []
            return pending + ([core.receive(now)] if on_message else [])

    def run_handler(self, lane: str, function: Callable[[], Any]) -> None:
        """Run a function in the handler threads."""
        self._workers.submit(("lane", lane), Job(function))

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until the condition holds; it is asked again after everything that happens, and after `wake`. Raises
        what ended the client."""
        with self._pump.changed:
            self._pump.changed.wait_for(lambda: condition() or self._core.phase is Phase.ENDED)
        if not condition():
            self._core.check_alive()

    def wake(self) -> None:
        """Have the condition of `wait_until` looked at."""
        with self._pump.changed:
            self._pump.changed.notify_all()

    @functools.cached_property
    def files(self) -> "Files[Waits]":
        """Sending, fetching and receiving files."""
        from relay_client.blocking.files import FileWork  # noqa: PLC0415 - not every program has to do with files
        from relay_client.files.group import Files  # noqa: PLC0415

        return Files(FileWork(self))

    # Waiting.

    def run_steps(self, steps: Steps[T]) -> T:
        """For the groups: ask the relay what the steps want to know."""
        try:
            question = next(steps)
            while True:
                pending = self._begin(question)
                if question.lasting:
                    self._wait_agreed(pending, None)
                question = advance(steps, question, self._wait(pending))
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]

    def _wait_fate(self, posted: Posted, wanted: str, states: tuple[FateState, ...], timeout: float | None) -> Fate:
        deadline_at = self._deadline(timeout)
        stored = posted.wait(timeout)
        self._wait_agreed(self._begin_to_follow(stored), remaining_s(deadline_at))
        with self._pump.changed:
            self._pump.changed.wait_for(
                lambda: posted._reached(*states) or self._core.phase is Phase.ENDED, remaining_s(deadline_at)
            )
        if not posted._reached(*states):
            self._core.check_alive()
            raise not_reached(self._core, posted.to, wanted)
        return posted.fate

    def _using(self) -> AbstractContextManager[Core]:
        return self._pump

    def _reading(self) -> AbstractContextManager[Any]:
        return self._pump.changed

    def _wait(self, pending: Pending[T]) -> T:
        """For what the core settles by itself in time."""
        with self._pump.changed:
            self._pump.changed.wait_for(lambda: pending.done)
        return pending.result()

    def _wait_agreed(self, pending: Pending[Any], timeout: float | None) -> None:
        timeout_s = self.timeout if timeout is None else timeout
        with self._pump.changed:
            if not self._pump.changed.wait_for(lambda: pending.done, timeout_s):
                raise not_agreed(self._core)
        pending.result()

    def _wait_stored(self, pending: Pending[Stored], to: str, timeout: float | None) -> Stored:
        timeout_s = self.timeout if timeout is None else max(0.0, timeout)
        with self._pump.changed:
            if not self._pump.changed.wait_for(lambda: pending.done, timeout_s):
                raise not_stored(self._core, to)
        return pending.result()

    def _wait_connected(self) -> None:
        core, changed = self._core, self._pump.changed
        try:
            with changed:
                known = changed.wait_for(lambda: core.was_open or core.phase is Phase.ENDED, self._connect_timeout_s)
        except BaseException:
            self._abandon()
            raise
        if not known:
            with self._pump:
                core.end(not_connected(core, self._endpoint.place))
        if not core.was_open:
            self._pump.join(THREAD_END_S)
            core.check_alive()

    def _post(self, to: str, value: Value, content_type: str | None, deadline_at: float) -> Pending[Stored]:
        with self._pump as core:
            changed = self._pump.changed
            if not core.has_room and not changed.wait_for(
                lambda: core.has_room or core.phase is Phase.ENDED, remaining_s(deadline_at)
            ):
                raise no_room(core)
            return core.post(to, value, time.monotonic(), content_type)

    def _next(self, queue: deque[T], timeout: float | None) -> T | None:
        with self._pump.changed:
            self._pump.changed.wait_for(lambda: self._has_next(queue), timeout)
            return self._next_or_end(queue)  # type: ignore[no-any-return]

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

    def _settle_up(self, deadline_at: float) -> None:
        core = self._core
        with self._pump.changed:
            ended = self._pump.changed.wait_for(
                lambda: core.under_way == 0 or core.phase is Phase.ENDED, remaining_s(deadline_at)
            )
            if not ended or core.phase is Phase.ENDED:
                return
        with self._pump:
            if core.error is not None:
                return
            pending = core.sync(time.monotonic())
        with self._pump.changed:
            self._pump.changed.wait_for(lambda: pending.done, remaining_s(deadline_at))
        if not pending.done or pending.error is not None:
            log.warning("the relay did not confirm the last acknowledgements; those messages may come again")

    def _leave_streams(self, timeout_s: float) -> None:
        with self._pump as core:
            core.leave_streams()
        self._stream_workers.close(timeout_s)

    def _abandon(self) -> None:
        self._workers.close(0)
        self._leave_streams(0)
        with self._pump as core:
            core.close()
        self._pump.join(THREAD_END_S)


__all__ = ["Client", "Message", "Posted", "Signal", "Stream"]
