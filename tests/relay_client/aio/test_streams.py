"""Streams of the asyncio client through a real relay. What both shells share: tests/relay_client/test_streams."""

import asyncio
import hashlib
import os
from collections.abc import Awaitable, Callable, Iterator

import pytest
from relay_client import MethodError, aio, errors
from relay_client.core.streams import WINDOW_BYTES

from relay.protocol.codes import ErrorCode
from tests.relay_client.peer import DEADLINE_S
from tests.relay_client.town import Town

Scene = Callable[[aio.Client, aio.Client], Awaitable[None]]


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    town = Town(tmp_path_factory.mktemp("town"))
    town.add("alice", "bob")
    with town.open():
        yield town


def play(town: Town, scene: Scene) -> None:
    async def main() -> None:
        async with (
            aio.Client(town.url("alice"), timeout=DEADLINE_S) as alice,
            aio.Client(town.url("bob"), timeout=DEADLINE_S) as bob,
        ):
            await asyncio.wait_for(scene(alice, bob), DEADLINE_S)

    asyncio.run(main())


async def echo(stream: aio.Stream) -> None:
    async for chunk in stream:
        await stream.write(chunk)


def test_bytes_there_and_back_and_half_closed(town: Town) -> None:
    async def scene(alice: aio.Client, bob: aio.Client) -> None:
        await bob.serve_stream("echo", echo)
        sent, received = hashlib.sha256(), hashlib.sha256()
        async with await alice.streams.open("bob", "echo") as stream:

            async def upload() -> None:
                for _ in range(10):
                    block = os.urandom(1_000_000)
                    sent.update(block)
                    assert await stream.write(block) == len(block)
                stream.finish()

            task = asyncio.create_task(upload())
            received.update(await stream.read(123_457))
            async for chunk in stream:
                received.update(chunk)
            await task
            assert stream.peer == bob.session and await stream.read() == b""
            with pytest.raises(errors.StreamClosed):
                await stream.write(b"more")
        assert received.digest() == sent.digest()

    play(town, scene)


def test_a_writer_waits_for_the_reader_and_a_reader_in_vain_loses_nothing(town: Town) -> None:
    async def scene(alice: aio.Client, bob: aio.Client) -> None:
        release, ended = asyncio.Event(), asyncio.Event()

        async def slow(stream: aio.Stream) -> None:
            stream.accept({"opening": stream.opening})
            await ended.wait()
            await stream.write(str(len(await stream.read(WINDOW_BYTES))).encode())
            await release.wait()
            await stream.write(b"!")

        await bob.serve_stream("slow", slow)
        stream = await alice.streams.open("bob", "slow", "hi")
        assert stream.answer == {"opening": "hi"}
        stream.timeout = 0.2
        with pytest.raises(errors.TimedOut, match=f"took {WINDOW_BYTES} of"):
            await stream.write(bytes(2 * WINDOW_BYTES))
        ended.set()
        with pytest.raises(errors.TimedOut, match="sent nothing"):
            await stream.read()
        stream.timeout = None
        release.set()
        assert await stream.read() == str(WINDOW_BYTES).encode() + b"!"

    play(town, scene)


def test_refusals(town: Town) -> None:
    async def scene(alice: aio.Client, bob: aio.Client) -> None:
        async def fail(stream: aio.Stream) -> None:
            raise MethodError("closed", 1234) if stream.opening else RuntimeError("a secret")

        await bob.serve_stream("fail", fail)
        for service, opening, code in (
            ("fail", "own", 1234),
            ("fail", None, ErrorCode.METHOD_FAILED),
            ("nothing", None, ErrorCode.NO_SUCH_SERVICE),
        ):
            with pytest.raises(errors.StreamReset) as refusal:
                await alice.streams.open("bob", service, opening)
            assert refusal.value.code == code and "secret" not in str(refusal.value)
        with pytest.raises(errors.BadValue):
            await alice.streams.open("bob", "fail", timeout=61)

    play(town, scene)


def test_both_learn_that_the_other_is_gone(town: Town) -> None:
    async def scene(alice: aio.Client, bob: aio.Client) -> None:
        learned: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()

        async def wait(stream: aio.Stream) -> None:
            try:
                await stream.read()
            except errors.RelayError as error:
                learned.set_result(error)

        await bob.serve_stream("wait", wait)
        stream = await alice.streams.open("bob", "wait")
        await alice._abandon()
        gone = await learned
        assert isinstance(gone, errors.StreamReset) and gone.code == ErrorCode.SESSION_GONE
        with pytest.raises(errors.ClientClosed):
            await stream.read()

    play(town, scene)


def test_nobody_accepts_in_time(town: Town) -> None:
    async def scene(alice: aio.Client, bob: aio.Client) -> None:
        release = asyncio.Event()

        async def later(stream: aio.Stream) -> None:
            await release.wait()

        await bob.serve_stream("later", later)
        with pytest.raises(errors.StreamTimedOut):
            await alice.streams.open("bob", "later", timeout=0.1)
        release.set()

    play(town, scene)


def test_waiting_for_the_end_of_a_stream(town: Town) -> None:
    async def scene(alice: aio.Client, bob: aio.Client) -> None:
        async def serve(stream: aio.Stream) -> None:
            assert await stream.read() == b"" and stream.opening is not None
            if stream.opening == "break":
                raise MethodError("broken", 1234)

        await bob.serve_stream("serve", serve)
        stream = await alice.streams.open("bob", "serve", "end")
        stream.finish()
        await stream.wait_over()
        stream = await alice.streams.open("bob", "serve", "break")
        stream.finish()
        with pytest.raises(errors.StreamReset, match="broken"):
            await stream.wait_over()

    play(town, scene)
