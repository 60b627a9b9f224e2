"""How both clients come back after a cut, and how they end: one suite, run on each, over real sockets.

What only one of them can do is in blocking/test_client.py and aio/test_client.py.
"""

import pytest
from relay_client import errors
from relay_client.events import Connected, Disconnected, Event

from relay.protocol import packets
from relay.protocol.codes import CloseCode
from relay.protocol.packets import Close
from tests.relay_client.conftest import ClientOf, Connect
from tests.relay_client.peer import Peer, until
from tests.relay_client.simulated import ignore

NOTHING_YET = 0.01  # for timeouts that are to run out
DELIVERED = ("alice", "laptop")


# Cuts.


@pytest.mark.parametrize("reset", [False, True])
def test_it_comes_back_after_a_cut(peer: Peer, connect: Connect, reset: bool) -> None:
    me = connect()
    events: list[Event] = []
    me.on_event(events.append)
    peer.cut(reset)
    assert me.send("bob", "hello").offset == 1
    until(lambda: len(events) == 2)
    assert isinstance(events[0], Disconnected) and events[1] == Connected("alice/laptop", again=True)


def test_cuts_in_the_middle_of_frames_lose_nothing_and_repeat_nothing(peer: Peer, connect: Connect) -> None:
    me = connect(receive=True)
    texts: list[str] = []
    me.on_message(lambda message: texts.append(message.text))
    peer.cut_after = 700
    peer.cut()
    posted = []
    for number in range(60):
        posted.append(me.post("bob", f"to bob {number}"))
        with peer.use() as relay:
            relay.say("bob/phone", "alice", f"to alice {number}")
    until(lambda: peer.connections > 4, "several cuts")
    peer.cut_after = None
    for post in posted:
        post.wait()
    until(lambda: len(texts) >= 60)
    log = [m.body.decode() for m in peer.relay.logs["alice@bob"]]
    assert [text for text in log if text.startswith("to bob")] == [f"to bob {n}" for n in range(60)]
    assert texts == [f"to alice {n}" for n in range(60)]


def test_a_relay_that_restarts_is_found_again(peer: Peer, connect: Connect) -> None:
    me = connect()
    peer.vanish()
    until(lambda: not me.connected)
    post = me.post("bob", "meanwhile")
    peer.listen()
    assert post.wait().offset == 1


@pytest.mark.parametrize("code", [CloseCode.NORMAL, CloseCode.SHUTTING_DOWN])
def test_it_comes_back_after_a_close_that_allows_it(peer: Peer, connect: Connect, code: CloseCode) -> None:
    me = connect()
    with peer.use() as relay:
        relay.sessions["alice/laptop"].close(code, retry_ms=0)
    assert me.send("bob", "hello").offset == 1 and peer.connections == 2


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (CloseCode.ACCOUNT_ENDED, errors.ConnectionEnded),
        (CloseCode.REPLACED, errors.Replaced),
        (CloseCode.BAD_PACKET, errors.ConnectionEnded),
    ],
)
def test_a_close_for_good_ends_everything_with_its_reason(
    peer: Peer, connect: Connect, code: CloseCode, kind: type[Exception]
) -> None:
    me = connect()
    peer.relay.hook = ignore(packets.Message)
    post = me.post("bob", "hello")
    messages = me.messages()
    with peer.use() as relay:
        relay.sessions["alice/laptop"].close(code)
    for use in (
        lambda: next(messages),
        post.wait,
        lambda: me.send("bob", "hello"),
        lambda: me.post("bob", "hello"),
        lambda: me.signal("bob", "hello"),
        lambda: me.call("bob", "add"),
        me.who,
        me.receive,
        lambda: next(me.signals()),
        lambda: me.serve("add", lambda call: 1),
    ):
        with pytest.raises(kind):
            use()
    me.close()


@pytest.mark.parametrize("code", [CloseCode.TOO_MANY_CONNECTIONS, CloseCode.TOO_MANY_ATTEMPTS])
def test_a_relay_that_is_full_is_told_with_its_sentence(client_of: ClientOf, peer: Peer, code: CloseCode) -> None:
    peer.relay.refusal = Close(code, "come back in a minute", 60_000)
    with pytest.raises(errors.ConnectFailed, match="come back in a minute"):
        client_of(peer.url())


# Closing.


def test_closing_says_goodbye_and_confirms_acknowledgements(client_of: ClientOf, peer: Peer) -> None:
    with client_of(peer.url(), "laptop") as me:
        with peer.use() as relay:
            relay.say("bob/phone", "alice", "hello")
        assert len(list(me.messages(count=1))) == 1
    peer.until(lambda relay: bool(relay.sent(Close)))
    assert peer.relay.cursors[DELIVERED] == {"alice@bob": 1}
    assert peer.relay.sent(Close)[0].code == CloseCode.NORMAL


def test_closing_waits_for_posts(client_of: ClientOf, peer: Peer) -> None:
    with client_of(peer.url()) as me:
        for number in range(200):
            me.post("bob", str(number))
    assert len(peer.relay.logs["alice@bob"]) == 200


def test_closing_tells_of_posts_that_were_not_stored(peer: Peer, connect: Connect) -> None:
    me = connect()
    peer.relay.hook = ignore(packets.Message)
    me.post("bob", "hello")
    with pytest.raises(errors.TimedOut, match="1 messages were not stored"):
        me.close(timeout=NOTHING_YET)
    me.close()


def test_closing_without_a_connection_does_not_wait_for_nothing(peer: Peer, connect: Connect) -> None:
    me = connect()
    peer.vanish()
    until(lambda: not me.connected)
    me.close()
    assert not me.connected


def test_a_failure_in_its_block_is_not_held_up_by_closing(client_of: ClientOf, peer: Peer) -> None:
    peer.relay.hook = ignore(packets.Message)
    with pytest.raises(ZeroDivisionError), client_of(peer.url()) as me:
        me.post("bob", "hello")
        raise ZeroDivisionError


def test_a_closed_client_says_so(connect: Connect) -> None:
    me = connect()
    me.close()
    me.close()
    with pytest.raises(errors.ClientClosed):
        me.send("bob", "hello")
    assert list(me.signals()) == [] and repr(me).endswith("ended>")


def test_what_is_said_last_is_not_lost_to_unread_data(client_of: ClientOf, peer: Peer) -> None:
    for number in range(20):
        with client_of(peer.url(), "laptop") as me:
            with peer.use() as relay:
                relay.sessions["alice/laptop"].push(packets.Ping(1))
            me.signal("bob", number)
    peer.until(lambda relay: len(relay.sent(packets.Signal)) == 20)
