"""An asyncio client behind the blocking client's surface, so that one suite of tests runs on both.

Its event loop runs in a thread of its own; every method hands a coroutine to it and waits.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, Self

from relay_client import aio
from relay_client.fate import Fate
from relay_client.questions import Awaits, Group
from relay_client.received import Online, Stored


class AioPosted:
    """A message under way."""

    def __init__(self, client: "AioClient", posted: aio.Posted) -> None:
        self._client = client
        self._posted = posted

    @property
    def id(self) -> int:
        return self._posted.id

    @property
    def done(self) -> bool:
        return self._posted.done

    @property
    def fate(self) -> Fate:
        return self._client.run(_call(lambda: self._posted.fate))  # type: ignore[no-any-return]

    def wait(self, timeout: float | None = None) -> Stored:
        return self._client.run(self._posted.wait(timeout))  # type: ignore[no-any-return]

    def wait_delivered(self, timeout: float | None = None) -> Fate:
        return self._client.run(self._posted.wait_delivered(timeout))  # type: ignore[no-any-return]

    def wait_read(self, timeout: float | None = None) -> Fate:
        return self._client.run(self._posted.wait_read(timeout))  # type: ignore[no-any-return]


class AioGroup:
    """A group of questions whose methods wait."""

    def __init__(self, client: "AioClient", group: Group[Awaits]) -> None:
        self._client = client
        self._group = group

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._group, name)
        return lambda *args, **options: self._client.run(method(*args, **options))


class AioReceived:
    """A message or signal whose `reply` and `ack` wait; everything else is its own."""

    def __init__(self, client: "AioClient", received: Any) -> None:
        self._client = client
        self._received = received

    def __getattr__(self, name: str) -> Any:
        return getattr(self._received, name)

    def reply(self, value: Any) -> Any:
        return self._client.run(self._received.reply(value))

    def ack(self) -> None:
        self._client.run(_call(self._received.ack))

    def mark_read(self) -> None:
        self._client.run(_call(self._received.mark_read))


class AioClient:
    """The blocking client's methods, one to one."""

    def __init__(self, url: str, device: str | None = None, timeout: float = 10, *, wait: bool = True, **options: Any):
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        try:
            self.client: aio.Client = self.run(_call(lambda: aio.Client(url, device, timeout, **options)))
            connecting = self.client.connect()
            if wait:
                self.run(connecting)
            else:
                asyncio.run_coroutine_threadsafe(connecting, self._loop)
        except BaseException:
            self._end()
            raise

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.client, name)
        return AioGroup(self, value) if isinstance(value, Group) else value

    def __repr__(self) -> str:
        return repr(self.client)

    def send(self, to: str, value: Any, **options: Any) -> Stored:
        return self.run(self.client.send(to, value, **options))  # type: ignore[no-any-return]

    def post(self, to: str, value: Any, **options: Any) -> AioPosted:
        return AioPosted(self, self.run(self.client.post(to, value, **options)))

    def signal(self, to: str, value: Any, **options: Any) -> None:
        self.run(self.client.signal(to, value, **options))

    def call(self, to: str, method: str, *args: Any, **options: Any) -> Any:
        return self.run(self.client.call(to, method, *args, **options))

    def who(self, **options: Any) -> list[Online]:
        return self.run(self.client.who(**options))  # type: ignore[no-any-return]

    def receive(self, **options: Any) -> None:
        self.run(self.client.receive(**options))

    def messages(self, timeout: float | None = None, count: int | None = None) -> Iterator[AioReceived]:
        return self._iterate(self.client.messages(timeout, count))

    def history(self, conversation: str, **options: Any) -> Iterator[AioReceived]:
        return self._iterate(self.client.history(conversation, **options))

    def follow(self, stored: Stored) -> AioPosted:
        return AioPosted(self, self.client.follow(stored))

    def mark_read(self, message: Any) -> None:
        self.run(_call(lambda: self.client.mark_read(message)))

    def typing(self, to: str) -> None:
        self.run(self.client.typing(to))

    def signals(self, timeout: float | None = None, count: int | None = None) -> Iterator[AioReceived]:
        return self._iterate(self.client.signals(timeout, count))

    def _iterate(self, source: AsyncIterator[Any]) -> Iterator[AioReceived]:
        while True:
            try:
                received = self.run(_next(source))
            except StopAsyncIteration:
                return
            yield AioReceived(self, received)

    def serve(self, method: str, function: Callable[..., Any], **options: Any) -> None:
        self.run(self.client.serve(method, function, **options))

    def on_message(self, function: Callable[..., Any]) -> None:
        self.run(self.client.on_message(function))

    def on_signal(self, function: Callable[..., Any]) -> None:
        self.run(_call(lambda: self.client.on_signal(function)))

    def close(self, **options: Any) -> None:
        self.run(self.client.close(**options))

    def _abandon(self) -> None:
        if not self._loop.is_closed():
            self.run(self.client._abandon())
            self._end()

    def _end(self) -> None:
        self.run(_drain())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if self._loop.is_closed():
            return
        try:
            self.run(self.client.__aexit__(kind, error, trace))
        finally:
            self._end()


async def _call(function: Callable[[], Any]) -> Any:
    return function()


async def _next(source: AsyncIterator[Any]) -> Any:
    return await anext(source)


async def _drain() -> None:
    """No task of the client may be left; those that were just told to end may do so."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    if left:
        _, running = await asyncio.wait(left, timeout=10)
        assert not running, running
