"""The end that listens: who is not there, more connections than streams, a relay that is restarted."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.relay_client.town import Town
from tests.relay_tunnel.conftest import Bench, bench_of, connected, echo, reset_by_peer

Play = Callable[[Callable[[Bench], Awaitable[None]]], None]

STREAMS_MAX = 256


def test_nobody_exposes_it(play: Play, caplog: pytest.LogCaptureFixture) -> None:
    async def scene(bench: Bench) -> None:
        forward = await bench.forward()
        assert await reset_by_peer(await connected(forward))
        await bench.client("alice")
        assert await reset_by_peer(await connected(forward))

    play(scene)
    assert "connection 1 to alice/thing closed: alice is not connected" in caplog.text
    assert "connection 2 to alice/thing closed: no session of alice offers the service 'tunnel.thing'" in caplog.text


def test_a_connection_for_which_there_is_no_room_waits(play: Play) -> None:
    async def scene(bench: Bench) -> None:
        forward = await bench.tunnel(echo)
        every = await asyncio.gather(*(connected(forward) for _ in range(STREAMS_MAX)))
        for reader, writer in every:
            writer.write(b"x")
            assert await reader.readexactly(1) == b"x"
        late = await connected(forward)
        late.writer.write(b"late")
        every[0].writer.close()
        assert await late.reader.readexactly(4) == b"late"
        for _, writer in [*every, late]:
            writer.close()

    play(scene)


def test_a_restarted_relay_ends_what_there_is_and_serves_what_comes(tmp_path: Path) -> None:
    town = Town(tmp_path)
    town.add("alice", "bob")

    async def main() -> None:
        async with bench_of(town) as bench:
            with town.open():
                forward = await bench.tunnel(echo)
                ends = await connected(forward)
                ends.writer.write(b"before")
                assert await ends.reader.readexactly(6) == b"before"
            assert await reset_by_peer(ends)
            with town.open():
                assert await eventually_echoes(forward)

    async def eventually_echoes(forward: object) -> bool:
        while True:
            reader, writer = await connected(forward)  # type: ignore[arg-type]
            writer.write(b"after")
            try:
                return await reader.readexactly(5) == b"after"
            except (ConnectionError, asyncio.IncompleteReadError):
                await asyncio.sleep(0.05)  # the other end is not there again yet
            finally:
                writer.close()

    asyncio.run(asyncio.wait_for(main(), 60))


def test_closing_ends_its_connections_and_its_file(play: Play, socket_path: str) -> None:
    async def scene(bench: Bench) -> None:
        await bench.expose(await bench.target(echo))
        forward = await bench.forward(place=socket_path)
        reader, writer = await connected(forward)
        writer.write(b"x")
        assert await reader.readexactly(1) == b"x"
        await forward.close()
        assert await reader.read() == b""
        writer.close()

    play(scene)
    assert not Path(socket_path.removeprefix("unix:")).exists()
