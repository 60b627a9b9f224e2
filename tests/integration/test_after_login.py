"""What a client that is logged in may do wrong: packets that end its session, and packets that only are refused."""

from collections.abc import Callable

import pytest

from relay.protocol.codes import CloseCode, ErrorCode
from relay.protocol.limits import BODY_MAX, FRAME_MAX, MESSAGE_MAX
from relay.protocol.packets import (
    NUMBERS,
    Call,
    Delivery,
    Error,
    Fault,
    Message,
    Packet,
    Result,
    Signal,
    Stored,
    encode,
)
from tests.integration.samples import Sample, after_login, frame, packed
from tests.integration.stage import Stage

SAMPLES = after_login()


@pytest.mark.parametrize("build", [build for _, build in SAMPLES], ids=[name for name, _ in SAMPLES])
def test_a_session_is_told_why_and_closed(stage: Stage, build: Callable[[str], Sample]) -> None:
    peer = stage.session()
    sample = build(peer.address)
    peer.send_bytes(sample.data)
    close = peer.closing()
    assert (close.code, close.retry_ms) == (sample.code, None)
    assert sample.words in close.sentence
    stage.one_log_line(peer, "WARNING", peer.address, close.sentence)


PRIMED = [(name, build) for name, build in SAMPLES if name.startswith(("SIGNAL", "MESSAGE"))]


@pytest.mark.parametrize("build", [build for _, build in PRIMED], ids=[name for name, _ in PRIMED])
def test_a_session_that_was_well_behaved_is_told_the_same(stage: Stage, build: Callable[[str], Sample]) -> None:
    """The relay has shortcuts for packets that look like those before them; no bad packet may take one."""
    peer, other = stage.session(), stage.session()
    other.receive_messages()
    good: list[Packet] = [Signal(peer.address, other.address, None, "", b"body") for _ in range(3)]
    good += [Message(peer.address, other.user, number, "", b"body") for number in range(200, 203)]
    sample = build(peer.address)
    # What the sample says to nobody is said to somebody, and with an id of the same width.
    bad = sample.data.replace(b"\xa6nobody\x01", packed(other.user) + b"\xcc\xcd")
    bad = frame(bad[4:])
    peer.send_bytes(b"".join(map(encode, good)) + bad + b"".join(map(encode, good)))
    assert peer.closing().code == sample.code
    for kind in (Signal, Message):
        received = [other.packet() for _ in range(3)]
        assert {type(packet) for packet in received} == {Signal if kind is Signal else Delivery}
    other.alive()


def test_what_came_before_is_done_and_what_follows_is_not(stage: Stage) -> None:
    peer, other = stage.session(), stage.session()
    good = encode(Signal(peer.address, other.address, None, "", b"before"))
    late = encode(Signal(peer.address, other.address, None, "", b"after"))
    peer.send_bytes(good + b"\0\0\0\0" + late)
    assert peer.closing().code == CloseCode.BAD_FRAME
    assert other.expect(Signal).body == b"before"
    other.alive()


def test_a_frame_as_long_as_the_limit_is_accepted(stage: Stage) -> None:
    peer = stage.session()
    size = FRAME_MAX - len(packed([99, b""])) - 3
    peer.send_bytes(frame(packed([99, bytes(size)])))
    error = peer.expect(Error)
    assert (error.refused, error.id, error.code) == (99, None, ErrorCode.UNKNOWN_PACKET)
    peer.alive()


def test_a_packet_of_a_later_version_is_refused_with_its_id(stage: Stage) -> None:
    peer = stage.session()
    peer.send_bytes(frame(packed([48, peer.address, "bob", 9, 65536])))
    error = peer.expect(Error)
    assert (error.refused, error.id, error.code) == (48, 9, ErrorCode.UNKNOWN_PACKET)
    peer.alive()


def forged(sender: str, victim: str) -> list[Packet]:
    """Every packet that has a sender."""
    return [
        Signal(sender, victim, 5, "", b""),
        Signal(sender, victim, None, "", b""),
        Message(sender, victim.partition("/")[0], 5, "", b""),
        Call(sender, victim, 5, "work", 1000, "", b""),
        Call(sender, "relay", 5, "relay.info", 1000, "", b""),
        Result(sender, victim, 5, "", b""),
        Fault(sender, victim, 5, 1000, "no"),
    ]


@pytest.mark.parametrize("number", range(len(forged("a/b", "c/d"))))
@pytest.mark.parametrize("disguise", ["victim", "user", "device", "relay", "nobody", "case", "long"])
def test_a_forged_sender(stage: Stage, number: int, disguise: str) -> None:
    peer, victim = stage.session(), stage.session()
    victim.receive_messages()
    user = peer.address.partition("/")[0]
    sender = {
        "victim": victim.address,
        "user": user,
        "device": f"{user}/other",
        "relay": "relay",
        "nobody": "",
        "case": peer.address.upper(),
        "long": peer.address + "x" * 100_000,
    }[disguise]
    packet = forged(sender, victim.address)[number]
    peer.send(packet)
    error = peer.expect(Error)
    assert (error.refused, error.code) == (NUMBERS[type(packet)], ErrorCode.FORGED_SENDER)
    assert error.id == getattr(packet, "id")  # noqa: B009 - not every packet has one
    assert len(error.sentence.encode()) <= 256
    stage.one_log_line(peer, "WARNING", peer.address, "says it is from")
    peer.alive()
    victim.alive()


def test_a_forger_fills_no_log(stage: Stage) -> None:
    peer, victim = stage.session(), stage.session()
    for number in range(50):
        peer.send(Signal(victim.address, victim.address, number, "", b""))
    assert {peer.expect(Error).code for _ in range(50)} == {ErrorCode.FORGED_SENDER}
    stage.one_log_line(peer, "WARNING", "says it is from")
    victim.alive()


BAD_NAMES = ["", "Alice", "a b", "a@b", "user/", "/device", "user/De vice", "a/b/c", "a" * 65, "a\x00", "a" * 100_000]


@pytest.mark.parametrize("number", [1, 200, 70_000])
@pytest.mark.parametrize("name", BAD_NAMES, ids=lambda name: f"{name[:12]!a} x {len(name)}")
def test_a_name_that_is_none(stage: Stage, name: str, number: int) -> None:
    peer = stage.session()
    me = peer.address
    peer.send(
        Signal(me, name, number, "", b""),
        Message(me, name, number, "", b""),
        Call(me, name, number, "work", 1000, "", b""),
    )
    answers = [peer.expect(Error), peer.expect(Error), peer.packet()]
    assert isinstance(answers[2], Error | Fault)
    for answer in answers:
        assert isinstance(answer, Error | Fault)
        assert (answer.id, answer.code) == (number, ErrorCode.BAD_ADDRESS), answer
        assert 0 < len(answer.sentence.encode()) <= 256
    peer.alive()


def test_a_user_who_does_not_exist(stage: Stage) -> None:
    peer = stage.session()
    me = peer.address
    peer.send(Message(me, "nobody", 1, "", b""))
    error = peer.expect(Error)
    assert (error.refused, error.id, error.code) == (NUMBERS[Message], 1, ErrorCode.NO_SUCH_USER)
    assert "nobody" in error.sentence
    peer.send(Signal(me, "nobody", 2, "", b""), Call(me, "nobody", 3, "work", 1000, "", b""))
    error, fault = peer.expect(Error), peer.expect(Fault)
    assert (error.id, error.code) == (2, ErrorCode.NO_SUCH_SESSION)
    assert (fault.sender, fault.id, fault.code) == ("relay", 3, ErrorCode.NO_SUCH_SESSION)
    peer.send(Signal(me, "nobody", None, "", b""))
    peer.alive()


def test_a_user_who_does_not_exist_looks_like_one_who_is_away(stage: Stage) -> None:
    peer, away = stage.session(), stage.user()
    seen = []
    for name in ("nobody", away):
        peer.send(Signal(peer.address, name, 1, "", b""), Call(peer.address, name, 1, "work", 1000, "", b""))
        seen.append(str((peer.expect(Error), peer.expect(Fault))).replace(name, "NAME"))
    assert seen[0] == seen[1]


@pytest.mark.parametrize("to", ["user/device", "relay"])
def test_a_message_goes_to_users_only(stage: Stage, to: str) -> None:
    peer = stage.session()
    for number in (1, 200, 201):
        peer.message(to, number)
        error = peer.expect(Error)
        assert (error.id, error.code) == (number, ErrorCode.BAD_ADDRESS)
    peer.alive()


def test_what_is_too_large_is_refused_and_not_forwarded(stage: Stage) -> None:
    peer, other = stage.session(), stage.session()
    other.receive_messages()
    me, to = peer.address, other.address
    user = to.partition("/")[0]
    body, kind, method = bytes(BODY_MAX + 1), "x" * 129, "m" * 65
    packets: list[Packet] = [
        Signal(me, to, 1, "", body),
        Message(me, user, 2, "", body),
        Call(me, to, 3, "work", 1000, "", body),
        Signal(me, to, 4, kind, b""),
        Message(me, user, 5, kind, b""),
        Call(me, to, 6, "work", 1000, kind, b""),
        Call(me, to, 7, method, 1000, "", b""),
        Signal(me, to, None, kind, b""),
    ]
    for packet in packets:
        peer.send(packet)
        error = peer.expect(Error)
        assert (error.refused, error.code) == (NUMBERS[type(packet)], ErrorCode.TOO_LARGE)
        assert error.id == getattr(packet, "id")  # noqa: B009
    peer.alive()
    other.alive()


def test_a_message_that_no_delivery_could_hold_is_refused(stage: Stage) -> None:
    peer, user = stage.session(), stage.user()
    fields = [NUMBERS[Message], peer.address, user, 1, "", b"body"]
    padding = MESSAGE_MAX - len(packed([*fields, ""])) - 4
    peer.send_bytes(frame(packed([*fields, "x" * (padding + 1)])))
    assert peer.expect(Error).code == ErrorCode.TOO_LARGE
    peer.send_bytes(frame(packed([*fields, "x" * padding])))
    assert peer.expect(Stored).offset == 1


def test_the_largest_body_goes_through(stage: Stage) -> None:
    peer, other = stage.session(), stage.session()
    other.receive_messages()
    body = bytes(range(256)) * (BODY_MAX // 256)
    peer.signal(other.address, body)
    assert other.expect(Signal).body == body
    peer.store(other.address.partition("/")[0], 1, body)
    assert body in other.expect_delivery().packet


def test_message_ids_start_at_one(stage: Stage) -> None:
    peer, other = stage.session(), stage.user()
    peer.message(other, 0)
    error = peer.expect(Error)
    assert (error.id, error.code) == (0, ErrorCode.BAD_ARGUMENTS)
    peer.store(other, 1)


@pytest.mark.parametrize("timeout_ms", [0, 600_001, 2**53 - 1])
def test_a_call_with_an_impossible_time(stage: Stage, timeout_ms: int) -> None:
    peer, other = stage.session(), stage.session()
    peer.call(other.address, 1, "work", timeout_ms)
    fault = peer.expect(Fault)
    assert (fault.id, fault.code) == (1, ErrorCode.BAD_ARGUMENTS)
    other.alive()


def test_wrong_arguments_for_the_relay_are_explained(stage: Stage) -> None:
    peer = stage.session()
    for method, arguments in (
        ("messages.receive", {"start": -1}),
        ("messages.receive", {"start": "all"}),
        ("methods.announce", {}),
        ("methods.announce", {"methods": "work"}),
        ("methods.announce", {"methods": [""]}),
        ("methods.announce", {"methods": ["m" * 65]}),
        ("methods.announce", {"methods": ["m"] * 257}),
        ("messages.receive", [1]),
    ):
        fault = peer.ask(method, arguments)
        assert isinstance(fault, Fault), (method, arguments)
        assert fault.code == ErrorCode.BAD_ARGUMENTS
        assert fault.sentence
    fault = peer.ask("no.such.method")
    assert isinstance(fault, Fault)
    assert fault.code == ErrorCode.NO_SUCH_METHOD
    peer.alive()


@pytest.mark.parametrize(
    "body",
    [
        b"\xc1",
        b"\xdd\xff\xff\xff\xff",
        b"\x81" * 1000 + b"\xc0",
        b"\x81\xa5start\xd4\x01\x00",
        b"\x80\x80",
        b"\x81\xa1",
    ],
    ids=["garbage", "claims", "deep", "ext", "twice", "short"],
)
def test_arguments_that_cannot_be_decoded(stage: Stage, body: bytes) -> None:
    peer = stage.session()
    peer.send(Call(peer.address, "relay", 1, "messages.receive", 1000, "application/msgpack", body))
    fault = peer.expect(Fault)
    assert (fault.id, fault.code) == (1, ErrorCode.BAD_ARGUMENTS)
    peer.alive()


def test_an_acknowledgement_of_foreign_conversations_changes_nothing(stage: Stage) -> None:
    peer, first, second = stage.session(), stage.session(), stage.session()
    second.receive_messages()
    users = sorted(session.address.partition("/")[0] for session in (first, second))
    for conversation in ("@".join(users), "#ops", "nonsense", "", "x" * 100_000, "a@b@c"):
        peer.send_bytes(frame(packed([20, conversation, 1, 1])))
    assert not isinstance(peer.ask("messages.sync"), Fault)
    first.store(second.address.partition("/")[0], 1, b"hello")
    assert second.expect_delivery().offset == 1
