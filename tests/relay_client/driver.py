"""An asyncio client behind the blocking client's surface, so that one suite of tests runs on both.

Its event loop runs in a thread of its own; every method hands a coroutine to it and waits.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, Self

from relay_client import aio
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

    def wait(self, timeout: float | None = None) -> Stored:
        return self._client.run(self._posted.wait(timeout))  # type: ignore[no-any-return]


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
        return getattr(self.client, name)

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
