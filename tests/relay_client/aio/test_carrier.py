"""Between core and transport: readers that do not keep up, and faults inside. The rest: test_shell."""

import asyncio

import pytest
from relay_client import errors
from relay_client.aio import Client

from tests.relay_client.aio.test_client import run, until
from tests.relay_client.peer import Peer


def test_a_program_that_is_far_behind_stops_reading_and_goes_on(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay_client.core.inbox.INBOX_MAX", 5)

    async def test() -> None:
        async with Client(peer.url(), "laptop") as me:
            await me.receive()
            with peer.use() as relay:
                for number in range(5):
                    relay.say("bob/phone", "alice", str(number))
            await until(lambda: len(me._messages) == 5)
            assert me._carrier._transport is not None and not me._carrier._transport.is_reading()
            with peer.use() as relay:
                for number in range(5, 10):
                    relay.say("bob/phone", "alice", str(number))
            assert [m.text async for m in me.messages(count=10)] == [str(number) for number in range(10)]

    run(test)


def test_a_fault_in_connecting_ends_the_client_loudly(
    peer: Peer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        async def fault() -> None:
            raise ZeroDivisionError("a bug")

        me = Client(peer.url())
        monkeypatch.setattr(me._carrier, "_connect", fault)
        with pytest.raises(errors.RelayError, match="a bug"):
            await me.connect()

    run(test)
    assert "this is a bug" in caplog.text


def test_many_waiters_are_woken_together(peer: Peer) -> None:
    async def test() -> None:
        async with Client(peer.url(), "laptop") as me:
            stored = await asyncio.gather(*(me.send("bob", str(number)) for number in range(500)))
            assert sorted(s.offset for s in stored) == list(range(1, 501))

    run(test)
