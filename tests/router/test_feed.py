"""The seam between pushing and pulling: in whatever order things happen, a device sees each offset once, in order."""

from collections.abc import Iterator, Sequence

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from relay.protocol.codes import CloseCode
from relay.protocol.packets import Delivery, Gap, Message, Stored, encode, encode_payload
from relay.protocol.scram import Credentials
from relay.router import feed as feed_module
from relay.router.feed import Feed
from relay.store.base import Append, Appended, Backlog, Entry, Refusal, Retention, Store, StoreError
from relay.store.memory import MemoryStore
from tests.router.recording import RecordingOutlet, RecordingSubscriber, SteppedLog, split

ALICE_BOB, ALICE_CAROL = "alice@bob", "alice@carol"
NOBODY = Credentials(b"", 0, b"", b"")


@pytest.fixture(autouse=True)
def small_pages() -> Iterator[None]:
    """Three messages in a page, and a page of 300 bytes: a handful of messages crosses every boundary."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feed_module, "PAGE_MESSAGES", 3)
        patch.setattr(feed_module, "PAGE_BYTES", 300)
        yield


class Device:
    """`alice/phone` with a feed, a log that moves step by step, and a client that minds its cursors."""

    def __init__(self, limit: int = 400, store: MemoryStore | None = None) -> None:
        self.log = SteppedLog(store)
        self.log.on_appended = self._handle_appended
        for name in ("alice", "bob", "carol"):
            self.log.store.add_account(name, NOBODY, False, 0)
        self.outlet = RecordingOutlet(limit)
        self.session = RecordingSubscriber("alice", outlet=self.outlet, leave=self._leave)
        self.feed: Feed | None = None
        self.message_id = 0
        # What the client has processed, per conversation; known from where the device began.
        self.cursors: dict[str, int] = {}
        self.started = False
        self.own: set[tuple[str, int]] = set()
        self.delivered: list[tuple[str, int]] = []

    def write(self, conversation: str, *, own: bool = False) -> None:
        """Somebody sends a message; it waits for the disk."""
        self.message_id += 1
        other = conversation.partition("@")[2]
        sender, device = ("alice", "phone") if own else (other, "desk")
        packet = encode_payload(Message(f"{sender}/{device}", "x", self.message_id, "", bytes(20)))
        assert self.log.append(Append(conversation, sender, device, self.message_id, packet, own))

    def stored(self, conversation: str, count: int = 1, *, own: bool = False) -> None:
        """Messages that are on the disk, and of which everybody knows."""
        for _ in range(count):
            self.write(conversation, own=own)
        self.log.commit()
        self.log.answer()

    def begin(self) -> None:
        """The session asks to receive."""
        feed = self.feed = self.session.feed = Feed(self.session, self.log)

        def open_device(store: Store) -> list[Backlog]:
            store.open_device("alice", "phone", None, 0)
            return store.backlog("alice", "phone")

        def opened(backlogs: list[Backlog]) -> None:
            self.started = True
            if not feed.stopped:
                feed.start(backlogs)

        self.log.write(open_device, opened)

    def take(self) -> list[tuple[str, int]]:
        """What the client reads now: it checks every packet, and returns the offsets that were new to it."""
        new = []
        for packet in self.outlet.take():
            assert isinstance(packet, Stored | Delivery)
            cursor = self.cursors.setdefault(packet.conversation, 0)
            if isinstance(packet, Stored):
                self.cursors[packet.conversation] += packet.offset == cursor + 1
                continue
            place = (packet.conversation, packet.offset)
            assert place not in self.delivered, f"{place} was delivered twice"
            assert packet.offset <= cursor + 1, f"{place} leaves a hole behind {cursor}"
            assert packet.offset == cursor + 1 or place in self.own, f"{place} goes back behind {cursor}"
            self.delivered.append(place)
            if packet.offset > cursor:
                self.cursors[packet.conversation] = packet.offset
                new.append(place)
        return new

    def settle(self) -> None:
        """Let everything that is on its way arrive."""
        for _ in range(1000):
            self.log.run()
            self.take()
            if not self.outlet.size and not self.outlet.waiting:
                return
            self.outlet.drain()
        raise AssertionError("the feed never comes to rest")

    def head(self, conversation: str) -> int:
        return len(self.log.store.read(conversation, 0, 10_000, 1 << 30))

    def _handle_appended(self, batch: Sequence[Append], results: Sequence[Appended | Refusal]) -> None:
        for item, result in zip(batch, results, strict=True):
            assert isinstance(result, Appended)
            if item.origin:
                self.own.add((item.conversation, result.offset))
                self.outlet.push(encode(Stored(item.message_id, item.conversation, result.offset, result.time_ms)))
                if self.feed:
                    self.feed.pass_own(item.conversation, result.offset, result.offset)
            elif self.feed:
                frame = encode(Delivery(item.conversation, result.offset, result.time_ms, item.packet))
                self.feed.offer(item.conversation, result.offset, result.offset, frame)

    def _leave(self, session: object) -> None:
        if self.feed:
            self.feed.stop()


def receiving(limit: int = 400) -> Device:
    device = Device(limit)
    device.begin()
    device.log.run()
    return device


def test_a_live_message_is_pushed_as_it_is_and_nothing_is_read() -> None:
    device = receiving()
    device.stored(ALICE_BOB)
    assert device.take() == [(ALICE_BOB, 1)]
    assert device.log.reads_run == 0


def test_several_messages_of_one_commit_are_pushed_as_one_slice() -> None:
    device = receiving()
    frames = [encode(Delivery(ALICE_BOB, offset, 0, b"x")) for offset in (1, 2, 3)]
    assert device.feed
    device.feed.offer(ALICE_BOB, 1, 3, b"".join(frames))
    assert device.outlet.pushed == [b"".join(frames)]
    assert device.take() == [(ALICE_BOB, 1), (ALICE_BOB, 2), (ALICE_BOB, 3)]


def test_the_backlog_comes_page_by_page() -> None:
    device = Device(10_000)
    device.stored(ALICE_BOB, 7)
    device.begin()
    device.log.run()
    assert device.take() == [(ALICE_BOB, offset) for offset in range(1, 8)]
    assert device.log.reads_run == 3


def test_two_conversations_that_are_behind_take_turns() -> None:
    device = Device(10_000)
    device.stored(ALICE_BOB, 5)
    device.stored(ALICE_CAROL, 5)
    device.begin()
    device.log.run()
    assert [conversation for conversation, _ in device.take()] == (
        [ALICE_BOB] * 3 + [ALICE_CAROL] * 3 + [ALICE_BOB] * 2 + [ALICE_CAROL] * 2
    )


def test_a_slow_reader_that_retention_overtakes_is_told_which_offsets_are_gone() -> None:
    """It is connected all the time, and had room for some; the rest was deleted before it read on."""
    device = Device(store=MemoryStore(Retention(age_ms=1)))
    device.begin()
    device.log.run()
    device.stored(ALICE_BOB, 50)
    device.log.run()
    had = [offset for _, offset in device.take()]
    assert 0 < len(had) < 40
    device.log.store.sweep(10**9)
    device.log.time_ms = 10**9
    device.stored(ALICE_BOB, 2)
    found: list[object] = []
    for _ in range(20):
        device.outlet.drain()
        device.log.run()
        found += device.outlet.take()
    # A page that was read before the sweep is delivered: it was not lost.
    gaps = [packet for packet in found if isinstance(packet, Gap)]
    late = [packet.offset for packet in found if isinstance(packet, Delivery)]
    assert len(gaps) == 1
    assert [*had, *late[:-2], *range(gaps[0].first, gaps[0].last + 1), *late[-2:]] == list(range(1, 53))


def test_a_slow_reader_holds_a_place_in_the_log_and_no_memory() -> None:
    device = receiving()
    device.stored(ALICE_BOB, 50)
    assert device.outlet.size <= device.outlet.limit
    assert device.log.reads_run == 0
    assert not any(device.log.can.values())
    device.settle()
    assert device.cursors[ALICE_BOB] == 50
    assert len(device.delivered) == 50


def test_after_catching_up_messages_are_pushed_again() -> None:
    device = receiving()
    device.stored(ALICE_BOB, 50)
    device.settle()
    reads = device.log.reads_run
    device.stored(ALICE_BOB)
    assert device.take() == [(ALICE_BOB, 51)]
    assert device.log.reads_run == reads


def test_another_conversation_stays_live_while_one_is_behind() -> None:
    device = receiving(limit=1000)
    device.stored(ALICE_BOB, 30)
    device.take()
    device.outlet.drain(500)
    device.stored(ALICE_CAROL)
    assert (ALICE_CAROL, 1) in device.take()


def test_what_is_stored_while_the_backlog_is_looked_up_is_not_lost() -> None:
    device = Device(10_000)
    device.stored(ALICE_BOB, 2)
    device.begin()
    device.write(ALICE_BOB)
    device.write(ALICE_CAROL)
    device.log.commit()
    device.stored(ALICE_BOB)
    device.settle()
    assert device.cursors == {ALICE_BOB: 4, ALICE_CAROL: 1}


def test_what_was_offered_before_the_start_is_read_even_if_the_backlog_does_not_know_it() -> None:
    device = Device(10_000)
    device.stored(ALICE_BOB, 5)
    feed = device.feed = device.session.feed = Feed(device.session, device.log)
    device.stored(ALICE_BOB, 2)
    device.stored(ALICE_CAROL)
    assert device.outlet.pushed == []
    feed.start([])
    device.log.run()
    device.cursors[ALICE_BOB] = 5
    assert device.take() == [(ALICE_BOB, 6), (ALICE_BOB, 7), (ALICE_CAROL, 1)]


def test_one_page_is_read_at_a_time_however_many_conversations_are_behind() -> None:
    device = Device(10_000)
    device.stored(ALICE_BOB, 5)
    device.stored(ALICE_CAROL, 5)
    device.begin()
    device.log.commit()
    device.log.answer()
    device.log.read_one()
    assert not device.log.can["read_one"]
    device.stored(ALICE_CAROL)
    assert not device.log.can["read_one"]


def test_what_the_backlog_counted_already_is_not_pushed_as_well() -> None:
    """The backlog's answer may overtake the news of a message that is in it."""
    device = receiving(limit=10_000)
    assert device.feed
    device.log.on_appended = lambda batch, results: None
    device.stored(ALICE_BOB)
    feed = device.feed = device.session.feed = Feed(device.session, device.log)
    feed.start([Backlog(ALICE_BOB, 0, 1)])
    feed.offer(ALICE_BOB, 1, 1, encode(Delivery(ALICE_BOB, 1, 0, b"x")))
    device.settle()
    assert device.delivered == [(ALICE_BOB, 1)]


def test_a_page_that_runs_ahead_of_the_news_is_not_followed_by_them() -> None:
    device = receiving()
    device.stored(ALICE_BOB, 20)
    device.take()
    device.outlet.drain()
    device.write(ALICE_BOB)
    device.log.commit()
    for _ in range(20):
        device.take()
        device.outlet.drain()
        if device.log.can["read_one"]:
            device.log.read_one()
            device.log.answer_page()
    assert device.cursors[ALICE_BOB] == 21
    device.log.answer()
    device.settle()
    assert len(device.delivered) == 21


def test_own_messages_are_passed_over_while_live() -> None:
    device = receiving()
    device.stored(ALICE_BOB)
    device.stored(ALICE_BOB, own=True)
    device.stored(ALICE_BOB)
    device.settle()
    assert device.delivered == [(ALICE_BOB, 1), (ALICE_BOB, 3)]
    assert device.cursors[ALICE_BOB] == 3


def test_own_messages_behind_a_hole_come_from_the_log() -> None:
    device = receiving()
    device.stored(ALICE_BOB, 10)
    device.stored(ALICE_BOB, own=True)
    device.settle()
    assert (ALICE_BOB, 11) in device.delivered
    assert device.cursors[ALICE_BOB] == 11


def test_a_session_that_ended_gets_nothing_more() -> None:
    device = receiving()
    device.stored(ALICE_BOB, 10)
    device.take()
    device.outlet.drain()
    device.log.read_one()
    device.session.end(CloseCode.NORMAL, "bye")
    device.log.answer_page()
    device.outlet.drain()
    assert device.take() == []
    assert not any(device.log.can.values())


def test_a_log_that_cannot_be_read_ends_the_session_with_the_reason() -> None:
    device = Device()
    device.stored(ALICE_BOB, 3)
    device.begin()
    device.log.commit()
    device.log.answer()
    device.log.failing = StoreError("the disk is gone; call somebody")
    device.log.run()
    ((code, sentence, retry_ms),) = device.session.ended
    assert code == CloseCode.STORE_FAILED
    assert "the disk is gone" in sentence
    assert retry_ms
    assert device.take() == []


class KeptFrom(MemoryStore):
    """A store whose logs begin at offset `first`: what came before is gone."""

    first = 1

    def read(self, conversation: str, after: int, limit: int, limit_bytes: int) -> list[Entry]:
        return super().read(conversation, max(after, self.first - 1), limit, limit_bytes)


def keeping(first: int, stored: int) -> Device:
    store = KeptFrom()
    device = Device(limit=10_000, store=store)
    device.stored(ALICE_BOB, stored)
    store.first = first
    device.begin()
    device.log.run()
    return device


def test_offsets_that_are_gone_are_named_before_what_is_left() -> None:
    device = keeping(first=5, stored=9)
    gap, *rest = device.outlet.take()
    assert gap == Gap(ALICE_BOB, 1, 4)
    assert [packet.offset for packet in rest] == [5, 6, 7, 8, 9]  # type: ignore[union-attr]
    device.stored(ALICE_BOB)
    assert [packet.offset for packet in device.outlet.take()] == [10]  # type: ignore[union-attr]


def test_where_nothing_is_left_the_gap_reaches_to_the_end_and_live_messages_follow() -> None:
    device = keeping(first=100, stored=9)
    assert device.outlet.take() == [Gap(ALICE_BOB, 1, 9)]
    reads = device.log.reads_run
    device.stored(ALICE_BOB)
    assert [packet.offset for packet in device.outlet.take()] == [10]  # type: ignore[union-attr]
    assert device.log.reads_run == reads
    assert repr(device.feed) == "<Feed of alice/phone: 1 conversations, 0 behind>"


def test_where_nothing_is_gone_no_gap_is_named() -> None:
    assert not any(isinstance(packet, Gap) for packet in keeping(first=1, stored=9).outlet.take())


def test_a_conversation_that_is_left_is_read_no_further() -> None:
    device = receiving()
    device.stored(ALICE_BOB, 20)
    device.stored(ALICE_CAROL, 20)
    assert device.feed
    device.take()
    device.outlet.drain()
    device.log.read_one()
    device.feed.leave(ALICE_BOB)
    device.feed.leave(ALICE_BOB)
    before = [place for place in device.delivered if place[0] == ALICE_BOB]
    device.settle()
    assert [place for place in device.delivered if place[0] == ALICE_BOB] == before
    assert device.cursors[ALICE_CAROL] == 20


def test_a_page_of_the_time_before_leaving_does_not_follow_a_return() -> None:
    device = receiving()
    device.stored(ALICE_BOB, 20)
    assert device.feed
    device.take()
    device.outlet.drain()
    device.log.read_one()
    device.feed.leave(ALICE_BOB)
    device.feed.offer(ALICE_BOB, 31, 31, encode(Delivery(ALICE_BOB, 31, 0, bytes(5000))))
    device.outlet.take()
    device.feed.offer(ALICE_BOB, 32, 32, encode(Delivery(ALICE_BOB, 32, 0, b"")))
    device.log.answer_page()
    assert device.outlet.take() == []


def test_a_page_of_a_room_that_ended_does_not_stand_for_another_room_of_its_name() -> None:
    """Left and come back to the very same place, while a page was on its way."""
    device = Device(limit=100)
    device.stored(ALICE_BOB, 3)
    device.begin()
    device.log.commit()
    device.log.answer()
    device.log.read_one()
    assert device.feed
    device.feed.leave(ALICE_BOB)
    device.outlet.push(encode(Delivery(ALICE_CAROL, 1, 0, bytes(200))))
    device.feed.offer(ALICE_BOB, 1, 1, encode(Delivery(ALICE_BOB, 1, 0, b"")))
    device.outlet.take()
    device.log.answer_page()
    assert device.outlet.take() == []
    device.outlet.drain()
    device.log.run()
    assert [packet.offset for packet in device.outlet.take()] == [1, 2, 3]  # type: ignore[union-attr]


def test_who_leaves_while_the_backlog_is_looked_up_gets_nothing_of_that_conversation() -> None:
    device = Device(10_000)
    feed = device.feed = device.session.feed = Feed(device.session, device.log)
    device.stored(ALICE_BOB, 2)
    feed.leave(ALICE_BOB)
    feed.start([])
    device.settle()
    assert device.delivered == []


def test_a_page_larger_than_the_outbox_gets_through_once_it_is_empty() -> None:
    device = Device(limit=100)
    device.stored(ALICE_BOB, 7)
    device.begin()
    device.settle()
    assert device.cursors[ALICE_BOB] == 7


class AnyOrder(RuleBasedStateMachine):
    """Messages are stored, commits answered late, pages read late and answered later, the outbox fills and drains."""

    conversations = st.sampled_from([ALICE_BOB, ALICE_CAROL])

    def __init__(self) -> None:
        super().__init__()
        self.device = Device()

    @rule(conversation=conversations, own=st.booleans(), count=st.integers(1, 4))
    def write(self, conversation: str, own: bool, count: int) -> None:
        for _ in range(count):
            self.device.write(conversation, own=own)

    @precondition(lambda self: self.device.feed is None)
    @rule()
    def begin(self) -> None:
        self.device.begin()

    @precondition(lambda self: self.device.log.can["commit"])
    @rule()
    def commit(self) -> None:
        self.device.log.commit()

    @precondition(lambda self: self.device.log.can["answer"])
    @rule()
    def answer(self) -> None:
        self.device.log.answer()

    @precondition(lambda self: self.device.log.can["read_one"])
    @rule()
    def read_one(self) -> None:
        self.device.log.read_one()

    @precondition(lambda self: self.device.log.can["answer_page"])
    @rule()
    def answer_page(self) -> None:
        self.device.log.answer_page()

    @rule(size=st.integers(1, 500))
    def drain(self, size: int) -> None:
        self.device.outlet.drain(size)

    @rule()
    def take(self) -> None:
        self.device.take()

    def teardown(self) -> None:
        device = self.device
        device.settle()
        if device.feed is None:
            assert device.delivered == []
            return
        for conversation in (ALICE_BOB, ALICE_CAROL):
            head = device.head(conversation)
            assert device.cursors.get(conversation, 0) == head
            missing = {offset for offset in range(1, head + 1) if (conversation, offset) not in device.delivered}
            assert {(conversation, offset) for offset in missing} <= device.own
        reads = device.log.reads_run
        for conversation in (ALICE_BOB, ALICE_CAROL):
            device.stored(conversation)
            assert device.take() == [(conversation, device.head(conversation))]
        assert device.log.reads_run == reads


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)


def test_the_recording_tools_themselves() -> None:
    assert [len(frame) for frame in split(encode(Delivery("a@b", 1, 2, b"x")) * 2)] == [15, 15]
    with pytest.raises(AssertionError, match="cut off"):
        split(encode(Delivery("a@b", 1, 2, b"x"))[:-1])
    assert isinstance(SteppedLog().store, MemoryStore)
