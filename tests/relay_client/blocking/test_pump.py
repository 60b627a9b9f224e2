"""The thread between core and socket: full sockets, readers that do not keep up, and faults inside."""

import socket
import threading
from collections.abc import Iterator

import pytest
from relay_client import Client, errors

from relay.protocol.packets import Call, Signal
from tests.relay_client.peer import Peer, until
from tests.relay_client.simulated import ignore


@pytest.fixture
def me(peer: Peer) -> Iterator[Client]:
    client = Client(peer.url(), "laptop", timeout=20)
    yield client
    client._abandon()


def test_what_the_socket_does_not_take_at_once_goes_out_later(peer: Peer, me: Client) -> None:
    body = bytes(900_000)
    with peer.use():  # the peer reads nothing meanwhile
        while me._pump.unsent_bytes == 0:
            me.signal("bob", body)
    peer.until(lambda relay: bool(relay.sent(Signal)))
    me.send("bob", "behind it")
    assert all(signal.body == body for signal in peer.relay.sent(Signal))


def test_a_program_that_is_far_behind_leaves_messages_in_the_socket(
    peer: Peer, me: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay_client.core.inbox.INBOX_MAX", 5)
    messages = me.messages()
    me.signal("bob", "so that the peer knows that all is quiet")
    with peer.use() as relay:
        for number in range(5):
            relay.say("bob/phone", "alice", str(number))
    until(lambda: len(me._messages) == 5)
    with peer.use() as relay:
        for number in range(5, 10):
            relay.say("bob/phone", "alice", str(number))
    assert len(me._messages) == 5
    assert [next(messages).text for _ in range(10)] == [str(number) for number in range(10)]


def test_a_call_is_answered_though_the_program_is_far_behind(
    peer: Peer, me: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay_client.core.inbox.INBOX_MAX", 1)
    me.receive()
    with peer.use() as relay:
        for number in range(10):
            relay.say("bob/phone", "alice", str(number))
    assert [online.user for online in me.who()] == ["alice"]


def test_a_fault_inside_ends_the_client_loudly(
    peer: Peer, me: Client, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer.relay.hook = ignore(Call)

    def fault(data: bytes, now: float) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(me._core, "receive_data", fault)
    with peer.use() as relay:
        relay.say("bob/phone", "alice", "hello")
        relay.sessions["alice/laptop"].push(Signal("bob/phone", "alice", None, "", b""))
    with pytest.raises(errors.RelayError, match="a bug"):
        me.call("bob", "add")
    assert "this is a bug" in caplog.text


def test_the_socket_does_not_wait_for_company(me: Client) -> None:
    assert me._pump._socket is not None
    assert me._pump._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_its_thread_has_a_name_that_says_whose_it_is(me: Client) -> None:
    assert "relay alice/laptop" in [thread.name for thread in threading.enumerate()]
