"""What only the asyncio client does: coroutine handlers, many tasks, cancellation."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from relay_client import errors
from relay_client.aio import Client, Message

from relay.protocol import packets
from relay.protocol.packets import Ack, Call
from tests.relay_client.peer import Peer
from tests.relay_client.simulated import ignore

DELIVERED = ("alice", "laptop")


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def within_time() -> None:
        async with asyncio.timeout(30):
            await test()

    asyncio.run(within_time(), debug=True)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - it polls what other threads do
            await asyncio.sleep(0.005)


def test_it_shows_what_it_is(peer: Peer) -> None:
    async def test() -> None:
        async with Client(peer.url(), "laptop") as me:
            assert repr(me) == f"<Client alice/laptop at 127.0.0.1:{peer.port}, connected>"

    run(test)


def test_handlers_are_coroutines_side_by_side(peer: Peer) -> None:
    async def test() -> None:
        async with Client(peer.url(), "laptop") as me, Client(peer.url("bob"), "phone") as bob:
            both = asyncio.Barrier(2)

            async def meet(call: object, name: str) -> str:
                await both.wait()
                return name.upper()

            await bob.serve("meet", meet)
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(me.call("bob", "meet", name)) for name in ("one", "two")]
            assert [task.result() for task in tasks] == ["ONE", "TWO"]

    run(test)


def test_a_message_is_not_acknowledged_while_its_handler_runs(peer: Peer) -> None:
    async def test() -> None:
        async with Client(peer.url(), "laptop") as me:
            running, finish = asyncio.Event(), asyncio.Event()

            async def handle(message: Message) -> None:
                running.set()
                await finish.wait()

            await me.on_message(handle)
            with peer.use() as relay:
                relay.say("bob/phone", "alice", "hello")
            await running.wait()
            await me.who()
            assert peer.relay.sent(Ack) == []
            finish.set()
            await until(lambda: peer.relay.cursors[DELIVERED].get("alice@bob") == 1)

    run(test)


def test_a_handler_may_use_its_client(peer: Peer) -> None:
    async def test() -> None:
        async with Client(peer.url(), "laptop") as me, Client(peer.url("bob"), "phone") as bob:

            async def shout(message: Message) -> None:
                await message.reply(message.text.upper())

            await bob.on_message(shout)
            await me.send("bob", "hello")
            assert [m.text async for m in me.messages(count=1)] == ["HELLO"]

    run(test)


def test_a_cancelled_request_leaves_the_client_well(peer: Peer) -> None:
    async def test() -> None:
        async with Client(peer.url(), "laptop") as me:
            peer.relay.hook = ignore(Call, packets.Message)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await me.call("bob", "add")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await me.send("bob", "hello")
            peer.relay.hook = lambda session, packet: False
            peer.cut()
            assert (await me.send("bob", "again")).offset == 2

    run(test)


def test_a_handler_that_does_not_end_is_cancelled_by_closing(peer: Peer, caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        ended = asyncio.Event()

        async def handle(message: Message) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        me = Client(peer.url(), "laptop")
        await me.connect()
        await me.on_message(handle)
        with peer.use() as relay:
            relay.say("bob/phone", "alice", "hello")
        await until(lambda: bool(me._lanes._lanes))
        await me.close(timeout=0.05)
        await ended.wait()

    run(test)
    assert "cancelled" in caplog.text


def test_cancelling_a_connection_attempt_leaves_nothing_behind(peer: Peer) -> None:
    async def test() -> None:
        peer.stalled = True
        me = Client(peer.url())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await me.connect()
        assert isinstance(me._core.error, errors.ClientClosed)
        await until(lambda: len(asyncio.all_tasks()) == 1)

    run(test)


def test_leaving_a_loop_and_closing_acknowledges(peer: Peer) -> None:
    async def test() -> None:
        with peer.use() as relay:
            for number in range(3):
                relay.say("bob/phone", "alice", str(number))
        async with Client(peer.url(), "laptop") as me:
            async for message in me.messages():
                if message.text == "1":
                    break
        assert peer.relay.cursors[DELIVERED] == {"alice@bob": 2}

    run(test)
