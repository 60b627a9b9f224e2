"""The end of a tunnel where the thing is wanted: connections to a place of this machine become streams."""

import asyncio
import logging
import socket
import time
from itertools import count
from typing import Any

from relay_client import RelayError, StreamReset
from relay_client.aio import Client, Stream

from relay.protocol.codes import ErrorCode
from relay_tunnel.names import TunnelAddress, service_of
from relay_tunnel.pipe import Pipe, cancel_all, running, told
from relay_tunnel.places import READ_BYTES, Ends, Place, bind, hang_up, unbind

log = logging.getLogger("relay_tunnel")

# The relay lets a session have 64 streams that are not accepted yet.
OPENING_MAX = 32

# A connection for which there is no room waits so long, and asks again with pauses that grow up to PAUSE_MAX_S.
ROOM_TIMEOUT_S = 10.0
PAUSE_S = 0.02
PAUSE_MAX_S = 0.5

_NO_ROOM = {ErrorCode.RATE_LIMITED, ErrorCode.QUEUE_FULL}


class Forward:
    """Listens at `place`, and opens a stream to the tunnel `to` for each connection."""

    def __init__(self, client: Client, to: TunnelAddress, place: Place) -> None:
        self._client = client
        self._to = to
        self._service = service_of(to.name)
        self.place = place
        self._listener: socket.socket | None = None
        self._server: asyncio.Server | None = None
        self._opening = asyncio.Semaphore(OPENING_MAX)
        self._numbers = count(1)
        self._running: set[asyncio.Task[Any]] = set()

    def __repr__(self) -> str:
        return f"<Forward from {self.place} to {self._to}, {len(self._running)} connections>"

    async def start(self) -> None:
        """Listen; `place` has the real port then. Raises PlaceError."""
        self._listener, self.place = bind(self.place)
        start = asyncio.start_unix_server if self.place.path else asyncio.start_server
        self._server = await start(self._handle, sock=self._listener, limit=READ_BYTES)

    async def close(self) -> None:
        """Stop listening, and end all connections."""
        if self._server is not None and self._listener is not None:
            self._server.close()
            unbind(self._listener, self.place)
        await cancel_all(self._running)

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with running(self._running):
            await self._carry(Ends(reader, writer), f"connection {next(self._numbers)} to {self._to}")

    async def _carry(self, ends: Ends, who: str) -> None:
        try:
            stream = await self._open()
        except RelayError as error:
            log.warning("%s closed: %s", who, error.sentence if isinstance(error, StreamReset) else error)
            hang_up(ends.writer)
            return
        except BaseException:
            hang_up(ends.writer)
            raise
        log.info("%s goes to %s", who, stream.peer)
        pipe = Pipe(stream, ends)
        problem = await pipe.run()
        log.info("%s ended: %s", who, told(pipe, problem))

    async def _open(self) -> Stream:
        """A stream; waits for a while if there is no room for it. Raises RelayError."""
        give_up_at, pause_s = time.monotonic() + ROOM_TIMEOUT_S, PAUSE_S
        while True:
            try:
                async with self._opening:
                    return await self._client.streams.open(self._to.to, self._service)
            except StreamReset as error:
                if error.code not in _NO_ROOM or time.monotonic() + pause_s > give_up_at:
                    raise
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, PAUSE_MAX_S)
