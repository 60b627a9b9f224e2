"""Carries bytes between a core and an asyncio transport: what the pump is to the blocking client."""

import asyncio
import logging
import time
from collections.abc import Callable
from types import TracebackType
from typing import cast

from relay_client.core import Core, Phase
from relay_client.errors import RelayError
from relay_client.events import Event
from relay_client.sentences import LOST_BY_END, why_lost, why_unreachable
from relay_client.tls import make_context
from relay_client.url import Endpoint

log = logging.getLogger("relay_client")


class Carrier:
    """Use it as a context manager around every use of the core: it yields the core, and sends afterwards.

    Everything runs in the event loop that `start` was called in. `on_event` must not use the core.
    """

    def __init__(self, core: Core, endpoint: Endpoint, dial_timeout_s: float, on_event: Callable[[Event], None]):
        self.core = core
        self._endpoint = endpoint
        self._dial_timeout_s = dial_timeout_s
        self._on_event = on_event
        self._loop: asyncio.AbstractEventLoop | None = None
        self._transport: asyncio.Transport | None = None
        self._reading = True
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at: float | None = None
        self._dialing: asyncio.Task[None] | None = None
        self._waiters: set[asyncio.Future[None]] = set()

    @property
    def unsent_bytes(self) -> int:
        """What the socket has not taken yet."""
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    def start(self) -> None:
        """Begin to connect."""
        self._loop = asyncio.get_running_loop()
        self._tick()

    def __enter__(self) -> Core:
        return self.core

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.follow_up()

    async def wait_for(self, condition: Callable[[], bool], timeout_s: float | None) -> bool:
        """Wait until the condition holds; it is asked again after every use of the core. False if time ran out."""
        try:
            async with asyncio.timeout(timeout_s):
                while not condition():
                    await self._changed()
        except TimeoutError:
            return condition()
        return True

    async def ended(self, timeout_s: float) -> None:
        """Wait until the transport is closed, after the end of the core."""
        await self.wait_for(lambda: self._transport is None, timeout_s)
        if self._transport is not None:
            self._transport.abort()

    def follow_up(self) -> None:
        """Send, hand out events, and arrange for what comes next."""
        self._send()
        while events := self.core.take_events():
            for event in events:
                self._on_event(event)
            self._send()
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()
        self._steer_transport()
        self._set_timer()

    # For the transport.

    def connection_made(self, transport: asyncio.Transport) -> None:
        """The socket is connected."""
        self._transport = transport
        self._reading = True
        with self as core:
            core.connected(time.monotonic())

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        with self as core:
            core.receive_data(data, time.monotonic())

    def connection_lost(self, transport: asyncio.Transport, error: Exception | None) -> None:
        """The socket is closed, by either side."""
        if transport is self._transport:
            self._transport = None
            with self as core:
                if core.has_connection:
                    reason = why_lost(error) if isinstance(error, OSError) else LOST_BY_END
                    core.lost(reason, time.monotonic())

    # What follows is ours.

    async def _changed(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)

    def _send(self) -> None:
        data = self.core.data_to_send()
        if data and self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def _steer_transport(self) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if not self.core.has_connection:
            transport.close()
        elif self._reading != self.core.wants_data:
            self._reading = self.core.wants_data
            if self._reading:
                transport.resume_reading()
            else:
                transport.pause_reading()

    def _set_timer(self) -> None:
        wake_at = self.core.wake_at if self.core.phase is not Phase.ENDED else None
        if wake_at == self._timer_at or self._loop is None:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = wake_at
        if wake_at is not None:
            self._timer = self._loop.call_later(max(0.0, wake_at - time.monotonic()), self._tick)

    def _tick(self) -> None:
        self._timer_at = None
        now = time.monotonic()
        with self as core:
            core.tick(now)
            # An old transport that is still closing comes first: there is one connection at a time.
            if core.should_dial(now) and self._loop is not None:
                core.dialing()
                self._dialing = self._loop.create_task(self._dial())

    async def _dial(self) -> None:
        try:
            if self._transport is not None:
                self._transport.abort()
                await self.wait_for(lambda: self._transport is None, self._dial_timeout_s)
            async with asyncio.timeout(self._dial_timeout_s):
                await self._connect()
        except OSError as error:
            with self as core:
                core.lost(why_unreachable(error, self._dial_timeout_s), time.monotonic())
        except Exception as error:
            log.exception("connecting failed; this is a bug")
            with self as core:
                core.end(RelayError(f"the client failed inside: {error!r}; see the log"))

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        endpoint = self._endpoint
        if endpoint.path is None:
            context = make_context(endpoint) if endpoint.tls else None
            await loop.create_connection(lambda: _Protocol(self), endpoint.host, endpoint.port, ssl=context)
        else:
            await loop.create_unix_connection(lambda: _Protocol(self), endpoint.path)


class _Protocol(asyncio.Protocol):
    """One connection's callbacks; those of an earlier one are told apart by their transport."""

    def __init__(self, carrier: Carrier) -> None:
        self._carrier = carrier
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._carrier.connection_made(self._transport)

    def data_received(self, data: bytes) -> None:
        self._carrier.data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is not None:
            self._carrier.connection_lost(self._transport, exc)

    def resume_writing(self) -> None:
        self._carrier.follow_up()
