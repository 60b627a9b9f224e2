"""Messages: to the disk, to everybody who is concerned, and cursors back. The log moves when the test says so."""

import pytest

from relay.protocol.codes import CloseCode, ErrorCode
from relay.protocol.frames import encode_frame
from relay.protocol.limits import MESSAGE_WINDOW, SENTENCE_MAX_BYTES
from relay.protocol.packets import Delivery, Error, Message, Result, Stored, StoredRun, encode
from relay.store.base import StoreFullError
from tests.router.recording import RecordingOutlet, RecordingSubscriber
from tests.router.town import Town

ALICE_BOB = "alice@bob"


def offsets(session: RecordingSubscriber) -> list[int]:
    return [packet.offset for packet in session.outlet.take() if isinstance(packet, Delivery)]


def send_run(town: Town, sender: RecordingSubscriber, to: str, first_id: int, total: int) -> list[bytes]:
    """Send messages with successive ids as one run; returns their frames."""
    frames = [encode(Message(sender.address, to, first_id + at, "", b"x")) for at in range(total)]
    assert len(set(map(len, frames))) == 1
    town.router.conversations.submit(sender, to, first_id, b"".join(frames), total)
    return frames


def errors(session: RecordingSubscriber) -> list[tuple[int, int | None, int]]:
    return [packet[:3] for packet in session.outlet.take() if isinstance(packet, Error)]


def test_nothing_is_said_before_the_message_is_on_the_disk() -> None:
    town = Town("alice", "bob")
    alice, bob = town.join("alice"), town.join("bob", receiving=True)
    town.send(alice, "bob", 1)
    assert alice.outlet.take() == []
    town.log.commit()
    assert alice.outlet.take() == []
    town.log.answer()
    assert alice.outlet.take() == [Stored(1, ALICE_BOB, 1, 1000)]
    assert offsets(bob) == [1]


def test_a_delivery_holds_the_senders_own_bytes() -> None:
    town = Town("alice", "bob")
    alice, bob = town.join("alice"), town.join("bob", receiving=True)
    payload = town.send(alice, "bob", 1, bytes(range(256)))
    town.log.run()
    assert bob.outlet.take() == [Delivery(ALICE_BOB, 1, 1000, payload)]


def test_a_message_reaches_every_device_of_both_but_the_one_that_sent_it() -> None:
    town = Town("alice", "bob")
    phone = town.join("alice", "phone", receiving=True)
    laptop = town.join("alice", "laptop", receiving=True)
    desk, watch = town.join("bob", "desk", receiving=True), town.join("bob", "watch", receiving=True)
    other = town.join("bob", "mute")
    town.send(phone, "bob", 1)
    town.log.run()
    assert [offsets(session) for session in (laptop, desk, watch)] == [[1], [1], [1]]
    assert phone.outlet.take() == [Stored(1, ALICE_BOB, 1, 1000)]
    assert other.outlet.take() == []


def test_notes_to_oneself_reach_the_other_device_once() -> None:
    town = Town("alice")
    phone, laptop = town.join("alice", receiving=True), town.join("alice", "laptop", receiving=True)
    town.send(phone, "alice", 1)
    town.log.run()
    assert offsets(laptop) == [1]
    assert [type(packet) for packet in phone.outlet.take()] == [Stored]


def test_stored_stands_in_order_with_deliveries_of_the_conversation() -> None:
    town = Town("alice", "bob")
    alice, bob = town.join("alice", receiving=True), town.join("bob", receiving=True)
    for id in (1, 2):
        town.send(alice, "bob", id)
        town.send(bob, "alice", id)
    town.log.run()
    assert [(type(packet).__name__, packet.offset) for packet in alice.outlet.take()] == [  # type: ignore[union-attr]
        ("Stored", 1),
        ("Delivery", 2),
        ("Stored", 3),
        ("Delivery", 4),
    ]


def test_a_repetition_gets_the_earlier_answer_and_is_delivered_once() -> None:
    town = Town("alice", "bob")
    alice, bob = town.join("alice"), town.join("bob", receiving=True)
    town.send(alice, "bob", 1)
    town.log.run()
    town.send(alice, "bob", 1)
    town.log.run()
    town.send(alice, "bob", 2)
    town.send(alice, "bob", 2)
    town.log.run()
    assert offsets(bob) == [1, 2]
    assert sorted(packet.offset for packet in alice.outlet.take()) == [1, 1, 2, 2]  # type: ignore[union-attr]
    assert alice.storing == 0


@pytest.mark.parametrize(
    ("to", "id", "code"),
    [
        ("bob/phone", 1, ErrorCode.BAD_ADDRESS),
        ("relay", 1, ErrorCode.BAD_ADDRESS),
        ("", 1, ErrorCode.BAD_ADDRESS),
        ("#", 1, ErrorCode.BAD_ADDRESS),
        ("Bob", 1, ErrorCode.BAD_ADDRESS),
        ("a@b", 1, ErrorCode.BAD_ADDRESS),
        ("b" * 1_000_000, 1, ErrorCode.BAD_ADDRESS),
        ("é/" * 400_000, 1, ErrorCode.BAD_ADDRESS),
        ("bob", 0, ErrorCode.BAD_ARGUMENTS),
        ("nobody", 1, ErrorCode.NO_SUCH_USER),
        ("#nowhere", 1, ErrorCode.NO_SUCH_ROOM),
    ],
)
def test_what_cannot_be_stored_is_refused_with_a_reason(to: str, id: int, code: ErrorCode) -> None:
    town = Town("alice", "bob")
    alice = town.join("alice")
    town.send(alice, to, id)
    town.log.run()
    (error,) = alice.outlet.take()
    assert isinstance(error, Error)
    assert error[:3] == (17, id, code)
    assert 0 < len(error.sentence.encode()) <= SENTENCE_MAX_BYTES
    assert alice.storing == 0


def test_a_full_queue_is_an_error_and_counts_for_nothing() -> None:
    town = Town("alice", "bob")
    alice = town.join("alice")
    town.log.queue_max = 1
    town.send(alice, "bob", 1)
    town.send(alice, "bob", 2)
    assert errors(alice) == [(17, 2, ErrorCode.QUEUE_FULL)]
    assert alice.storing == 1
    town.log.run()
    assert alice.storing == 0


def test_a_session_with_a_window_of_messages_waiting_is_paused_until_half_are_through() -> None:
    town = Town("alice", "bob")
    alice = town.join("alice")
    for id in range(1, MESSAGE_WINDOW):
        town.send(alice, "bob", id)
    assert not alice.paused
    for id in range(MESSAGE_WINDOW, MESSAGE_WINDOW + 20):
        town.send(alice, "bob", id)
    assert alice.paused
    town.log.run()
    assert not alice.paused
    assert alice.storing == 0
    assert alice.pauses == 1


def test_a_run_that_crosses_the_window_pauses_its_session_once() -> None:
    town = Town("alice", "bob")
    alice = town.join("alice")
    for first in range(1000, 1000 + 2 * MESSAGE_WINDOW, 100):
        send_run(town, alice, "bob", first, 100)
    assert (alice.paused, alice.storing) == (True, 600)
    town.send(alice, "bob", 2000)
    assert alice.pauses == 1
    town.log.run()
    assert (alice.paused, alice.storing) == (False, 0)


def test_a_run_is_stored_answered_and_delivered_as_its_messages_would_be() -> None:
    town = Town("alice", "bob")
    alice, bob = town.join("alice", receiving=True), town.join("bob", receiving=True)
    laptop = town.join("alice", "laptop", receiving=True)
    frames = send_run(town, alice, "bob", 300, 5)
    town.log.run()
    assert [packet[:3] + packet[4:] for packet in alice.outlet.take()] == [(300, "alice@bob", 1, 5)]
    for reader in (bob, laptop):
        taken = reader.outlet.take()
        assert [packet.offset for packet in taken] == [1, 2, 3, 4, 5]  # type: ignore[union-attr]
        assert [encode_frame(packet.packet) for packet in taken] == frames  # type: ignore[union-attr]


def test_runs_that_follow_each_other_are_answered_together_up_to_the_window() -> None:
    town = Town("alice", "bob")
    alice = town.join("alice")
    for first in (300, 400, 500, 700):
        send_run(town, alice, "bob", first, 100)
    town.log.run()
    answers = [(packet.id, packet.offset, packet.total) for packet in alice.outlet.take()]  # type: ignore[union-attr]
    assert answers == [(300, 1, 200), (500, 201, 100), (700, 301, 100)]


def test_runs_of_two_senders_keep_the_order_of_offsets_for_both() -> None:
    town = Town("alice", "bob")
    alice, bob = town.join("alice", receiving=True), town.join("bob", receiving=True)
    for first in (300, 310):
        send_run(town, alice, "bob", first, 3)
        send_run(town, bob, "alice", first, 2)
    town.log.run()
    for session in (alice, bob):
        offsets_told: list[int] = []
        for packet in session.outlet.take():
            total = packet.total if isinstance(packet, StoredRun) else 1
            offsets_told += range(packet.offset, packet.offset + total)  # type: ignore[union-attr]
        assert offsets_told == list(range(1, 11))


def test_a_run_that_is_partly_repeated_is_answered_in_parts() -> None:
    town = Town("alice", "bob")
    alice, bob = town.join("alice"), town.join("bob", receiving=True)
    send_run(town, alice, "bob", 300, 3)
    town.log.run()
    alice.outlet.take()
    send_run(town, alice, "bob", 301, 4)
    town.log.run()
    told: dict[int, int] = {}
    for packet in alice.outlet.take():
        assert isinstance(packet, Stored | StoredRun)
        for at in range(packet.total if isinstance(packet, StoredRun) else 1):
            told[packet.id + at] = packet.offset + at
    assert told == {301: 2, 302: 3, 303: 4, 304: 5}
    assert offsets(bob) == [1, 2, 3, 4, 5]
    assert alice.storing == 0


def test_a_sender_that_left_meanwhile_harms_nobody() -> None:
    town = Town("alice", "bob")
    alice, bob = town.join("alice", receiving=True), town.join("bob", receiving=True)
    town.send(alice, "bob", 1)
    town.send(bob, "alice", 1)
    alice.end(CloseCode.NORMAL, "bye")
    town.log.run()
    assert offsets(bob) == [1]


def test_a_sender_whose_answer_overflows_it_ends_and_the_others_get_everything() -> None:
    town = Town("alice", "bob")
    alice = town.join("alice", outlet=RecordingOutlet(overflow=60))
    bob = town.join("bob", receiving=True)
    for id in (1, 3, 5, 7, 9):
        town.send(alice, "bob", id)
    town.log.run()
    assert alice.ended
    assert offsets(bob) == [1, 2, 3, 4, 5]


def test_receiving_answers_before_the_first_delivery() -> None:
    town = Town("alice", "bob")
    alice, bob = town.join("alice"), town.join("bob")
    town.send(alice, "bob", 1)
    town.log.run()
    town.call(bob, "messages.receive")
    town.log.run()
    assert [type(packet) for packet in bob.outlet.take()] == [Result, Delivery]


def test_receiving_twice_is_answered_and_delivers_once() -> None:
    town = Town("alice", "bob")
    alice, bob = town.join("alice"), town.join("bob", receiving=True)
    assert town.ask(bob, "messages.receive") == {"new": False}
    town.send(alice, "bob", 1)
    town.log.run()
    assert offsets(bob) == [1]


def test_a_device_resumes_where_it_acknowledged_even_if_the_cursor_is_still_on_its_way() -> None:
    town = Town("alice", "bob")
    alice, bob = town.join("alice"), town.join("bob", receiving=True)
    for id in range(1, 6):
        town.send(alice, "bob", id)
    town.log.run()
    assert offsets(bob) == [1, 2, 3, 4, 5]
    town.acknowledge(bob, ALICE_BOB, 3)
    again = town.join("bob")
    town.call(again, "messages.receive")
    town.log.run()
    assert offsets(again) == [4, 5]


def test_what_comes_between_asking_and_the_answer_is_delivered_once() -> None:
    town = Town("alice", "bob")
    alice, bob = town.join("alice"), town.join("bob")
    town.send(alice, "bob", 1)
    town.log.run()
    town.call(bob, "messages.receive")
    town.send(alice, "bob", 2)
    town.log.commit()
    town.send(alice, "bob", 3)
    town.log.run()
    assert offsets(bob) == [1, 2, 3]


def test_a_session_that_ends_while_its_backlog_is_looked_up() -> None:
    town = Town("alice", "bob")
    alice, bob = town.join("alice"), town.join("bob")
    town.send(alice, "bob", 1)
    town.log.run()
    town.call(bob, "messages.receive")
    town.log.commit()
    bob.end(CloseCode.NORMAL, "bye")
    town.log.run()
    assert offsets(bob) == []


def test_receiving_can_be_tried_again_after_the_store_failed() -> None:
    town = Town("alice", "bob")
    alice, bob = town.join("alice"), town.join("bob")
    town.send(alice, "bob", 1)
    town.log.run()
    town.log.failing = StoreFullError("the disk is full")
    assert town.ask(bob, "messages.receive") == ErrorCode.STORE_FAILED
    town.acknowledge(bob, ALICE_BOB, 0)
    assert town.ask(bob, "messages.receive") == ErrorCode.STORE_FAILED
    town.log.failing = None
    town.call(bob, "messages.receive")
    town.log.run()
    assert offsets(bob) == [1]


class Cursors:
    """Bob's phone, which was delivered ten messages."""

    def __init__(self) -> None:
        self.town = Town("alice", "bob", "carol")
        self.bob = self.town.join("bob", receiving=True)
        alice = self.town.join("alice")
        for id in range(1, 11):
            self.town.send(alice, "bob", id)
        self.town.log.run()

    def save(self) -> None:
        self.town.router.conversations.save_cursors(lambda problem: None)
        self.town.log.run()

    @property
    def cursor(self) -> int:
        return self.town.cursor("bob", "phone", ALICE_BOB)


def test_acknowledgements_are_gathered_and_only_move_forward() -> None:
    at = Cursors()
    for delivered in (3, 5, 4):
        at.town.acknowledge(at.bob, ALICE_BOB, delivered)
    assert at.cursor == 0
    writes = at.town.log.writes_run
    at.save()
    assert at.cursor == 5
    assert at.town.log.writes_run == writes + 1
    at.save()
    assert at.town.log.writes_run == writes + 1


def test_a_read_mark_is_kept_beside_later_deliveries(monkeypatch: pytest.MonkeyPatch) -> None:
    at = Cursors()
    saved = []
    advance = at.town.log.store.advance
    monkeypatch.setattr(at.town.log.store, "advance", lambda cursors: (saved.extend(cursors), advance(cursors))[1])
    at.town.acknowledge(at.bob, ALICE_BOB, 3, 2)
    at.town.acknowledge(at.bob, ALICE_BOB, 5)
    at.town.acknowledge(at.bob, ALICE_BOB, 4, 1)
    at.save()
    assert [tuple(cursor) for cursor in saved] == [("bob", "phone", ALICE_BOB, 5, 2)]


@pytest.mark.parametrize("conversation", ["alice@carol", "#ops", "", "bob@" + "x" * 1_000_000, "@"])
def test_foreign_and_impossible_conversations_are_not_even_noted(conversation: str) -> None:
    at = Cursors()
    at.town.acknowledge(at.bob, conversation, 3)
    writes = at.town.log.writes_run
    at.save()
    assert at.town.log.writes_run == writes


def test_sync_answers_only_once_the_acknowledgements_before_it_are_durable() -> None:
    at = Cursors()
    at.town.acknowledge(at.bob, ALICE_BOB, 7)
    at.town.router.conversations.save_cursors(lambda problem: None)
    at.town.call(at.bob, "messages.sync")
    assert [p for p in at.bob.outlet.take() if isinstance(p, Result)] == []
    at.town.log.run()
    assert at.cursor == 7
    assert len([p for p in at.bob.outlet.take() if isinstance(p, Result)]) == 1


def test_sync_with_nothing_to_save_answers_at_once() -> None:
    at = Cursors()
    at.bob.outlet.take()
    at.town.call(at.bob, "messages.sync")
    assert len(at.bob.outlet.take()) == 1


def test_many_syncs_share_one_write() -> None:
    at = Cursors()
    at.bob.outlet.take()
    writes = at.town.log.writes_run
    for delivered in range(1, 11):
        at.town.acknowledge(at.bob, ALICE_BOB, delivered)
        at.town.call(at.bob, "messages.sync")
    at.town.log.run()
    assert len(at.bob.outlet.take()) == 10
    assert at.town.log.writes_run <= writes + 2
    assert at.cursor == 10


def test_acknowledgements_survive_a_full_disk_and_sync_says_so() -> None:
    at = Cursors()
    at.town.acknowledge(at.bob, ALICE_BOB, 6, 6)
    at.town.log.failing = StoreFullError("the disk is full")
    assert at.town.ask(at.bob, "messages.sync") == ErrorCode.STORE_FAILED
    at.town.acknowledge(at.bob, ALICE_BOB, 2)
    at.town.log.failing = None
    assert at.town.ask(at.bob, "messages.sync") == {}
    assert at.cursor == 6


def test_a_sync_that_comes_while_a_write_fails_is_answered_by_the_next() -> None:
    at = Cursors()
    at.town.acknowledge(at.bob, ALICE_BOB, 6)
    at.town.router.conversations.save_cursors(lambda problem: None)
    at.town.log.failing = StoreFullError("the disk is full")
    at.town.log.commit()
    at.town.log.failing = None
    assert at.town.ask(at.bob, "messages.sync") == {}
    assert at.cursor == 6
