"""The end with the target: whom it lets in, and what it says when the target is not there."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest
from relay_client import StreamReset
from relay_tunnel import Place

from relay.protocol.codes import ErrorCode
from tests.relay_tunnel.conftest import Bench, connected, echo, reset_by_peer, unused_port

Play = Callable[[Callable[[Bench], Awaitable[None]]], None]


def test_who_is_not_meant_is_refused_with_a_sentence(play: Play, caplog: pytest.LogCaptureFixture) -> None:
    async def scene(bench: Bench) -> None:
        await bench.expose(await bench.target(echo))
        carol = await bench.client("carol")
        with pytest.raises(StreamReset) as refusal:
            await carol.streams.open("alice", "tunnel.thing")
        assert (refusal.value.code, refusal.value.sentence) == (
            ErrorCode.NOT_ALLOWED,
            "the tunnel 'thing' is not for carol",
        )
        assert await reset_by_peer(await connected(await bench.forward("carol")))

    play(scene)
    assert "connection 1 of carol/" in caplog.text and "is not for carol" in caplog.text


def test_everybody_may_come_if_nobody_is_named(play: Play) -> None:
    async def scene(bench: Bench) -> None:
        await bench.expose(await bench.target(echo), allowed=None)
        reader, writer = await connected(await bench.forward("carol"))
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        writer.close()

    play(scene)


def test_a_target_that_is_not_there_ends_the_connection_and_both_say_why(
    play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    port = unused_port()

    async def scene(bench: Bench) -> None:
        exposure = await bench.expose(Place("127.0.0.1", port))
        assert await exposure.probe() == "connection refused"
        forward = await bench.forward()
        assert await reset_by_peer(await connected(forward))
        await bench.target(echo, str(port))
        reader, writer = await connected(forward)
        writer.write(b"now")
        assert await reader.readexactly(3) == b"now"
        writer.close()
        assert await exposure.probe() == ""

    play(scene)
    assert f"cannot connect to 127.0.0.1:{port}: connection refused" in caplog.text
    assert "what is behind the tunnel 'thing' cannot be reached: connection refused" in caplog.text


def test_unix_sockets_at_both_ends(play: Play, socket_path: str) -> None:
    async def scene(bench: Bench) -> None:
        await bench.expose(await bench.target(echo, socket_path))
        reader, writer = await connected(await bench.forward(place=f"{socket_path}2"))
        writer.write(bytes(100_000))
        writer.write_eof()
        assert await reader.read() == bytes(100_000)
        writer.close()

    play(scene)


def test_closing_ends_what_runs_and_says_so(play: Play, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "relay_tunnel")

    async def scene(bench: Bench) -> None:
        exposure = await bench.expose(await bench.target(echo))
        ends = await connected(await bench.forward())
        ends.writer.write(b"x")
        assert await ends.reader.readexactly(1) == b"x"
        await exposure.close()
        assert await reset_by_peer(ends)
        assert len(asyncio.all_tasks()) < 20

    play(scene)
    assert "1 bytes sent, 1 received; stream 'tunnel.thing' with alice/" in caplog.text
    assert "the tunnel was closed" in caplog.text
