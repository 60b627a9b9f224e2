"""The end of a tunnel where the thing is: streams that come are connected to a place of this machine."""

import asyncio
import logging
from itertools import count
from typing import Any

from relay_client.aio import Client, Stream

from relay.protocol.addresses import user_of
from relay.protocol.codes import ErrorCode
from relay_tunnel.names import service_of
from relay_tunnel.pipe import Pipe, cancel_all, running, told
from relay_tunnel.places import Ends, Place, connect, why

log = logging.getLogger("relay_tunnel")

CONNECT_TIMEOUT_S = 10.0


class Exposure:
    """Offers `target` under a name to the users in `allowed`; None: to everybody who may reach us at all."""

    def __init__(self, client: Client, name: str, target: Place, allowed: frozenset[str] | None) -> None:
        self._client = client
        self._name = name
        self._service = service_of(name)
        self._target = target
        self._allowed = allowed
        self._numbers = count(1)
        self._running: set[asyncio.Task[Any]] = set()

    def __repr__(self) -> str:
        return f"<Exposure of {self._target} as {self._name}, {len(self._running)} connections>"

    async def start(self) -> None:
        """Offer it, now and after every reconnect. Errors as those of `serve_stream`."""
        await self._client.serve_stream(self._service, self._handle)

    async def close(self) -> None:
        """End its connections. What else is opened is refused, until the client is closed."""
        self._allowed = frozenset()
        await cancel_all(self._running)

    async def probe(self) -> str:
        """Why nothing can be reached at the target now; empty if something can."""
        try:
            ends = await connect(self._target, CONNECT_TIMEOUT_S)
        except (OSError, UnicodeError) as error:
            return why(error)
        ends.writer.close()
        return ""

    async def _handle(self, stream: Stream) -> None:
        with running(self._running):
            await self._carry(stream, f"connection {next(self._numbers)} of {stream.peer}")

    async def _carry(self, stream: Stream, who: str) -> None:
        user = user_of(stream.peer)
        if self._allowed is not None and user not in self._allowed:
            log.warning("%s refused: the tunnel %r is not for %s", who, self._name, user)
            stream.reset(ErrorCode.NOT_ALLOWED, f"the tunnel {self._name!r} is not for {user}")
            return
        ends = await self._reach(stream, who)
        if ends is None:
            return
        stream.accept()
        log.info("%s goes to %s", who, self._target)
        pipe = Pipe(stream, ends)
        problem = await pipe.run()
        log.info("%s ended: %s", who, told(pipe, problem))

    async def _reach(self, stream: Stream, who: str) -> Ends | None:
        try:
            return await connect(self._target, CONNECT_TIMEOUT_S)
        except (OSError, UnicodeError) as error:
            log.warning("%s refused: cannot connect to %s: %s", who, self._target, why(error))
            sentence = f"what is behind the tunnel {self._name!r} cannot be reached: {why(error)}"
            stream.reset(ErrorCode.METHOD_FAILED, sentence)
        except asyncio.CancelledError:
            stream.reset(ErrorCode.CANCELLED, "the tunnel was closed")
            raise
        return None
