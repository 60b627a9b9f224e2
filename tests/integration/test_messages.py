"""Messages: stored, then acknowledged, delivered to every device in order, once; and what sending again does."""

from itertools import cycle

import pytest

from relay.protocol.codes import ErrorCode
from relay.protocol.packets import NUMBERS, Ack, Delivery, Error, Message, Stored, encode
from tests.integration.peer import Peer, message_in
from tests.integration.stage import Stage


def conversation_of(first: Peer, second: Peer) -> str:
    return "@".join(sorted((first.user, second.user)))


def receiver(stage: Stage, user: str | None = None, device: str = "device") -> Peer:
    """A session that gets its messages."""
    peer = stage.session(user, device)
    peer.receive_messages()
    return peer


def bodies(peer: Peer, number: int) -> list[bytes]:
    """The next messages, whose offsets must follow each other in each conversation."""
    deliveries = [peer.expect_delivery() for _ in range(number)]
    last: dict[str, int] = {}
    for delivery in deliveries:
        expected = last.get(delivery.conversation, delivery.offset - 1) + 1
        assert delivery.offset == expected
        last[delivery.conversation] = expected
    return [message_in(delivery).body for delivery in deliveries]


def test_a_message_is_delivered_as_it_was_written(stage: Stage) -> None:
    alice, bob = receiver(stage), receiver(stage)
    sent = Message(alice.address, bob.user, 1, "text/plain", b"hello")
    alice.send(sent)
    stored, delivery = alice.expect(Stored), bob.expect_delivery()
    assert stored == (1, conversation_of(alice, bob), 1, stored.time_ms)
    assert delivery[:3] == (stored.conversation, 1, stored.time_ms)
    assert message_in(delivery) == sent
    alice.alive()
    bob.alive()


def test_both_ends_see_one_order(stage: Stage) -> None:
    """Own messages have their place in the order by STORED, the other's by DELIVERY."""
    peers = [receiver(stage), receiver(stage)]
    number = 50
    for message_id in range(1, number + 1):
        for me, other in (peers, peers[::-1]):
            me.message(other.user, message_id, me.address.encode())
    views = []
    for peer in peers:
        view = {}
        for _ in range(2 * number):
            packet = peer.packet()
            assert isinstance(packet, Stored | Delivery)
            assert packet.offset == len(view) + 1
            view[packet.offset] = peer.address if isinstance(packet, Stored) else message_in(packet).sender
        views.append(view)
    assert views[0] == views[1]


def test_messages_wait_for_both_devices_and_come_in_order(stage: Stage) -> None:
    sender, user = stage.session(), stage.user()
    for device in ("laptop", "phone"):
        receiver(stage, user, device).close()
    for number in range(1, 301):
        sender.message(user, number, b"%d" % number)
        if number % 100 == 0:
            assert [sender.expect(Stored).offset for _ in range(100)] == list(range(number - 99, number + 1))
    expected = [b"%d" % number for number in range(1, 301)]
    for device in ("phone", "laptop"):
        peer = receiver(stage, user, device)
        assert bodies(peer, 300) == expected
        peer.alive()


def test_another_device_of_the_sender_gets_the_message_too(stage: Stage) -> None:
    other, user = stage.user(), stage.user()
    laptop, phone = receiver(stage, user, "laptop"), receiver(stage, user, "phone")
    laptop.store(other, 1, b"from the laptop")
    assert bodies(phone, 1) == [b"from the laptop"]
    laptop.alive()


def test_what_was_acknowledged_does_not_come_again(stage: Stage) -> None:
    sender, user = stage.session(), stage.user()
    peer = receiver(stage, user)
    for number in range(1, 11):
        sender.store(user, number, b"%d" % number)
    last = [peer.expect_delivery() for _ in range(10)][-1]
    peer.send(Ack(last.conversation, 7, None))
    peer.ask("messages.sync")
    again = receiver(stage, user)
    assert bodies(again, 3) == [b"8", b"9", b"10"]
    again.alive()


def test_an_acknowledgement_moves_neither_back_nor_beyond_the_end(stage: Stage) -> None:
    sender, user = stage.session(), stage.user()
    peer = receiver(stage, user)
    for number in range(1, 6):
        sender.store(user, number, b"%d" % number)
    conversation = [peer.expect_delivery() for _ in range(5)][-1].conversation
    for delivered in (4, 2, 0):
        peer.send(Ack(conversation, delivered, None))
    peer.ask("messages.sync")
    assert bodies(receiver(stage, user), 1) == [b"5"]
    peer = receiver(stage, user)
    peer.expect_delivery()
    peer.send(Ack(conversation, 2**53 - 1, None))
    peer.ask("messages.sync")
    sender.store(user, 6, b"6")
    assert bodies(peer, 1) == [b"6"]
    assert bodies(receiver(stage, user), 1) == [b"6"]


def test_without_receiving_nothing_is_delivered(stage: Stage) -> None:
    sender, peer = stage.session(), stage.session()
    sender.store(peer.user, 1)
    peer.alive()


def test_the_same_message_again_has_the_same_offset_and_is_delivered_once(stage: Stage) -> None:
    sender, peer = stage.session(), receiver(stage)
    first = sender.store(peer.user, 1, b"once")
    other = sender.store(peer.user, 2, b"another")
    assert sender.store(peer.user, 1, b"once") == first
    assert bodies(peer, 2) == [b"once", b"another"]
    peer.alive()
    again = stage.session(sender.user)
    assert again.welcome is not None
    assert again.welcome.last_message_id == 2
    assert again.store(peer.user, 2, b"another") == other
    peer.alive()


def test_the_same_id_with_other_content_is_refused(stage: Stage) -> None:
    sender, peer = stage.session(), receiver(stage)
    sender.store(peer.user, 1, b"first")
    for body, to in ((b"other", peer.user), (b"first", sender.user)):
        sender.message(to, 1, body)
        error = sender.expect(Error)
        assert (error.refused, error.id, error.code) == (NUMBERS[Message], 1, ErrorCode.ID_REUSED)
    assert bodies(peer, 1) == [b"first"]
    sender.store(peer.user, 2, b"second")
    assert bodies(peer, 1) == [b"second"]
    peer.alive()


def test_an_id_below_the_window_is_refused(stage: Stage) -> None:
    sender, user = stage.session(), stage.user()
    for number in range(1, 258):
        sender.message(user, number)
    assert [sender.expect(Stored).id for _ in range(257)] == list(range(1, 258))
    sender.message(user, 1)
    assert sender.expect(Error).code == ErrorCode.ID_REUSED
    assert sender.store(user, 2).offset == 2


def test_ids_belong_to_the_device(stage: Stage) -> None:
    user, to = stage.user(), stage.user()
    for position, device in enumerate(("laptop", "phone"), 1):
        peer = stage.session(user, device)
        assert peer.welcome is not None
        assert peer.welcome.last_message_id == 0
        assert peer.store(to, 1, device.encode()).offset == position


def test_messages_to_many_are_answered_each(stage: Stage) -> None:
    sender = stage.session()
    users = [stage.user() for _ in range(50)]
    for number, user in enumerate([*users, "nobody"], 1):
        sender.message(user, number)
    answers = [sender.packet() for _ in range(51)]
    stored = {answer.id: answer.offset for answer in answers if isinstance(answer, Stored)}
    assert stored == dict.fromkeys(range(1, 51), 1)
    (error,) = [answer for answer in answers if isinstance(answer, Error)]
    assert (error.id, error.code) == (51, ErrorCode.NO_SUCH_USER)


def test_notes_to_oneself(stage: Stage) -> None:
    user = stage.user()
    laptop, phone = receiver(stage, user, "laptop"), receiver(stage, user, "phone")
    assert laptop.store(user, 1, b"milk").conversation == f"{user}@{user}"
    assert bodies(phone, 1) == [b"milk"]


@pytest.mark.parametrize(("start", "expected"), [(0, []), (2, [b"4", b"5"]), (99, [b"1", b"2", b"3", b"4", b"5"])])
def test_a_second_device_begins_where_it_likes(stage: Stage, start: int, expected: list[bytes]) -> None:
    sender, user = stage.session(), stage.user()
    receiver(stage, user, "first")
    for number in range(1, 6):
        sender.store(user, number, b"%d" % number)
    second = stage.session(user, "second")
    second.receive_messages(start)
    assert bodies(second, len(expected)) == expected
    second.alive()


def test_a_burst_beyond_the_window_is_stored_in_order(stage: Stage) -> None:
    """Two thousand at once: the relay stops reading now and then, and loses nothing."""
    sender, peer = stage.session(), receiver(stage)
    number = 2000
    sender.send(*(Message(sender.address, peer.user, i, "", b"%d" % i) for i in range(1, number + 1)))
    stored = [sender.expect(Stored) for _ in range(number)]
    assert [(item.id, item.offset) for item in stored] == [(i, i) for i in range(1, number + 1)]
    assert bodies(peer, number) == [b"%d" % i for i in range(1, number + 1)]


@pytest.mark.parametrize("base", [1, 200, 300, 70_000, 2**33], ids=str)
def test_repetitions_in_the_middle_of_a_burst(stage: Stage, base: int) -> None:
    """However wide the ids are, which decides how the relay reads a burst."""
    sender, peer = stage.session(), receiver(stage)
    ids = [base, base + 1, base, base + 3, base + 2, base + 1, base + 3]
    bodies_sent = [b"a", b"b", b"a", b"d", b"c", b"x", b"d"]
    burst = [Message(sender.address, peer.user, i, "", body) for i, body in zip(ids, bodies_sent, strict=True)]
    sender.send(*burst)
    answers = [sender.packet() for _ in burst]
    stored = {(answer.id, answer.offset) for answer in answers if isinstance(answer, Stored)}
    assert stored == {(base, 1), (base + 1, 2), (base + 3, 3), (base + 2, 4)}
    (error,) = [answer for answer in answers if isinstance(answer, Error)]
    assert (error.id, error.code) == (base + 1, ErrorCode.ID_REUSED)
    assert bodies(peer, 4) == [b"a", b"b", b"d", b"c"]
    sender.alive()
    peer.alive()


def test_a_burst_in_pieces_of_any_size(stage: Stage) -> None:
    sender, peer = stage.session(), receiver(stage)
    number = 300
    data = b"".join(encode(Message(sender.address, peer.user, i, "", b"%d" % i)) for i in range(1, number + 1))
    start = 0
    for size in cycle((1, 2, 3, 5, 7, 48, 49, 50, 1000)):
        sender.send_bytes(data[start : start + size])
        start += size
        if start >= len(data):
            break
    assert [sender.expect(Stored).offset for _ in range(number)] == list(range(1, number + 1))
    assert bodies(peer, number) == [b"%d" % i for i in range(1, number + 1)]


def test_an_id_of_zero_in_a_burst(stage: Stage) -> None:
    sender, user = stage.session(), stage.user()
    good = encode(Message(sender.address, user, 200, "", b"body"))
    sender.send_bytes(
        good + good.replace(b"\xcc\xc8", b"\xcc\x00") + encode(Message(sender.address, user, 201, "", b""))
    )
    answers = [sender.packet() for _ in range(3)]
    assert {answer.id for answer in answers if isinstance(answer, Stored)} == {200, 201}
    (error,) = [answer for answer in answers if isinstance(answer, Error)]
    assert (error.id, error.code) == (0, ErrorCode.BAD_ARGUMENTS)


def test_two_senders_and_one_receiver_keep_their_orders(stage: Stage) -> None:
    senders, peer = [stage.session(), stage.session()], receiver(stage)
    for number in range(1, 401):
        for sender in senders:
            sender.message(peer.user, number, b"%d" % number)
    for sender in senders:
        assert [sender.expect(Stored).offset for _ in range(400)] == list(range(1, 401))
    seen: dict[str, list[int]] = {}
    for _ in range(800):
        delivery = peer.expect_delivery()
        assert delivery.offset == len(seen.setdefault(delivery.conversation, [])) + 1
        seen[delivery.conversation].append(int(message_in(delivery).body))
    assert list(seen.values()) == [list(range(1, 401))] * 2
