"""Streams between recordings: every packet that fits is forwarded byte for byte, every other one ends its stream."""

from collections.abc import Callable

import pytest

from relay.protocol.codes import CloseCode, ErrorCode
from relay.protocol.packets import Accept, Credit, Data, Finish, Open, Packet, Reset, encode
from relay.router.directory import Directory
from relay.router.streams import StreamLimits, StreamTable
from tests.router.recording import RecordingOutlet, RecordingSubscriber


class Harbour:
    """A directory and a table, as the router puts them together, and a stream from alice (id 4) to bob."""

    def __init__(self, limits: StreamLimits = StreamLimits()) -> None:  # noqa: B008
        self.directory = Directory(8)
        self.table = StreamTable(self.directory, limits)
        self.alice = self.join("alice")
        self.bob = self.join("bob", "pc", "echo")

    def join(
        self, user: str, device: str = "phone", *services: str, outlet: RecordingOutlet | None = None
    ) -> RecordingSubscriber:
        session = RecordingSubscriber(user, device, leave=self.leave, outlet=outlet)
        session.services = frozenset(services)
        self.directory.attach(session)
        return session

    def leave(self, session: RecordingSubscriber) -> None:
        self.directory.detach(session)
        self.table.leave(session)

    def open(self, id: int = 4, to: str = "bob", *, service: str = "echo", timeout_ms: int = 1000) -> bytes:
        packet = Open(self.alice.address, to, id, service, timeout_ms, "", b"please")
        self.table.open(self.alice, packet, encode(packet), 0.0)
        return encode(packet)

    def send(self, session: RecordingSubscriber, packet: Packet) -> bytes:
        """Hand a packet to the table as its session's handlers do."""
        frame = encode(packet)
        if isinstance(packet, Data):
            self.table.data(session, packet.to, packet.id, len(packet.body), frame)
        elif isinstance(packet, Accept):
            self.table.accept(session, packet, frame)
        elif isinstance(packet, Credit):
            self.table.credit(session, packet, frame)
        elif isinstance(packet, Finish):
            self.table.finish(session, packet, frame)
        elif isinstance(packet, Reset):
            self.table.reset(session, packet, frame)
        return frame

    def opened(self) -> "Harbour":
        """With the stream accepted, and nothing left to read."""
        self.open()
        self.send(self.bob, Accept("bob/pc", "alice/phone", 5, "", b""))
        self.alice.outlet.take()
        self.bob.outlet.take()
        return self

    def credited(self) -> "Harbour":
        """With 100 bytes of credit for each end."""
        self.opened()
        self.send(self.bob, Credit("bob/pc", "alice/phone", 5, 100))
        self.send(self.alice, Credit("alice/phone", "bob/pc", 4, 100))
        self.alice.outlet.take()
        self.bob.outlet.take()
        return self


def news(session: RecordingSubscriber) -> list[Packet]:
    """What has come, resets without their sentences."""
    packets = [*session.outlet.take(), *session.outlet.send_streams()]
    return [p._replace(sentence="") if isinstance(p, Reset) else p for p in packets]  # type: ignore[misc]


def reset(to: str, id: int, code: ErrorCode) -> Reset:
    return Reset("relay", to, id, code, "")


def test_a_stream_from_its_opening_to_its_end() -> None:
    harbour = Harbour()
    alice, bob = harbour.alice, harbour.bob
    frames = [harbour.open()]
    assert bob.outlet.pushed == frames
    accept = harbour.send(bob, Accept("bob/pc", "alice/phone", 5, "", b"welcome"))
    credit = harbour.send(bob, Credit("bob/pc", "alice/phone", 5, 10))
    back = harbour.send(alice, Credit("alice/phone", "bob/pc", 4, 3))
    assert alice.outlet.pushed == [accept, credit] and bob.outlet.pushed == [*frames, back]
    sent = [harbour.send(alice, Data("alice/phone", "bob/pc", 4, body)) for body in (b"12345", b"67890")]
    sent.append(harbour.send(alice, Finish("alice/phone", "bob/pc", 4)))
    assert [frame for frame, _, _ in bob.outlet.streamed] == sent
    answer = [harbour.send(bob, Data("bob/pc", "alice/phone", 5, b"abc"))]
    answer.append(harbour.send(bob, Finish("bob/pc", "alice/phone", 5)))
    assert [frame for frame, _, _ in alice.outlet.streamed] == answer
    assert len(harbour.table) == 0 and not alice.streams.streams and not bob.streams.streams


REFUSED_OPENS: dict[str, tuple[Callable[[Harbour], object], ErrorCode]] = {
    "an odd id": (lambda h: h.open(7), ErrorCode.ID_REUSED),
    "nobody there": (lambda h: h.open(to="carol"), ErrorCode.NO_SUCH_SESSION),
    "no such session": (lambda h: h.open(to="bob/phone"), ErrorCode.NO_SUCH_SESSION),
    "no such service": (lambda h: h.open(service="files"), ErrorCode.NO_SUCH_SERVICE),
    "to a room": (lambda h: h.open(to="#ops"), ErrorCode.BAD_ADDRESS),
    "to no address": (lambda h: h.open(to="Bob B"), ErrorCode.BAD_ADDRESS),
    "to herself": (lambda h: h.open(to="alice/phone"), ErrorCode.BAD_ADDRESS),
    "no time": (lambda h: h.open(timeout_ms=0), ErrorCode.BAD_ARGUMENTS),
    "too much time": (lambda h: h.open(timeout_ms=60_001), ErrorCode.BAD_ARGUMENTS),
}


@pytest.mark.parametrize(("opening", "code"), REFUSED_OPENS.values(), ids=REFUSED_OPENS)
def test_a_stream_that_cannot_be_opened_is_refused(opening: Callable[[Harbour], object], code: ErrorCode) -> None:
    harbour = Harbour()
    opening(harbour)
    (answer,) = news(harbour.alice)
    assert isinstance(answer, Reset) and answer.code == code and answer.id & 1
    assert not harbour.bob.outlet.pushed and len(harbour.table) == 0


@pytest.mark.parametrize("id", [4, 2])
def test_ids_grow(id: int) -> None:
    harbour = Harbour().opened()
    harbour.send(harbour.alice, Reset("alice/phone", "bob/pc", 4, 1000, ""))
    harbour.open(id)
    assert news(harbour.alice) == [reset("alice/phone", id | 1, ErrorCode.ID_REUSED)]


def test_a_session_is_reached_whether_it_offers_the_service_or_not() -> None:
    harbour = Harbour()
    harbour.open(to="bob/pc", service="surprise")
    assert [packet.service for packet in harbour.bob.outlet.take() if isinstance(packet, Open)] == ["surprise"]


def test_streams_are_spread_over_the_sessions_of_a_user() -> None:
    harbour = Harbour()
    desk = harbour.join("bob", "desk", "echo")
    for id in range(0, 8, 2):
        harbour.open(id)
    assert len(harbour.bob.outlet.take()) == len(desk.outlet.take()) == 2


def test_streams_have_caps() -> None:
    harbour = Harbour(StreamLimits(streams_max=3, opening_max=2))
    for id in (0, 2, 4):
        harbour.open(id)
    assert news(harbour.alice) == [reset("alice/phone", 5, ErrorCode.RATE_LIMITED)]
    for id in (1, 3):
        harbour.send(harbour.bob, Accept("bob/pc", "alice/phone", id, "", b""))
    for id in (6, 8):
        harbour.open(id)
    assert news(harbour.alice)[2:] == [reset("alice/phone", 9, ErrorCode.RATE_LIMITED)]


def test_a_session_with_all_its_streams_takes_no_more_from_others() -> None:
    harbour = Harbour(StreamLimits(streams_max=1))
    carol = harbour.join("carol")
    packet = Open("carol/phone", "bob", 0, "echo", 1000, "", b"")
    harbour.table.open(carol, packet, encode(packet), 0.0)
    harbour.open()
    assert news(harbour.alice) == [reset("alice/phone", 5, ErrorCode.QUEUE_FULL)]


def test_what_is_not_accepted_in_time_is_over_for_both() -> None:
    harbour = Harbour()
    harbour.open(timeout_ms=1000)
    harbour.bob.outlet.take()
    harbour.table.expire(0.99)
    assert not news(harbour.alice)
    harbour.table.expire(1.0)
    assert news(harbour.alice) == [reset("alice/phone", 5, ErrorCode.TIMED_OUT)]
    assert news(harbour.bob) == [reset("bob/pc", 4, ErrorCode.TIMED_OUT)]
    harbour.open(6)
    assert harbour.alice.streams.opening == 1


def test_what_was_accepted_does_not_expire() -> None:
    harbour = Harbour().opened()
    harbour.table.expire(100.0)
    assert len(harbour.table) == 1


def test_a_stream_can_be_refused_and_given_up_before_it_is_accepted() -> None:
    harbour = Harbour()
    harbour.open()
    refusal = harbour.send(harbour.bob, Reset("bob/pc", "alice/phone", 5, 1000, "no"))
    assert [frame for frame, _, _ in harbour.alice.outlet.streamed] == [refusal]
    harbour.open(6)
    cancel = harbour.send(harbour.alice, Reset("alice/phone", "bob", 6, ErrorCode.CANCELLED, "never mind"))
    assert [frame for frame, _, _ in harbour.bob.outlet.streamed] == [cancel]
    assert len(harbour.table) == 0 and harbour.alice.streams.opening == 0


MISUSE: dict[str, tuple[Packet, ErrorCode]] = {
    "more than granted": (Data("alice/phone", "bob/pc", 4, bytes(101)), ErrorCode.FLOW_CONTROL),
    "no credit at all": (Credit("alice/phone", "bob/pc", 4, 0), ErrorCode.FLOW_CONTROL),
    "too much credit": (Credit("alice/phone", "bob/pc", 4, 65_537), ErrorCode.FLOW_CONTROL),
}


@pytest.mark.parametrize(("packet", "code"), MISUSE.values(), ids=MISUSE)
def test_who_breaks_the_rules_ends_the_stream_for_both(packet: Packet, code: ErrorCode) -> None:
    harbour = Harbour().credited()
    harbour.send(harbour.alice, packet)
    assert news(harbour.alice) == [reset("alice/phone", 5, code)]
    assert news(harbour.bob) == [reset("bob/pc", 4, code)]
    assert len(harbour.table) == 0


@pytest.mark.parametrize("packet", [Data("alice/phone", "bob/pc", 4, b"x"), Finish("alice/phone", "bob/pc", 4)])
def test_nothing_comes_after_the_end(packet: Packet) -> None:
    harbour = Harbour().credited()
    harbour.send(harbour.alice, Finish("alice/phone", "bob/pc", 4))
    harbour.send(harbour.alice, packet)
    assert news(harbour.alice) == [reset("alice/phone", 5, ErrorCode.BAD_STREAM)]


@pytest.mark.parametrize(
    "packet",
    [
        Data("bob/pc", "alice/phone", 5, b"x"),
        Credit("bob/pc", "alice/phone", 5, 1),
        Finish("bob/pc", "alice/phone", 5),
    ],
)
def test_nothing_comes_before_it_is_accepted(packet: Packet) -> None:
    harbour = Harbour()
    harbour.open()
    harbour.send(harbour.bob, packet)
    assert isinstance(news(harbour.alice)[0], Reset) and len(harbour.table) == 0


def test_accepting_twice_ends_the_stream() -> None:
    harbour = Harbour().opened()
    harbour.send(harbour.bob, Accept("bob/pc", "alice/phone", 5, "", b""))
    assert news(harbour.alice) == [reset("alice/phone", 5, ErrorCode.BAD_STREAM)]


@pytest.mark.parametrize(
    "packet",
    [
        Data("alice/phone", "bob/pc", 8, b"x"),
        Data("alice/phone", "carol/pc", 4, b"x"),
        Data("alice/phone", "bob/pc", 5, b"x"),
        Accept("alice/phone", "bob/pc", 4, "", b""),
        Accept("alice/phone", "bob/pc", 9, "", b""),
        Credit("alice/phone", "bob/pc", 8, 1),
        Finish("alice/phone", "bob/pc", 8),
    ],
)
def test_a_stream_that_is_not_there_is_reset_for_who_asks_and_nobody_else(packet: Packet) -> None:
    harbour = Harbour().credited()
    harbour.send(harbour.alice, packet)
    assert news(harbour.alice) == [reset("alice/phone", packet.id ^ 1, ErrorCode.NO_SUCH_STREAM)]  # type: ignore[union-attr]
    assert not news(harbour.bob) and len(harbour.table) == 1


def test_the_stream_of_others_cannot_be_touched() -> None:
    harbour = Harbour().credited()
    eve = harbour.join("eve")
    for id, to in ((4, "bob/pc"), (5, "alice/phone"), (4, "alice/phone")):
        harbour.send(eve, Data("eve/phone", to, id, b"x"))
        harbour.send(eve, Reset("eve/phone", to, id, 1000, ""))
    assert not news(harbour.alice) and not news(harbour.bob) and len(harbour.table) == 1


def test_a_reset_of_what_is_over_needs_no_answer() -> None:
    harbour = Harbour().opened()
    for session, to, id in ((harbour.alice, "bob/pc", 4), (harbour.bob, "alice/phone", 5)):
        harbour.send(session, Reset(session.address, to, id, 1000, ""))
    assert not news(harbour.alice) and len(news(harbour.bob)) == 1


@pytest.mark.parametrize("opener_leaves", [True, False])
def test_who_stays_learns_at_once_that_the_other_left_behind_the_data_that_came(opener_leaves: bool) -> None:
    harbour = Harbour().credited()
    leaver, stayer = (harbour.alice, harbour.bob) if opener_leaves else (harbour.bob, harbour.alice)
    theirs, mine = (4, 5) if opener_leaves else (5, 4)
    harbour.send(leaver, Data(leaver.address, stayer.address, theirs, b"last words"))
    leaver.end(CloseCode.NORMAL, "bye")
    last, told = news(stayer)
    assert isinstance(last, Data) and told == reset(stayer.address, theirs, ErrorCode.SESSION_GONE)
    harbour.send(stayer, Data(stayer.address, leaver.address, mine, b"too late"))
    assert len(harbour.table) == 0


def test_a_slow_reader_holds_back_credit_not_data() -> None:
    harbour = Harbour(StreamLimits(window_bytes=100_000)).opened()
    for _ in range(3):
        harbour.send(harbour.bob, Credit("bob/pc", "alice/phone", 5, 50_000))
    assert len(harbour.alice.outlet.take()) == 2
    harbour.send(harbour.alice, Data("alice/phone", "bob/pc", 4, bytes(50_000)))
    assert not harbour.alice.outlet.take()
    harbour.bob.outlet.send_streams()
    assert len(harbour.alice.outlet.take()) == 1


def test_what_is_given_up_at_once_does_not_pile_up_until_its_deadline() -> None:
    harbour = Harbour()
    for number in range(5000):
        harbour.open(2 * number, timeout_ms=60_000)
        harbour.send(harbour.alice, Reset("alice/phone", "bob", 2 * number, ErrorCode.CANCELLED, "no"))
    assert len(harbour.table) == 0 and len(harbour.table._deadlines) < 600
    for number in range(5000, 5060):
        harbour.open(2 * number, timeout_ms=60_000)
    assert len(harbour.table) == 60
    harbour.table.expire(60.1)
    assert len(harbour.table) == 0, "what waited was not forgotten"
