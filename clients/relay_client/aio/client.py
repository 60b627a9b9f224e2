# ruff: noqa: ASYNC109 - timeouts are arguments here, as they are in the blocking client
"""The asyncio client: a thin shell on the core.

    async with aio.Client("relay://alice:secret@127.0.0.1:7450") as me:
        await me.send("bob", "hello")
        async for message in me.messages(timeout=5):
            print(message.sender, message.text)

All decisions are the core's, the bytes are the carrier's; here is what a program calls, and awaiting.
"""

import functools
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from relay.protocol.payloads import Value
from relay_client.aio.carrier import Carrier
from relay_client.aio.lanes import Lanes
from relay_client.aio.streams import Stream, Streams
from relay_client.core import Core, Pending, Phase
from relay_client.fate import Fate, FateState
from relay_client.questions import (
    Awaits,
    Blocks,
    Conversations,
    Devices,
    History,
    People,
    Rooms,
    Steps,
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

# How long `close` waits for the socket, after everything is said.
SOCKET_END_S = 1.0


class Message(ShellMessage):
    """A received message."""

    __slots__ = ()
    _client: "Client"

    async def reply(self, value: Value) -> Stored:
        """Send an answer to where this came from; returns once it is on the relay's disk. Errors as Client.send."""
        return await self._client.send(self.reply_to, value)


class Signal(ShellSignal):
    """A received signal."""

    __slots__ = ()
    _client: "Client"

    async def reply(self, value: Value) -> None:
        """Send a signal back to the session it came from. Errors as Client.signal."""
        await self._client.signal(self.sender_session, value)


class Posted(ShellPosted):
    """A message under way, or stored: what becomes of it can be awaited, and looked at in `fate`."""

    _client: "Client"

    async def wait(self, timeout: float | None = None) -> Stored:
        """Wait until it is on the relay's disk, at most `timeout` seconds (None: the client's).

        Raises Refused, TimedOut (it stays under way: wait again), or what ended the client.
        """
        return await self._client._wait_stored(self._pending, self.to, timeout)

    async def wait_delivered(self, timeout: float | None = None) -> Fate:
        """Wait until a device of somebody else has it. Errors as `wait`, and CallFailed where the relay does not tell.

        In a room: the first of its members. `fate` tells more as it comes.
        """
        return await self._client._wait_fate(self, "delivered", (FateState.DELIVERED, FateState.READ), timeout)

    async def wait_read(self, timeout: float | None = None) -> Fate:
        """Wait until somebody else has read it. Errors as `wait_delivered`."""
        return await self._client._wait_fate(self, "read", (FateState.READ,), timeout)


class Client(Shell[Message, Signal]):
    """One device of one user, in one event loop. `async with` connects and closes it; so do `connect` and `close`.

    The arguments are those of the blocking client, relay_client.Client. Handlers are coroutine functions; plain
    functions are allowed if they do not wait.
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
    ) -> None:
        self._lanes = Lanes()
        self._stream_lanes = Lanes()
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
            submit=self._lanes.submit,
            submit_stream=self._stream_lanes.submit,
            services=Services(lambda end: Stream(end, self._carrier)),
        )
        self.rooms: Rooms[Awaits] = Rooms(self)
        self.conversations: Conversations[Awaits] = Conversations(self)
        self.devices: Devices[Awaits] = Devices(self)
        self.blocks: Blocks[Awaits] = Blocks(self)
        self.people: People[Awaits] = People(self)
        self._carrier = Carrier(self._core, self._endpoint, timeout, self._dispatch)
        self.streams = Streams(self._carrier, timeout)

    async def connect(self) -> None:
        """Connect and log in. Raises LoginFailed, ConnectFailed."""
        core = self._core
        self._carrier.start()
        try:
            known = await self._carrier.wait_for(
                lambda: core.was_open or core.phase is Phase.ENDED, self._connect_timeout_s
            )
        except BaseException:
            await self._abandon()
            raise
        if not known:
            with self._carrier:
                core.end(not_connected(core, self._endpoint.place))
        if not core.was_open:
            await self._carrier.ended(SOCKET_END_S)
            core.check_alive()

    async def send(
        self, to: str, value: Value, *, content_type: str | None = None, timeout: float | None = None
    ) -> Stored:
        """Send a message to a user or a room; returns once it is on the relay's disk.

        A text is sent as text, bytes as bytes, anything else as msgpack; `content_type` says what bytes are.
        Raises Refused, BadAddress, BadValue, TimedOut (the message stays under way), or what ended the client.
        """
        deadline_at = self._deadline(timeout)
        pending = await self._post(to, value, content_type, deadline_at)
        return await self._wait_stored(pending, to, deadline_at - time.monotonic())

    async def post(
        self, to: str, value: Value, *, content_type: str | None = None, timeout: float | None = None
    ) -> Posted:
        """Send a message without waiting for the disk: `wait` on what it returns, now or later.

        Waits only while 256 messages are under way. Raises BadAddress, BadValue, TimedOut, or what ended the client.
        """
        return Posted(self, await self._post(to, value, content_type, self._deadline(timeout)), to)

    async def signal(
        self, to: str, value: Value, *, content_type: str | None = None, timeout: float | None = None
    ) -> None:
        """Send to the live sessions of a user or of a room, or to one session: at most once, without an answer.

        Waits only while a lot is waiting to be sent. Raises NotConnected, TimedOut, BadAddress, BadValue, or what ended
        the client.
        """
        if not await self._carrier.wait_for(
            lambda: self._carrier.unsent_bytes < UNSENT_MAX_BYTES, remaining_s(self._deadline(timeout))
        ):
            raise not_taken(self._core)
        with self._carrier as core:
            core.signal(to, value, content_type)

    async def call(
        self,
        to: str,
        method: str,
        *args: Value,
        timeout: float | None = None,
        **kwargs: Value,
    ) -> Value:
        """Call a method of a user, a session or `relay`, with positional or with named arguments, and return its
        answer.

        Raises CallFailed, TimedOut, ConnectionLost (it is unknown whether it ran), BadAddress, BadValue, or what ended
        the client.
        """
        timeout_s = self.timeout if timeout is None else timeout
        with self._carrier as core:
            pending = core.call(to, method, args, kwargs, timeout_s=timeout_s, now=time.monotonic())
        return await self._wait(pending)

    async def typing(self, to: str) -> None:
        """Tell a user, a session or a room that somebody is typing: a signal whose `is_typing` holds. Say it again
        every few seconds; it counts for about five. Errors as `signal`."""
        await self.signal(to, b"", content_type=TYPING)

    def follow(self, stored: Stored, to: str = "") -> Posted:
        """The message that `send` stored, to wait for what becomes of it. `to` is for error messages."""
        pending: Pending[Stored] = Pending(stored.id)
        pending.settle(stored)
        return Posted(self, pending, to or stored.conversation)

    async def history(
        self,
        conversation: str,
        *,
        after: int | None = None,
        before: int | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[ReceivedMessage]:
        """What the relay keeps of a conversation (a room, a user, or `alice@bob`), read in pages as it is asked for.

        With `after`, what stands behind that offset, ascending. Otherwise descending: from just below `before`, or from
        the end. At most `limit` messages. Marks nothing. Errors as those of `conversations`.
        """
        history = History(conversation, after, before, limit)
        while found := await self.run_steps(history.next_messages()):
            for message in found:
                yield message

    async def who(self, *, timeout: float | None = None) -> list[Online]:
        """Who is online now, by name. Errors as `call`."""
        return online_from(await self.call("relay", "presence.list", timeout=timeout))

    async def receive(self, *, timeout: float | None = None) -> None:
        """Begin to receive messages, so that from now on the relay keeps them for this device. `messages` and
        `on_message` do it, too. Raises CallFailed, TimedOut, or what ended the client."""
        await self._wait_agreed(self._ask_for_messages(), timeout)

    async def messages(self, timeout: float | None = None, count: int | None = None) -> AsyncIterator[Message]:
        """Messages as they come. Ends after `count` of them, or once none came for `timeout` seconds.

        A message is acknowledged when the next one is asked for, by `message.ack()`, or when the client is closed
        after its loop was left. What is not acknowledged comes again when this device connects the next time.
        """
        self._ask_for_messages()
        self._ack_left()
        while count is None or count > 0:
            message = await self._next(self._messages, timeout)
            if message is None:
                return
            self._left.append(message)
            yield message
            self._left.remove(message)
            message.ack()
            count = count - 1 if count is not None else None

    async def signals(self, timeout: float | None = None, count: int | None = None) -> AsyncIterator[Signal]:
        """Signals as they come, and the latest 1,000 that came before. Ends as `messages` does."""
        while count is None or count > 0:
            signal = await self._next(self._signals, timeout)
            if signal is None:
                return
            yield signal
            count = count - 1 if count is not None else None

    async def serve(self, method: str, function: Callable[..., Any], *, timeout: float | None = None) -> None:
        """Answer calls of `method` with what `function(call, ...)` returns. Calls run side by side.

        Raises TimedOut if the relay does not know of it in time (the client goes on asking), or what ended the client.
        """
        self._methods.add(method, function)
        with self._carrier as core:
            pending = core.announce(self._methods.names, time.monotonic())
        await self._wait_agreed(pending, timeout)

    async def serve_stream(
        self, service: str, handler: Callable[[Stream], Any], *, timeout: float | None = None
    ) -> None:
        """Hand each stream that is opened to `service` of our user to `handler(stream)`, in a task of its own.

        The stream is closed when the handler returns, and reset when it fails: with METHOD_FAILED, or with the code and
        the sentence of a MethodError. Errors as `serve`.
        """
        await self._wait_agreed(self._begin_service(service, handler), timeout)

    async def on_message(self, function: Callable[[Message], Any]) -> None:
        """Hand every message to `function` instead of to `messages`, those of one conversation in order. A message is
        acknowledged when `function` has returned or failed. Errors as `receive`."""
        self._set_message_handler(function)
        await self.receive()

    async def close(self, timeout: float | None = None) -> None:
        """Wait for the disk to have what is under way, tell the relay what was dealt with, and say goodbye.

        Raises TimedOut if messages are still under way at the end of the timeout: it is unknown whether they are
        stored. Calling it twice is allowed.
        """
        deadline_at = self._deadline(timeout)
        await self._lanes.close(remaining_s(deadline_at))
        await self._leave_streams(remaining_s(deadline_at))
        self._ack_left()
        await self._settle_up(deadline_at)
        with self._carrier as core:
            unstored = core.under_way
            problem = left_unstored(core, unstored)
            core.close()
        await self._carrier.ended(SOCKET_END_S)
        if unstored:
            raise problem

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            await self.close()
        else:
            await self._abandon()

    @functools.cached_property
    def files(self) -> "Files[Awaits]":
        """Sending, fetching and receiving files."""
        from relay_client.aio.files import FileWork  # noqa: PLC0415 - not every program has to do with files
        from relay_client.files.group import Files  # noqa: PLC0415

        return Files(FileWork(self))

    # Waiting.

    async def run_steps(self, steps: Steps[T]) -> T:
        """For the groups: ask the relay what the steps want to know."""
        try:
            question = next(steps)
            while True:
                pending = self._begin(question)
                if question.lasting:
                    await self._wait_agreed(pending, None)
                question = advance(steps, question, await self._wait(pending))
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]

    async def _wait_fate(
        self, posted: Posted, wanted: str, states: tuple[FateState, ...], timeout: float | None
    ) -> Fate:
        deadline_at = self._deadline(timeout)
        stored = await posted.wait(timeout)
        await self._wait_agreed(self._begin_to_follow(stored), remaining_s(deadline_at))
        await self._carrier.wait_for(
            lambda: posted._reached(*states) or self._core.phase is Phase.ENDED, remaining_s(deadline_at)
        )
        if not posted._reached(*states):
            self._core.check_alive()
            raise not_reached(self._core, posted.to, wanted)
        return posted.fate

    def _using(self) -> AbstractContextManager[Core]:
        return self._carrier

    def _reading(self) -> AbstractContextManager[Any]:
        return nullcontext()

    async def _wait(self, pending: Pending[T]) -> T:
        """For what the core settles by itself in time."""
        await self._carrier.wait_for(lambda: pending.done, None)
        return pending.result()

    async def _wait_agreed(self, pending: Pending[Any], timeout: float | None) -> None:
        if not await self._carrier.wait_for(lambda: pending.done, self.timeout if timeout is None else timeout):
            raise not_agreed(self._core)
        pending.result()

    async def _wait_stored(self, pending: Pending[Stored], to: str, timeout: float | None) -> Stored:
        timeout_s = self.timeout if timeout is None else max(0.0, timeout)
        if not await self._carrier.wait_for(lambda: pending.done, timeout_s):
            raise not_stored(self._core, to)
        return pending.result()

    async def _post(self, to: str, value: Value, content_type: str | None, deadline_at: float) -> Pending[Stored]:
        core = self._core
        if not await self._carrier.wait_for(
            lambda: core.has_room or core.phase is Phase.ENDED, remaining_s(deadline_at)
        ):
            raise no_room(core)
        with self._carrier:
            return core.post(to, value, time.monotonic(), content_type)

    async def _next(self, queue: deque[T], timeout: float | None) -> T | None:
        await self._carrier.wait_for(lambda: self._has_next(queue), timeout)
        return self._next_or_end(queue)  # type: ignore[no-any-return]

    # Ending.

    async def _settle_up(self, deadline_at: float) -> None:
        core = self._core
        await self._carrier.wait_for(lambda: core.under_way == 0 or core.phase is Phase.ENDED, remaining_s(deadline_at))
        if core.under_way or core.phase is Phase.ENDED:
            return
        with self._carrier:
            pending = core.sync(time.monotonic())
        if not await self._carrier.wait_for(lambda: pending.done, remaining_s(deadline_at)) or pending.error:
            log.warning("the relay did not confirm the last acknowledgements; those messages may come again")

    async def _leave_streams(self, timeout_s: float) -> None:
        with self._carrier as core:
            core.leave_streams()
        await self._stream_lanes.close(timeout_s)

    async def _abandon(self) -> None:
        await self._lanes.close(0)
        await self._leave_streams(0)
        with self._carrier as core:
            core.close()
        await self._carrier.ended(SOCKET_END_S)


__all__ = ["Client", "Message", "Posted", "Signal", "Stream"]
