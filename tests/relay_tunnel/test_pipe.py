"""Connections through a tunnel: all bytes, half-closed, held back, broken."""

import asyncio
import hashlib
import os
from collections.abc import Awaitable, Callable

from relay_tunnel.places import hang_up

from tests.relay_tunnel.conftest import Bench, connected, echo, reset_by_peer

Play = Callable[[Callable[[Bench], Awaitable[None]]], None]


async def digest(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Reads to the end, and answers then."""
    found = hashlib.sha256()
    while data := await reader.read(65536):
        found.update(data)
    writer.write(found.digest())
    writer.close()


def test_a_half_that_has_ended_leaves_the_other_open(play: Play) -> None:
    async def scene(bench: Bench) -> None:
        forward = await bench.tunnel(digest)

        async def one(number: int) -> None:
            reader, writer = await connected(forward)
            body = os.urandom(100_000 * number + 1)
            writer.write(body)
            writer.write_eof()
            assert await reader.read() == hashlib.sha256(body).digest()
            writer.close()

        await asyncio.gather(*(one(number) for number in range(40)))

    play(scene)


def test_the_target_may_end_its_half_first(play: Play) -> None:
    async def scene(bench: Bench) -> None:
        got: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"hello")
            writer.write_eof()
            got.set_result(await reader.read())
            writer.close()

        reader, writer = await connected(await bench.tunnel(greet))
        assert await reader.read() == b"hello"
        writer.write(b"thanks")
        writer.close()
        assert await got == b"thanks"

    play(scene)


def test_who_does_not_read_holds_back_the_sender_and_nobody_else(play: Play) -> None:
    size = 64 * 1024 * 1024

    async def scene(bench: Bench) -> None:
        release = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if await reader.readexactly(1) == b"w":
                await release.wait()
                await digest(reader, writer)
            else:
                await echo(reader, writer)

        forward = await bench.tunnel(serve)
        slow, fast = await connected(forward), await connected(forward)
        body = bytes(1024 * 1024)
        sent = 0

        async def pour() -> None:
            nonlocal sent
            slow.writer.write(b"w")
            for _ in range(size // len(body)):
                slow.writer.write(body)
                await slow.writer.drain()
                sent += len(body)
            slow.writer.write_eof()

        pouring = asyncio.create_task(pour())
        fast.writer.write(b"e")
        for number in range(100):
            fast.writer.write(b"%4d" % number)
            assert await fast.reader.readexactly(4) == b"%4d" % number
        before = -1
        while sent != before:  # the buffers of the system on the way are full when it does not get on
            before = sent
            await asyncio.sleep(0.3)
        assert sent < size / 2
        release.set()
        await pouring
        assert await slow.reader.read() == hashlib.sha256(bytes(size)).digest()
        slow.writer.close()
        fast.writer.close()

    play(scene)


def test_a_reset_of_either_side_is_one_at_the_other(play: Play) -> None:
    async def scene(bench: Bench) -> None:
        broken: asyncio.Queue[bool] = asyncio.Queue()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            command = await reader.readexactly(1)
            writer.write(b"!")
            await writer.drain()
            if command == b"b":
                await asyncio.sleep(0)
                hang_up(writer)
                return
            try:
                await reader.read()
                broken.put_nowait(False)
            except ConnectionError:
                broken.put_nowait(True)
            writer.close()

        forward = await bench.tunnel(serve)
        ends = await connected(forward)
        ends.writer.write(b"b")
        assert await reset_by_peer(ends)
        ends = await connected(forward)
        ends.writer.write(b"w")
        assert await ends.reader.readexactly(1) == b"!"
        hang_up(ends.writer)
        assert await broken.get()

    play(scene)


def test_what_came_before_an_end_is_not_lost(play: Play) -> None:
    async def scene(bench: Bench) -> None:
        async def answer_early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readexactly(1)
            writer.write(bytes(300_000))
            writer.close()

        forward = await bench.tunnel(answer_early)
        for _ in range(20):
            reader, writer = await connected(forward)
            writer.write(b"x")
            assert len(await reader.read()) == 300_000
            writer.close()

    play(scene)
