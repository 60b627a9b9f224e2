"""What only the blocking client does: threads, and connecting in the background."""

import threading
from collections.abc import Iterator

import pytest
from relay_client import Client, Message, errors

from relay.protocol.packets import Ack
from tests.relay_client.peer import Peer, until

DELIVERED = ("alice", "laptop")


@pytest.fixture
def me(peer: Peer) -> Iterator[Client]:
    client = Client(peer.url(), "laptop", timeout=20)
    yield client
    client._abandon()


def test_a_client_may_connect_meanwhile(peer: Peer) -> None:
    client = Client(peer.url(), wait=False)
    until(lambda: client.connected)
    client.close()


def test_a_message_before_the_first_connection_waits_for_it(peer: Peer) -> None:
    peer.vanish()
    client = Client(peer.url(), wait=False, patience_s=None)
    with pytest.raises(errors.TimedOut, match="has not been connected yet"):
        client.send("bob", "hello", timeout=0.01)
    peer.listen()
    assert client.send("bob", "hello", timeout=20).offset == 1
    client.close()


def test_threads_may_share_a_client(peer: Peer, me: Client) -> None:
    threads = [
        threading.Thread(target=lambda name=name: [me.send("bob", f"{name} {n}") for n in range(50)]) for name in "abcd"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    texts = [m.body.decode() for m in peer.relay.logs["alice@bob"]]
    for name in "abcd":
        assert [text for text in texts if text[0] == name] == [f"{name} {n}" for n in range(50)]


def test_a_message_is_not_acknowledged_while_its_handler_runs(peer: Peer, me: Client) -> None:
    running, finish = threading.Event(), threading.Event()

    def handle(message: Message) -> None:
        running.set()
        finish.wait(20)

    me.on_message(handle)
    with peer.use() as relay:
        relay.say("bob/phone", "alice", "hello")
    assert running.wait(20)
    me.who()
    assert peer.relay.sent(Ack) == []
    finish.set()
    peer.until(lambda relay: relay.cursors[DELIVERED].get("alice@bob") == 1)


def test_closing_ends_loops_in_other_threads(me: Client) -> None:
    ended: list[int] = []
    messages = me.messages()
    thread = threading.Thread(target=lambda: ended.append(len(list(messages))))
    thread.start()
    me.close()
    thread.join(20)
    assert ended == [0]


def test_no_thread_and_no_descriptor_is_left_behind(peer: Peer) -> None:
    before = threading.active_count()
    for _ in range(5):
        with Client(peer.url()) as me:
            me.on_message(lambda message: None)
            me.send("alice", "to myself")
    with pytest.raises(errors.LoginFailed):
        Client(peer.url(password="wrong"))
    until(lambda: threading.active_count() <= before)
