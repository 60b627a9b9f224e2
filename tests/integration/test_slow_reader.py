"""A client that does not read: signals to it are dropped and counted, messages wait in the log, nobody else waits."""

import re

from relay.protocol.codes import ErrorCode
from relay.protocol.packets import Call, Delivery, Fault, Ping, Pong, Signal, Stored, encode
from relay.protocol.payloads import decode_body
from tests.integration.peer import Peer, message_in
from tests.integration.stage import Stage

MIB = 1024 * 1024

# What the relay may hold for one slow reader: its outbox of 1 MiB a few times over, as bytes are joined and sliced.
MEMORY_BYTES = 24 * MIB

# Large messages, in all many times what an outbox holds.
MANY = 400


def numbered(number: int) -> bytes:
    return number.to_bytes(4, "big") + bytes(100_000)


def store_many(sender: Peer, user: str, used: int) -> None:
    """Send MANY large messages, with ids above `used`, to a user who has none from this sender yet."""
    for number in range(1, MANY + 1):
        sender.message(user, used + number, numbered(number))
        if number % 20 == 0:
            assert [sender.expect(Stored).offset for _ in range(20)][-1] == number


def test_signals_are_dropped_counted_and_told(stage: Stage) -> None:
    slow, sender = stage.session(receive_buffer_bytes=4096), stage.session()
    before = stage.relay.resident_bytes()
    sent, body = 1000, bytes(100_000)
    for number in range(sent):
        sender.signal(slow.address, number.to_bytes(4, "big") + body)
    sender.alive()
    assert stage.relay.resident_bytes() - before < MEMORY_BYTES
    stage.undisturbed()
    sender.call(slow.address, 1)
    received = []
    while isinstance(packet := slow.packet(), Signal):
        received.append(packet.body[:4])
    assert isinstance(packet, Call)
    assert received == sorted(received)
    notice = slow.expect(Signal)
    assert notice.sender == "relay"
    told = decode_body(notice.content_type, notice.body)
    assert told == {"event": "dropped", "signals": sent - len(received)}
    slow.alive()


def test_signals_that_one_missed_until_the_end_are_in_the_log(stage: Stage) -> None:
    slow, sender = stage.session(receive_buffer_bytes=4096), stage.session()
    for _ in range(200):
        sender.signal(slow.address, bytes(100_000))
    sender.alive()
    slow.close()
    line = stage.relay.process.await_line(slow.name, "WARNING", slow.address, "missed")
    missed = re.search(r"missed (\d+) signals", line)
    assert missed is not None
    assert 0 < int(missed[1]) < 200


def test_a_session_that_does_not_keep_up_gets_no_calls(stage: Stage) -> None:
    """Until its queue is full the calls go through; the kernel's buffers decide when that is."""
    slow, sender = stage.session(receive_buffer_bytes=4096), stage.session()
    body = bytes(100_000)
    for number in range(1, 30):
        for _ in range(20):
            sender.signal(slow.address, body)
        sender.send(Call(sender.address, slow.address, number, "work", 20_000, "", body), Ping(number))
        answer = sender.packet()
        if answer != Pong(number):
            break
    assert isinstance(answer, Fault)
    assert answer[:4] == ("relay", sender.address, number, ErrorCode.QUEUE_FULL)
    assert slow.address in answer.sentence


def test_messages_wait_in_the_log(stage: Stage) -> None:
    slow, sender = stage.session(receive_buffer_bytes=4096), stage.session()
    quick = stage.session()
    slow.receive_messages()
    quick.receive_messages()
    # What fills the database's caches is not the slow reader's fault.
    store_many(sender, stage.user(), 0)
    before = stage.relay.resident_bytes()
    store_many(sender, slow.user, MANY)
    sender.store(quick.user, 2 * MANY + 1, b"you do not wait")
    assert message_in(quick.expect_delivery()).body == b"you do not wait"
    assert stage.relay.resident_bytes() - before < MEMORY_BYTES
    for number in range(1, MANY + 1):
        delivery = slow.expect(Delivery)
        assert delivery.offset == number
        assert message_in(delivery).body == numbered(number)
    sender.store(slow.user, 2 * MANY + 2, b"and live again")
    assert message_in(slow.expect(Delivery)).body == b"and live again"
    slow.alive()


def test_one_who_leaves_its_answers_unread_is_closed(stage: Stage) -> None:
    """Answers cannot be dropped and are in no log: who asks on without reading has to come back."""
    slow = stage.session(receive_buffer_bytes=4096)
    before = stage.relay.resident_bytes()
    # Signals to nobody: each refusal is three times as long.
    questions = b"".join(encode(Signal(slow.address, "x", number, "", b"")) for number in range(1000))
    try:
        for _ in range(1000):
            slow.send_bytes(questions)
            if stage.relay.process.seen(slow.name, "closing"):
                break
    except ConnectionError:
        pass
    stage.one_log_line(slow, "WARNING", "it does not read its answers")
    assert stage.relay.resident_bytes() - before < MEMORY_BYTES
