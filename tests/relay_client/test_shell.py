"""Both clients over real sockets, against a peer that misbehaves on demand: one suite, run on each.

What only one of them can do is in blocking/test_client.py and aio/test_client.py.
"""

import threading
from typing import Any

import pytest
from relay_client import Message, Signal, errors

from relay.protocol import packets
from relay.protocol.codes import CloseCode, ErrorCode
from relay.protocol.packets import Call
from tests.relay_client.conftest import ClientOf, Connect
from tests.relay_client.peer import Peer, until
from tests.relay_client.simulated import Session, ignore, refuse_messages

NOTHING_YET = 0.01  # for timeouts that are to run out
DELIVERED = ("alice", "laptop")


# Connecting.


def test_a_client_knows_who_it_is(peer: Peer, connect: Connect) -> None:
    me = connect()
    assert (me.session, me.user, me.device, me.connected) == ("alice/laptop", "alice", "laptop", True)
    assert repr(me) == f"<Client alice/laptop at 127.0.0.1:{peer.port}, connected>"


def test_without_a_device_it_is_a_temporary_one(connect: Connect) -> None:
    first, second = connect(device=None), connect(device=None)
    assert first.device.startswith("~") and len(first.device) == 9 and first.device != second.device


def test_a_wrong_password_is_told_at_once(client_of: ClientOf, peer: Peer) -> None:
    with pytest.raises(errors.LoginFailed, match="alice") as caught:
        client_of(peer.url(password="wrong-horse"))
    assert "wrong-horse" not in str(caught.value) and caught.value.code == CloseCode.LOGIN_FAILED


def test_a_relay_that_is_not_there_is_told_at_once(client_of: ClientOf, peer: Peer) -> None:
    peer.vanish()
    with pytest.raises(errors.ConnectFailed, match=f"127.0.0.1:{peer.port}.*check that the relay runs"):
        client_of(peer.url())


def test_a_relay_that_never_answers_is_given_up(client_of: ClientOf, peer: Peer) -> None:
    peer.stalled = True
    with pytest.raises(errors.ConnectFailed, match="in time"):
        client_of(peer.url(), timeout=0.1)


def test_patience_outlasts_a_relay_that_starts_late(client_of: ClientOf, peer: Peer) -> None:
    peer.vanish()
    starter = threading.Timer(0.1, peer.listen)
    starter.start()
    with client_of(peer.url(), patience_s=20) as me:
        assert me.connected
    starter.join()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_it_connects_over_tcp(client_of: ClientOf, host: str) -> None:
    with Peer(host=host) as peer, client_of(peer.url()) as me:
        assert me.send("bob", "hello").offset == 1


def test_it_connects_over_a_unix_socket(client_of: ClientOf, tmp_path: Any) -> None:
    with Peer(tmp_path / "relay socket@%") as peer, client_of(peer.url()) as me:
        assert me.send("bob", "hello").offset == 1
        peer.vanish()
        assert peer.path is not None
        peer.path.unlink()
    with pytest.raises(errors.ConnectFailed, match="no such socket"):
        client_of(peer.url())


def test_a_password_may_stand_beside_the_url(client_of: ClientOf, peer: Peer) -> None:
    with client_of(peer.url(password="").replace(":@", "@"), password="secret") as me:
        assert me.connected


# Sending.


def test_send_returns_where_the_message_stands(connect: Connect) -> None:
    me = connect()
    assert [me.send("bob", text).offset for text in ("one", "two")] == [1, 2]


def test_send_gives_up_waiting_but_not_the_message(peer: Peer, connect: Connect) -> None:
    me = connect()
    peer.relay.hook = ignore(packets.Message)
    with pytest.raises(errors.TimedOut, match="stays under way"):
        me.send("bob", "hello", timeout=NOTHING_YET)
    peer.relay.hook = lambda session, packet: False
    peer.cut()
    me.close()
    assert [m.body for m in peer.relay.logs["alice@bob"]] == [b"hello"]


def test_a_refusal_is_raised(peer: Peer, connect: Connect) -> None:
    peer.relay.hook = refuse_messages(ErrorCode.QUEUE_FULL, "later, please")
    with pytest.raises(errors.Refused, match="later, please") as caught:
        connect().send("bob", "hello")
    assert caught.value.retryable


def test_posts_are_many_at_once_and_wait_for_room(peer: Peer, connect: Connect) -> None:
    me = connect()
    posted = [me.post("bob", str(number)) for number in range(1000)]
    assert [post.wait().offset for post in posted] == list(range(1, 1001))
    assert all(post.done for post in posted) and posted[7].id == 8


def test_post_gives_up_when_no_room_comes(peer: Peer, connect: Connect) -> None:
    me = connect()
    peer.relay.hook = ignore(packets.Message)
    for number in range(256):
        me.post("bob", str(number))
    with pytest.raises(errors.TimedOut, match="256 messages are under way"):
        me.post("bob", "one more", timeout=NOTHING_YET)
    with pytest.raises(errors.TimedOut):
        me.send("bob", "one more", timeout=NOTHING_YET)


def test_waiting_for_a_post_can_time_out_and_go_on(peer: Peer, connect: Connect) -> None:
    me = connect()
    peer.relay.hook = ignore(packets.Message)
    post = me.post("bob", "hello")
    with pytest.raises(errors.TimedOut):
        post.wait(timeout=NOTHING_YET)
    peer.relay.hook = lambda session, packet: False
    peer.cut()
    assert post.wait().offset == 1


def test_a_large_message_gets_through(peer: Peer, connect: Connect) -> None:
    me = connect()
    me.send("bob", bytes(1_000_000))
    assert len(peer.relay.logs["alice@bob"][0].body) == 1_000_000


# Signals.


def test_signals_reach_live_sessions(connect: Connect) -> None:
    me, phone = connect(), connect("bob", "phone")
    me.signal("bob", {"typing": True})
    signal = next(phone.signals())
    assert (signal.sender, signal.sender_device, signal.value) == ("alice", "laptop", {"typing": True})
    signal.reply("seen")
    assert [s.text for s in me.signals(count=1)] == ["seen"]


def test_bytes_travel_with_what_they_are(connect: Connect) -> None:
    me, phone = connect(), connect("bob", "phone")
    me.signal("bob", b"\x89PNG", content_type="image/png")
    me.send("bob", b"GIF", content_type="image/gif")
    me.post("bob", "a,b", content_type="text/csv").wait()
    assert [(s.content_type, s.value) for s in phone.signals(count=1)] == [("image/png", b"\x89PNG")]
    received = [(m.content_type, m.value) for m in phone.messages(count=2)]
    assert received == [("image/gif", b"GIF"), ("text/csv", b"a,b")]


def test_signals_end_when_none_comes(connect: Connect) -> None:
    assert list(connect().signals(timeout=NOTHING_YET)) == []


def test_only_the_latest_signals_are_kept(connect: Connect) -> None:
    me = connect()
    for number in range(1100):
        me.signal("alice", number)
    me.call("relay", "presence.list")
    assert [s.value for s in me.signals(timeout=NOTHING_YET)] == list(range(100, 1100))


def test_a_signal_waits_for_a_socket_that_takes_nothing(peer: Peer, connect: Connect) -> None:
    me = connect()
    with peer.use(), pytest.raises(errors.TimedOut, match="waiting to be sent"):
        for _ in range(100):
            me.signal("bob", bytes(1_000_000), timeout=NOTHING_YET)


def test_a_signal_without_a_connection_is_an_error(peer: Peer, connect: Connect) -> None:
    me = connect()
    peer.vanish()
    until(lambda: not me.connected)
    with pytest.raises(errors.NotConnected):
        me.signal("bob", "hello")


# Calls.


def test_a_call_is_answered_by_a_served_method(connect: Connect) -> None:
    me, phone = connect(), connect("bob", "phone")
    phone.serve("add", lambda call, a, b=10: a + b)
    assert me.call("bob", "add", 1, 2) == 3
    assert me.call("bob", "add", a=1) == 11
    assert me.call("bob/phone", "add", a=1, b=5) == 6


def test_a_method_sees_who_calls(connect: Connect) -> None:
    me, phone = connect(), connect("bob", "phone")
    phone.serve("who", lambda call: [call.sender, call.sender_device, call.method])
    assert me.call("bob", "who") == ["alice", "laptop", "who"]


def test_callers_hear_what_is_wrong_and_nothing_of_the_inside(connect: Connect) -> None:
    me, phone = connect(), connect("bob", "phone")

    def fail(call: Any) -> None:
        raise RuntimeError("the database password is 1234")

    def out_of_paper(call: Any) -> None:
        raise errors.MethodError("out of paper", 1234)

    phone.serve("fail", fail)
    phone.serve("print", out_of_paper)
    phone.serve("add", lambda call, a, b: a + b)
    phone.serve("object", lambda call: object())
    expected = {
        "fail": (ErrorCode.METHOD_FAILED, "fail failed; its log says why"),
        "print": (1234, "out of paper"),
        "add": (ErrorCode.BAD_ARGUMENTS, "missing a required argument: 'a': the method is add(a, b)"),
        "object": (ErrorCode.METHOD_FAILED, "the answer of object cannot be sent; its log says why"),
    }
    for method, (code, sentence) in expected.items():
        with pytest.raises(errors.CallFailed) as caught:
            me.call("bob", method)
        assert (caught.value.code, caught.value.sentence) == (code, sentence)
    with pytest.raises(errors.CallFailed) as caught:
        me.call("bob/phone", "unheard-of")
    assert caught.value.code == ErrorCode.NO_SUCH_METHOD


def test_a_call_times_out(peer: Peer, connect: Connect) -> None:
    me = connect()
    peer.relay.hook = ignore(Call)
    with pytest.raises(errors.TimedOut):
        me.call("bob", "add", timeout=NOTHING_YET)
    with pytest.raises(errors.TimedOut):
        me.who(timeout=NOTHING_YET)


def test_a_call_under_way_when_the_connection_breaks_is_lost(peer: Peer, connect: Connect) -> None:
    me = connect()
    peer.relay.hook = ignore(Call)
    caught: list[BaseException] = []

    def call() -> None:
        try:
            me.call("bob", "add")
        except errors.RelayError as error:
            caught.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    peer.until(lambda relay: bool(relay.sent(Call)))
    peer.cut()
    thread.join()
    assert isinstance(caught[0], errors.ConnectionLost)


def test_who_lists_everybody(connect: Connect) -> None:
    me, _ = connect(), connect("bob", "phone")
    assert [(online.user, online.sessions) for online in me.who()] == [("alice", ("laptop",)), ("bob", ("phone",))]


# Receiving.


def test_messages_come_with_all_there_is_to_know(peer: Peer, connect: Connect) -> None:
    me = connect()
    with peer.use() as relay:
        relay.say("bob/phone", "alice", "hello")
    message = next(me.messages())
    assert (message.sender, message.sender_device, message.to) == ("bob", "phone", "alice")
    assert (message.conversation, message.offset, message.text) == ("alice@bob", 1, "hello")
    assert message.time.tzinfo is not None


def test_a_reply_goes_to_the_sender(peer: Peer, connect: Connect) -> None:
    me, bob = connect(), connect("bob", "phone")
    me.send("bob", "hello")
    stored = next(bob.messages()).reply("HELLO")
    assert (stored.conversation, stored.offset) == ("alice@bob", 2)


def test_messages_end_after_a_count_or_a_silence(peer: Peer, connect: Connect) -> None:
    me = connect()
    with peer.use() as relay:
        for number in range(3):
            relay.say("bob/phone", "alice", str(number))
    assert [m.text for m in me.messages(count=2)] == ["0", "1"]
    assert [m.text for m in me.messages(timeout=NOTHING_YET)] == ["2"]
    assert list(me.messages(count=0)) == []


def test_asking_for_the_next_message_acknowledges_the_one_before(peer: Peer, connect: Connect) -> None:
    me = connect()
    with peer.use() as relay:
        for number in range(3):
            relay.say("bob/phone", "alice", str(number))
    messages = me.messages()
    next(messages), next(messages)
    peer.until(lambda relay: relay.cursors[DELIVERED].get("alice@bob") == 1)


def test_a_message_can_be_acknowledged_by_itself(peer: Peer, connect: Connect) -> None:
    me = connect()
    with peer.use() as relay:
        relay.say("bob/phone", "alice", "hello")
    next(me.messages()).ack()
    peer.until(lambda relay: relay.cursors[DELIVERED].get("alice@bob") == 1)


def test_leaving_the_loop_and_closing_acknowledges(client_of: ClientOf, peer: Peer) -> None:
    with peer.use() as relay:
        for number in range(3):
            relay.say("bob/phone", "alice", str(number))
    with client_of(peer.url(), "laptop") as me:
        for message in me.messages():
            if message.text == "1":
                break
    assert peer.relay.cursors[DELIVERED] == {"alice@bob": 2}
    with client_of(peer.url(), "laptop") as me:
        assert [m.text for m in me.messages(count=1)] == ["2"]


def test_a_loop_that_fails_does_not_acknowledge_its_last_message(client_of: ClientOf, peer: Peer) -> None:
    with peer.use() as relay:
        for number in range(3):
            relay.say("bob/phone", "alice", str(number))
    with pytest.raises(ZeroDivisionError), client_of(peer.url(), "laptop") as me:
        for message in me.messages():
            if message.text == "1":
                raise ZeroDivisionError
    with client_of(peer.url(), "laptop") as me:
        assert [m.text for m in me.messages(count=2)] == ["1", "2"]


def test_a_new_loop_acknowledges_what_an_earlier_one_was_left_with(peer: Peer, connect: Connect) -> None:
    me = connect()
    with peer.use() as relay:
        for number in range(2):
            relay.say("bob/phone", "alice", str(number))
    for _ in me.messages():
        break
    for _ in me.messages():
        break
    peer.until(lambda relay: relay.cursors[DELIVERED].get("alice@bob") == 1)


def test_a_temporary_device_does_not_miss_the_answer(peer: Peer, connect: Connect) -> None:
    bob = connect("bob", "phone")
    bob.on_message(lambda message: message.reply(message.text.upper()))
    me = connect(device=None)
    me.send("bob", "hello")
    peer.until(lambda relay: len(relay.logs["alice@bob"]) == 2)
    assert [m.text for m in me.messages(count=1)] == ["HELLO"]


def test_of_messages_that_nobody_asks_for_the_latest_are_kept(
    peer: Peer, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay_client.shell.UNASKED_MAX", 3)
    me = connect(device=None)
    me.send("bob", "hello")
    with peer.use() as relay:
        for number in range(10):
            relay.say("bob/phone", "alice", str(number))
    me.who()
    assert [m.text for m in me.messages(count=3)] == ["7", "8", "9"]


def test_a_refusal_to_deliver_is_raised_where_messages_are_waited_for(peer: Peer, connect: Connect) -> None:
    def refuse(session: Session, packet: packets.Packet) -> bool:
        if isinstance(packet, Call):
            session.push(packets.Fault("relay", session.address, packet.id, ErrorCode.STORE_FAILED, "the disk is full"))
        return isinstance(packet, Call)

    me = connect()
    peer.relay.hook = refuse
    with pytest.raises(errors.CallFailed, match="the disk is full"):
        next(me.messages())
    with pytest.raises(errors.CallFailed, match="the disk is full"):
        me.receive()
    peer.relay.hook = lambda session, packet: False
    assert list(me.messages(timeout=NOTHING_YET)) == []


def test_without_a_connection_waiting_for_messages_ends_in_time(peer: Peer, connect: Connect) -> None:
    me = connect()
    peer.vanish()
    until(lambda: not me.connected)
    assert list(me.messages(timeout=NOTHING_YET)) == []
    with pytest.raises(errors.TimedOut, match="goes on asking"):
        me.receive(timeout=NOTHING_YET)
    with pytest.raises(errors.TimedOut, match="goes on asking"):
        me.serve("add", lambda call, a, b: a + b, timeout=NOTHING_YET)
    peer.listen()
    assert me.call("alice", "add", 1, 2) == 3


# Handlers.


def test_a_message_handler_gets_what_came_before_it_and_what_comes(peer: Peer, connect: Connect) -> None:
    me = connect(receive=True)
    texts: list[str] = []
    with peer.use() as relay:
        relay.say("bob/phone", "alice", "before")
    me.who()
    me.on_message(lambda message: texts.append(message.text))
    with peer.use() as relay:
        relay.say("bob/phone", "alice", "after")
    until(lambda: texts == ["before", "after"])
    peer.until(lambda relay: relay.cursors[DELIVERED].get("alice@bob") == 2)


def test_a_handler_that_fails_is_logged_and_its_message_not_repeated(
    peer: Peer, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    me = connect()

    def fail(message: Message) -> None:
        raise RuntimeError("no")

    me.on_message(fail)
    with peer.use() as relay:
        relay.say("bob/phone", "alice", "hello")
    peer.until(lambda relay: relay.cursors[DELIVERED].get("alice@bob") == 1)
    assert "RuntimeError: no" in caplog.text


def test_signals_go_to_their_handler(peer: Peer, connect: Connect) -> None:
    me, phone = connect(), connect("bob", "phone")
    me.signal("bob", "before")
    me.who()
    phone.who()
    seen: list[Signal] = []
    phone.on_signal(seen.append)
    me.signal("bob", "after")
    until(lambda: [s.text for s in seen] == ["before", "after"])
