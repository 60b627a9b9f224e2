"""A session over a real socket pair: bytes in, bytes out, and every way it can end."""

import logging

import gevent
import msgpack
import pytest

from relay.protocol.codes import CloseCode, ErrorCode
from relay.protocol.frames import encode_frame
from relay.protocol.limits import BODY_MAX, FRAME_MAX, MESSAGE_WINDOW
from relay.protocol.packets import (
    Ack,
    Call,
    Close,
    Delivery,
    Error,
    Fault,
    Message,
    Packet,
    Ping,
    Pong,
    Result,
    Signal,
    Stored,
    Welcome,
    encode,
)
from relay.session.session import Phase
from relay.transport import connection as connection_module
from tests.loop import turn, until
from tests.session.wire import Wire


def signal(to: str, body: bytes = b"x", *, id: int | None = None, sender: str = "alice/phone") -> Signal:
    return Signal(sender, to, id, "", body)


def test_a_signal_arrives_byte_for_byte(wire: Wire) -> None:
    _, alice = wire.connect("alice")
    _, bob = wire.connect("bob")
    alice.send(signal("bob"))
    assert bob.receive() == signal("bob")


def test_a_run_of_signals_arrives_whole_however_it_is_cut(wire: Wire) -> None:
    session, alice = wire.connect("alice")
    other = wire.town.join("bob")
    frames = b"".join(encode(signal("bob", bytes([n]) * (20 if n < 90 else 21))) for n in range(100))
    for size in (1, 3, 7, 36, 1000, len(frames)):
        for start in range(0, len(frames), size):
            session.receive(frames[start : start + size])
        assert b"".join(sent for sent, _ in other.outlet.signalled) == frames
        assert sum(count for _, count in other.outlet.signalled) == 100
        other.outlet.signalled.clear()
        other.outlet.drain()
    alice.close()


def test_a_run_is_forwarded_as_one_slice(wire: Wire) -> None:
    session, _ = wire.connect("alice")
    bob = wire.town.join("bob")
    frames = encode(signal("bob")) * 50
    session.receive(frames + encode(signal("bob", b"other")))
    assert [count for _, count in bob.outlet.signalled] == [50, 1]


def test_signals_between_other_packets_keep_their_order(wire: Wire) -> None:
    _, alice = wire.connect("alice")
    _, bob = wire.connect("bob")
    sent: list[Packet] = []
    for number in range(10):
        sent += [signal("bob", bytes([number])), Call("alice/phone", "bob/phone", number, "m", 1000, "", b"")]
    alice.send(*sent)
    assert [bob.receive() for _ in sent] == sent


def test_signals_follow_who_comes_and_goes(wire: Wire) -> None:
    session, _ = wire.connect("alice")
    phone = wire.town.join("bob")
    session.receive(encode(signal("bob")))
    desk = wire.town.join("bob", "desk")
    session.receive(encode(signal("bob")))
    phone.end(CloseCode.NORMAL, "bye")
    session.receive(encode(signal("bob")))
    desk.end(CloseCode.NORMAL, "bye")
    session.receive(encode(signal("bob")))
    again = wire.town.join("bob")
    session.receive(encode(signal("bob")))
    assert [len(other.outlet.signalled) for other in (phone, desk, again)] == [2, 2, 1]
    assert session.outlet.size == 0


def test_a_signal_to_nobody_is_an_error_only_if_it_has_an_id(wire: Wire) -> None:
    _, alice = wire.connect("alice")
    alice.send(signal("nobody"), signal("nobody", id=7))
    error = alice.receive()
    assert isinstance(error, Error)
    assert error[:3] == (16, 7, ErrorCode.NO_SUCH_SESSION)


def test_a_numbered_signal_arrives_like_any_other(wire: Wire) -> None:
    _, alice = wire.connect("alice")
    _, bob = wire.connect("bob")
    alice.send(signal("bob", id=7), Ping(1))
    assert bob.receive() == signal("bob", id=7)
    assert alice.receive() == Pong(1)


def test_a_signal_to_oneself_comes_back_but_one_to_a_room_does_not(wire: Wire) -> None:
    _, alice = wire.connect("alice", rooms=("#ops",))
    bob = wire.town.join("bob", rooms=("#ops",))
    alice.send(signal("alice"), signal("#ops"), signal("#ops", id=5), Ping(1))
    assert [alice.receive(), alice.receive()] == [signal("alice"), Pong(1)]
    assert len(bob.outlet.signalled) == 2


def test_who_left_a_room_no_longer_reaches_it(wire: Wire) -> None:
    session, alice = wire.connect("alice", rooms=("#ops",))
    bob = wire.town.join("bob", rooms=("#ops",))
    session.receive(encode(signal("#ops")))
    wire.town.router.rooms.leave("#ops", "alice")
    session.receive(encode(signal("#ops")) * 2 + encode(signal("#ops", id=5)))
    error = alice.receive()
    assert isinstance(error, Error)
    assert error.code == ErrorCode.NO_SUCH_ROOM
    assert len(bob.outlet.signalled) == 1


def test_who_was_blocked_no_longer_reaches_the_blocker(wire: Wire) -> None:
    session, alice = wire.connect("alice")
    bob = wire.town.join("bob")
    session.receive(encode(signal("bob")))
    wire.town.router.blocks.add("bob", "alice")
    session.receive(encode(signal("bob")) * 2 + encode(signal("bob", id=5)))
    error = alice.receive()
    assert isinstance(error, Error)
    assert error.code == ErrorCode.BLOCKED
    assert len(bob.outlet.signalled) == 1


@pytest.mark.parametrize(
    "packet",
    [
        signal("bob", sender="bob/phone"),
        signal("bob", sender="alice", id=3),
        Message("bob/phone", "alice", 1, "", b""),
        Call("alice/other", "bob", 1, "m", 1000, "", b""),
        Result("bob/phone", "alice/phone", 1, "", b""),
        Fault("relay", "bob/phone", 1, 200, ""),
        Message("x" * 1_000_000, "bob", 1, "", b""),
    ],
)
def test_a_forged_sender_is_refused_and_the_session_stays(wire: Wire, packet: Packet) -> None:
    _, alice = wire.connect("alice")
    bob = wire.town.join("bob")
    alice.send(packet, Ping(1))
    error = alice.receive()
    assert isinstance(error, Error)
    assert error.code == ErrorCode.FORGED_SENDER
    assert "alice/phone" in error.sentence or len(error.sentence) > 200
    assert alice.receive() == Pong(1)
    assert bob.outlet.signalled == []
    assert bob.outlet.pushed == []


def test_who_sends_what_no_client_should_is_in_the_log_once(wire: Wire, caplog: pytest.LogCaptureFixture) -> None:
    session, _ = wire.connect("alice")
    for _ in range(5):
        session.receive(encode(signal("bob", sender="bob/phone")))
    session.receive(encode(signal("nobody", id=1)))
    lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(lines) == 1
    assert lines[0].startswith("refused a packet of alice/phone (test:alice): ")


def test_what_a_session_missed_is_in_the_log_when_it_ends(wired, caplog: pytest.LogCaptureFixture) -> None:
    wire = wired("alice", outbox_max_bytes=4096)
    session, client = wire.connect("alice", buffer_bytes=4096)
    for _ in range(300):
        session.outlet.signal(encode(signal("alice", bytes(1000))), 1)
        turn(1)
    dropped = session.outlet.dropped
    client.close()
    wire.until_gone(session)
    assert f"missed {dropped} signals" in caplog.text


@pytest.mark.parametrize(
    ("packet", "code"),
    [
        (Signal("alice/phone", "bob", None, "x" * 129, b""), ErrorCode.TOO_LARGE),
        (Signal("alice/phone", "bob", None, "é" * 65, b""), ErrorCode.TOO_LARGE),
        (Signal("alice/phone", "bob", None, "", bytes(BODY_MAX + 1)), ErrorCode.TOO_LARGE),
        (Message("alice/phone", "bob", 1, "", bytes(BODY_MAX + 1)), ErrorCode.TOO_LARGE),
        (Call("alice/phone", "bob", 1, "é" * 33, 1000, "", b""), ErrorCode.TOO_LARGE),
        (Result("alice/phone", "bob/phone", 1, "", b""), ErrorCode.TIMED_OUT),
        (Fault("alice/phone", "bob/phone", 1, 1000, "no"), ErrorCode.TIMED_OUT),
        (Message("alice/phone", "bob/phone", 1, "", b""), ErrorCode.BAD_ADDRESS),
    ],
)
def test_what_is_refused_is_explained_and_the_session_stays(wire: Wire, packet: Packet, code: ErrorCode) -> None:
    _, alice = wire.connect("alice")
    wire.town.join("bob")
    alice.send(packet, Ping(1))
    error = alice.receive()
    assert isinstance(error, Error)
    assert error.code == code
    assert error.sentence
    assert alice.receive() == Pong(1)


def test_a_message_whose_delivery_would_not_fit_is_refused_before_it_is_stored(wire: Wire) -> None:
    session, alice = wire.connect("alice")
    fields = (17, "alice/phone", "bob", 1, "", bytes(BODY_MAX), bytes(900))
    session.receive(encode_frame(msgpack.packb(fields)))
    error = alice.receive()
    assert isinstance(error, Error)
    assert error[:3] == (17, 1, ErrorCode.TOO_LARGE)
    assert not wire.town.log.can["commit"]


def test_an_unknown_packet_type_is_refused_with_its_id_and_ignored(wire: Wire) -> None:
    _, alice = wire.connect("alice")
    alice.send(encode_frame(msgpack.packb((99, "a", "b", 5))), encode_frame(msgpack.packb((99,))), Ping(2))
    assert [packet[:3] for packet in (alice.receive(), alice.receive())] == [
        (99, 5, ErrorCode.UNKNOWN_PACKET),
        (99, None, ErrorCode.UNKNOWN_PACKET),
    ]
    assert alice.receive() == Pong(2)


def test_messages_calls_and_acknowledgements_take_their_ways(wire: Wire) -> None:
    _, alice = wire.connect("alice")
    _, bob = wire.connect("bob")
    alice.send(Call("alice/phone", "relay", 1, "messages.receive", 1000, "", b""))
    until(lambda: wire.town.log.can["commit"])
    wire.town.log.run()
    assert isinstance(alice.receive(), Result)
    message = Message("bob/phone", "alice", 1, "text/plain", b"hello")
    bob.send(message)
    until(lambda: wire.town.log.can["commit"])
    wire.town.log.run()
    assert bob.receive() == Stored(1, "alice@bob", 1, 1000)
    assert alice.receive() == Delivery("alice@bob", 1, 1000, encode(message)[4:])
    alice.send(Ack("alice@bob", 1, 1), Pong(0), Ping(1))
    assert alice.receive() == Pong(1)
    wire.town.router.conversations.save_cursors(lambda problem: None)
    wire.town.log.run()
    assert wire.town.log.store.backlog("alice", "phone") == []


def test_a_call_is_answered_by_another_session(wire: Wire) -> None:
    _, alice = wire.connect("alice")
    _, bob = wire.connect("bob")
    call = Call("alice/phone", "bob/phone", 5, "add", 1000, "", b"")
    alice.send(call)
    assert bob.receive() == call
    result = Result("bob/phone", "alice/phone", 5, "", b"7")
    bob.send(result)
    assert alice.receive() == result


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\0\0\0\0", CloseCode.BAD_FRAME),
        (b"\xff\xff\xff\xff", CloseCode.BAD_FRAME),
        ((FRAME_MAX + 1).to_bytes(4, "big"), CloseCode.BAD_FRAME),
        (encode_frame(b"\xc0"), CloseCode.BAD_PACKET),
        (encode_frame(b"\x92\x05"), CloseCode.BAD_PACKET),
        (encode_frame(b"\x92\x05\x90"), CloseCode.BAD_PACKET),
        (encode_frame(b"\x92\x05\x01\x01"), CloseCode.BAD_PACKET),
        (encode_frame(b"\x92\x05\xff"), CloseCode.BAD_PACKET),
        (b"GET / HTTP/1.1\r\n\r\n", CloseCode.BAD_FRAME),
        (encode(Welcome(1, "a/b", b"", 1, 1, 1, 1, None, "", "")), CloseCode.NOT_ALLOWED_NOW),
        (encode(Stored(1, "a@b", 1, 1)), CloseCode.NOT_ALLOWED_NOW),
    ],
)
def test_who_breaks_the_protocol_is_told_and_closed(wire: Wire, data: bytes, code: CloseCode) -> None:
    session, alice = wire.connect("alice")
    alice.send(Ping(1), data, Ping(2))
    first, last = alice.rest()
    assert first == Pong(1)
    assert isinstance(last, Close)
    assert last.code == code
    assert last.sentence
    assert wire.town.router.directory.session("alice/phone") is None
    alice.close()
    wire.until_gone(session)


def test_a_client_that_says_goodbye_is_answered_and_gone(wire: Wire) -> None:
    session, alice = wire.connect("alice")
    alice.send(Close(CloseCode.NORMAL, "bye", None), Ping(1))
    assert alice.closing().code == CloseCode.NORMAL
    assert session.phase is Phase.CLOSING
    alice.close()
    wire.until_gone(session)
    assert session.phase is Phase.GONE
    assert wire.gone == [session]


def test_a_client_that_vanishes_leaves_the_router_and_is_reported_once(wire: Wire) -> None:
    session, alice = wire.connect("alice")
    alice.close()
    wire.until_gone(session)
    assert wire.town.router.directory.session("alice/phone") is None
    session.end(CloseCode.NORMAL, "too late")
    session.abort()
    turn()
    assert wire.gone == [session]


def test_callers_of_a_client_that_vanishes_are_told(wire: Wire) -> None:
    _, alice = wire.connect("alice")
    _, bob = wire.connect("bob")
    alice.send(Call("alice/phone", "bob/phone", 5, "add", 1000, "", b""))
    bob.receive()
    bob.close()
    fault = alice.receive()
    assert isinstance(fault, Fault)
    assert fault[:4] == ("relay", "alice/phone", 5, ErrorCode.SESSION_GONE)


def test_everything_queued_goes_out_before_the_close_and_nothing_behind_it(wire: Wire) -> None:
    session, alice = wire.connect("alice")
    for number in range(100):
        session.outlet.push(encode(Ping(number)))
    session.end(CloseCode.SHUTTING_DOWN, "come back", 1234)
    session.outlet.push(encode(Ping(100)))
    session.outlet.signal(encode(Ping(101)), 1)
    *pings, last = alice.rest()
    assert pings == [Ping(number) for number in range(100)]
    assert last == Close(CloseCode.SHUTTING_DOWN, "come back", 1234)


def test_the_answer_to_a_message_of_a_session_that_ended_does_not_follow_its_close(wire: Wire) -> None:
    session, alice = wire.connect("alice")
    alice.send(Message("alice/phone", "bob", 1, "", b""))
    until(lambda: wire.town.log.can["commit"])
    wire.town.log.commit()
    session.end(CloseCode.REPLACED, "somebody else")
    wire.town.log.answer()
    assert [type(packet) for packet in alice.rest()] == [Close]


def test_a_replaced_session_is_told_and_the_newer_one_works(wire: Wire) -> None:
    older, first = wire.connect("alice")
    newer, second = wire.connect("alice")
    assert first.closing().code == CloseCode.REPLACED
    second.send(Ping(3))
    assert second.receive() == Pong(3)
    first.close()
    wire.until_gone(older)
    assert wire.town.router.directory.session("alice/phone") is newer


def test_a_closing_session_takes_no_more_packets(wire: Wire) -> None:
    session, alice = wire.connect("alice")
    bob = wire.town.join("bob")
    session.end(CloseCode.NORMAL, "bye")
    session.receive(encode(signal("bob")) + encode(Ping(1)))
    assert bob.outlet.signalled == []
    assert [type(packet) for packet in alice.rest()] == [Close]


def test_a_packet_that_ends_the_session_is_the_last_that_counts(wire: Wire) -> None:
    session, alice = wire.connect("alice")
    bob = wire.town.join("bob")
    session.receive(encode(signal("bob")) + encode(Close(4000, "", None)) + encode(signal("bob")))
    assert len(bob.outlet.signalled) == 1
    alice.rest()


def test_a_bug_of_ours_closes_one_session_and_is_loud(
    wire: Wire, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, alice = wire.connect("alice")

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(wire.town.router, "forward_call", fail)
    with caplog.at_level(logging.ERROR):
        alice.send(Call("alice/phone", "bob", 1, "m", 1000, "", b""), Ping(1))
        last = alice.closing()
    assert last.code == CloseCode.INTERNAL_ERROR
    assert last.retry_ms
    assert "ZeroDivisionError" in caplog.text
    alice.close()
    wire.until_gone(session)


def test_a_frame_sent_byte_by_byte_is_one_frame(wire: Wire) -> None:
    session, alice = wire.connect("alice")
    for byte in encode(Ping(7)) + encode(Ping(8)):
        session.receive(bytes([byte]))
    assert [alice.receive(), alice.receive()] == [Pong(7), Pong(8)]


def test_the_beginning_of_a_frame_is_kept_once_and_not_copied_with_each_byte(wire: Wire) -> None:
    session, _ = wire.connect("alice")
    frame = encode(signal("bob", bytes(500_000)))
    session.receive(frame[:400_000])
    kept = session._partial
    for place in range(400_000, 400_100):
        session.receive(frame[place : place + 1])
    assert session._partial is kept
    session.receive(frame[400_100:] + b"\0")
    assert bytes(session._partial) == b"\0"


def test_a_largest_frame_passes(wire: Wire) -> None:
    session, alice = wire.connect("alice")
    bob = wire.town.join("bob")
    frame = encode(signal("bob", bytes(BODY_MAX)))
    for start in range(0, len(frame), 65536):
        session.receive(frame[start : start + 65536])
    assert bob.outlet.signalled == [(frame, 1)]
    alice.close()


def test_a_paused_session_reads_again_when_it_is_resumed(wire: Wire) -> None:
    session, alice = wire.connect("alice")
    session.pause()
    alice.send(Ping(1))
    turn(10)
    assert session.outlet.size == 0
    assert not session.outlet.progress
    session.resume()
    assert alice.receive() == Pong(1)


def test_a_session_on_hold_stays_so_whoever_resumes_it(wire: Wire) -> None:
    """The relay is about to end: what comes now would not be answered, whatever the disk has got done meanwhile."""
    session, alice = wire.connect("alice")
    alice.send(*(Message("alice/phone", "bob", id, "", b"") for id in range(1, MESSAGE_WINDOW + 1)))
    until(lambda: session.storing == MESSAGE_WINDOW)
    session.hold()
    alice.send(Ping(1))
    wire.town.log.run()
    assert session.storing == 0
    turn(10)
    session.end(CloseCode.SHUTTING_DOWN, "come back")
    packets = [alice.receive() for _ in range(MESSAGE_WINDOW + 1)]
    assert Pong(1) not in packets


def test_a_sender_ahead_of_the_disk_feels_it_and_goes_on_later(wire: Wire) -> None:
    session, alice = wire.connect("alice")
    alice.send(*(Message("alice/phone", "bob", id, "", b"") for id in range(1, MESSAGE_WINDOW + 1)))
    until(lambda: session.storing == MESSAGE_WINDOW)
    alice.send(Ping(1))
    turn(10)
    assert not session.outlet.progress
    wire.town.log.run()
    packets = [alice.receive() for _ in range(MESSAGE_WINDOW + 1)]
    assert [p.id for p in packets[:-1]] == list(range(1, MESSAGE_WINDOW + 1))  # type: ignore[union-attr]
    assert packets[-1] == Pong(1)


def test_pausing_a_closing_session_does_not_keep_it_open(wire: Wire) -> None:
    session, alice = wire.connect("alice")
    session.end(CloseCode.NORMAL, "bye")
    session.pause()
    alice.close()
    wire.until_gone(session)


def test_an_ended_session_stays_until_its_client_has_read_everything(wired) -> None:
    wire = wired("alice")
    session, alice = wire.connect("alice", buffer_bytes=4096)
    for number in range(2000):
        session.outlet.push(encode(Ping(number)))
    turn()
    session.end(CloseCode.NORMAL, "bye")
    turn(10)
    assert session.phase is Phase.CLOSING
    assert session.outlet.size > 0
    *pings, last = alice.rest()
    assert len(pings) == 2000
    assert isinstance(last, Close)
    alice.close()
    wire.until_gone(session)


def test_a_slow_reader_loses_signals_that_are_counted_and_keeps_the_rest(wired) -> None:
    wire = wired("alice", "bob", outbox_max_bytes=64 * 1024)
    alice, _ = wire.connect("alice")
    bob, client = wire.connect("bob", buffer_bytes=4096)
    frames = encode(signal("bob", bytes(1000)))
    for _ in range(200):
        alice.receive(frames)
    turn()
    assert 0 < bob.outlet.dropped < 200
    dropped = bob.outlet.dropped
    bob.outlet.push(encode(Ping(1)))
    received = []
    while (packet := client.receive()) != Ping(1):
        received.append(packet)
    assert len(received) == 200 - dropped


def test_a_session_that_never_reads_its_answers_is_closed_with_the_reason(
    wired, caplog: pytest.LogCaptureFixture
) -> None:
    wire = wired("alice", outbox_max_bytes=64 * 1024)
    session, client = wire.connect("alice", buffer_bytes=4096)
    for _ in range(40):
        session.outlet.push(encode(signal("alice", bytes(100_000))))
        if session.phase is not Phase.OPEN:
            break
    assert session.phase is Phase.CLOSING
    assert "does not read" in caplog.text
    assert client.closing().code == CloseCode.SLOW_READER


def test_backlog_and_live_messages_go_through_a_small_outbox_in_order(wired) -> None:
    wire = wired("alice", "bob", outbox_max_bytes=4096)
    town = wire.town
    sender = town.join("bob")
    for id in range(1, 301):
        town.send(sender, "alice", id, bytes(500))
        if id % 50 == 0:
            town.log.run()
    session, client = wire.connect("alice", buffer_bytes=4096)
    client.send(Call("alice/phone", "relay", 1, "messages.receive", 1000, "", b""))
    pump = gevent.spawn(lambda: [(town.log.run(), gevent.sleep(0.0005)) for _ in iter(int, 1)])
    try:
        assert isinstance(client.receive(), Result)
        for id in range(301, 331):
            town.send(sender, "alice", id, bytes(500))
        offsets = [client.receive().offset for _ in range(330)]  # type: ignore[union-attr]
    finally:
        pump.kill()
    assert offsets == list(range(1, 331))
    assert session.phase is Phase.OPEN


def test_a_peer_that_resets_is_gone_and_nothing_is_raised(wire: Wire, capfd: pytest.CaptureFixture[str]) -> None:
    session, alice = wire.connect("alice")
    session.outlet.push(bytes(100_000))
    turn()
    alice.close()
    wire.until_gone(session)
    session.outlet.push(b"late")
    turn()
    assert "Traceback" not in capfd.readouterr().err


def test_a_client_that_does_not_hang_up_is_cut_off(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "LINGER_S", 0.01)
    session, alice = wire.connect("alice")
    session.end(CloseCode.NORMAL, "bye")
    wire.until_gone(session)
    assert alice.closing().code == CloseCode.NORMAL


def test_a_session_says_who_it_is(wire: Wire) -> None:
    session, _ = wire.connect("alice")
    assert repr(session) == "<Session alice/phone from test:alice, open>"
    assert session.peer == "test:alice"
