"""A real relay, and tunnels through it: `exposed` offers a target that the test serves, `forwarded` leads to it."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from relay_client import aio
from relay_tunnel import Exposure, Forward, Place, parse_place, parse_tunnel
from relay_tunnel.places import Ends, connect

from tests.relay_client.peer import DEADLINE_S
from tests.relay_client.town import Town

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Bench:
    """Clients and tunnels of one test, all closed in its end."""

    def __init__(self, town: Town) -> None:
        self.town = town
        self._opened = AsyncExitStack()

    async def client(self, user: str) -> aio.Client:
        return await self._opened.enter_async_context(aio.Client(self.town.url(user), timeout=DEADLINE_S))

    async def target(self, serve: Serve, place: str = "0") -> Place:
        """Serve connections at a place of this machine."""
        if place.startswith("unix:"):
            await self._opened.enter_async_context(await asyncio.start_unix_server(serve, place[5:]))
            return parse_place(place)
        server = await self._opened.enter_async_context(await asyncio.start_server(serve, "127.0.0.1", int(place)))
        return Place("127.0.0.1", server.sockets[0].getsockname()[1])

    async def expose(self, target: Place, allowed: frozenset[str] | None = frozenset({"bob"})) -> Exposure:
        """Alice exposes it as `thing`."""
        exposure = Exposure(await self.client("alice"), "thing", target, allowed)
        await exposure.start()
        self._opened.push_async_callback(exposure.close)
        return exposure

    async def forward(self, user: str = "bob", place: str = "0") -> Forward:
        """`user` listens for alice's thing."""
        forward = Forward(await self.client(user), parse_tunnel("alice/thing"), parse_place(place))
        await forward.start()
        self._opened.push_async_callback(forward.close)
        return forward

    async def tunnel(self, serve: Serve) -> Forward:
        """Both ends of a tunnel to a target over TCP."""
        await self.expose(await self.target(serve))
        return await self.forward()

    async def close(self) -> None:
        await self._opened.aclose()


async def connected(forward: Forward) -> Ends:
    return await connect(forward.place, DEADLINE_S)


async def reset_by_peer(ends: Ends) -> bool:
    """Whether the connection is broken, rather than ended, by the other side. Reads what comes before."""
    try:
        await ends.reader.read()
    except ConnectionError:
        return True
    finally:
        ends.writer.close()
    return False


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


def unused_port() -> int:
    """A port where nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@asynccontextmanager
async def bench_of(town: Town) -> AsyncIterator[Bench]:
    bench = Bench(town)
    try:
        yield bench
    finally:
        await bench.close()


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    town = Town(tmp_path_factory.mktemp("town"))
    town.add("alice", "bob", "carol")
    with town.open():
        yield town


@pytest.fixture
def play(town: Town) -> Callable[[Callable[[Bench], Awaitable[None]]], None]:
    """Runs a scene with a bench, at most for as long as nothing here takes."""

    def run(scene: Callable[[Bench], Awaitable[None]]) -> None:
        async def main() -> None:
            async with bench_of(town) as bench, asyncio.timeout(2 * DEADLINE_S):
                await scene(bench)

        asyncio.run(main())

    return run


@pytest.fixture
def socket_path(tmp_path: Path) -> str:
    return f"unix:{tmp_path / 's'}"
