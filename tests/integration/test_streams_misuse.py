"""Streams used wrongly, with real bytes against a real relay: a code, a sentence, and nothing left behind."""

from collections.abc import Callable, Iterable

import pytest

from relay.protocol.codes import ErrorCode
from relay.protocol.limits import CHUNK_MAX_BYTES, CREDIT_MAX_BYTES, INTEGER_MAX
from relay.protocol.packets import Accept, Credit, Data, Error, Finish, Open, Packet, Reset, Signal
from tests.integration.peer import Peer
from tests.integration.stage import Stage
from tests.integration.test_leaks import GROWTH_BYTES, grows_by
from tests.integration.test_streams import opened

# What one end may have that is not accepted, and what it may have in all.
OPENING_MAX = 64
MANY = 10_000

Ends = tuple[Peer, Peer]


def offer(alice: Peer, to: str, id: int, timeout_ms: int = 60_000) -> Open:
    return Open(alice.address, to, id, "bytes", timeout_ms, "", b"")


def refused(peer: Peer, id: int, code: ErrorCode, *words: str) -> None:
    """The next packet is a RESET of the relay for this stream."""
    packet = peer.expect(Reset)
    assert (packet.sender, packet.to, packet.id, packet.code) == ("relay", peer.address, id, code), packet
    assert packet.sentence and all(word in packet.sentence for word in words), packet.sentence


def granted(stage: Stage, size: int) -> Ends:
    """As `opened`, and alice may send so many bytes."""
    alice, bob = opened(stage)
    bob.send(Credit(bob.address, alice.address, 5, size))
    assert alice.expect(Credit).size == size
    return alice, bob


def test_more_than_the_credit_ends_the_stream_for_both(stage: Stage) -> None:
    alice, bob = granted(stage, 10)
    alice.send(Data(alice.address, bob.address, 4, b"0123456789"), Data(alice.address, bob.address, 4, b"x"))
    assert bob.expect(Data).body == b"0123456789"
    for peer, id in ((alice, 5), (bob, 4)):
        refused(peer, id, ErrorCode.FLOW_CONTROL, "sent 1 bytes and had credit for 0")
    alice.alive()
    bob.alive()


def test_more_than_the_credit_in_one_large_packet(stage: Stage) -> None:
    alice, bob = granted(stage, CHUNK_MAX_BYTES - 1)
    alice.send(Data(alice.address, bob.address, 4, bytes(CHUNK_MAX_BYTES)))
    for peer, id in ((alice, 5), (bob, 4)):
        refused(peer, id, ErrorCode.FLOW_CONTROL, "sent 65536 bytes")


# What alice sends after the stream 4 to bob was opened; what both get.
WRONG: dict[str, tuple[Callable[[str, str], Iterable[Packet]], ErrorCode]] = {
    "no credit granted, and data": (lambda a, b: [Data(a, b, 4, b"x")], ErrorCode.FLOW_CONTROL),
    "a credit of nothing": (lambda a, b: [Credit(a, b, 4, 0)], ErrorCode.FLOW_CONTROL),
    "a credit over the limit": (lambda a, b: [Credit(a, b, 4, CREDIT_MAX_BYTES + 1)], ErrorCode.FLOW_CONTROL),
    "a credit of all there is": (lambda a, b: [Credit(a, b, 4, INTEGER_MAX)], ErrorCode.FLOW_CONTROL),
    "more after the end": (lambda a, b: [Finish(a, b, 4), Data(a, b, 4, b"x")], ErrorCode.BAD_STREAM),
    "an end after the end": (lambda a, b: [Finish(a, b, 4), Finish(a, b, 4)], ErrorCode.BAD_STREAM),
}


@pytest.mark.parametrize("name", WRONG)
def test_breaking_the_rules_ends_the_stream_for_both(stage: Stage, name: str) -> None:
    build, code = WRONG[name]
    alice, bob = opened(stage)
    alice.send(*build(alice.address, bob.address))
    packet = bob.packet()
    while isinstance(packet, Finish):
        packet = bob.packet()
    assert isinstance(packet, Reset) and (packet.id, packet.code) == (4, code) and packet.sentence
    refused(alice, 5, code)
    alice.send(Data(alice.address, bob.address, 4, b"late"))
    refused(alice, 5, ErrorCode.NO_SUCH_STREAM)
    bob.alive()


def test_credits_without_end_end_the_stream(stage: Stage) -> None:
    alice, bob = opened(stage)
    bob.send(*[Credit(bob.address, alice.address, 5, CREDIT_MAX_BYTES)] * 200)
    passed = 0
    while isinstance(packet := alice.packet(), Credit):
        passed += packet.size
    assert passed <= 1024 * 1024
    assert isinstance(packet, Reset) and packet.code == ErrorCode.FLOW_CONTROL
    # What it sent behind that is for a stream that is over, and the answers to it may overtake.
    while (packet := bob.expect(Reset)).code == ErrorCode.NO_SUCH_STREAM:
        pass
    assert packet.code == ErrorCode.FLOW_CONTROL and "64 CREDITs waiting" in packet.sentence


@pytest.mark.parametrize("kind", ["data", "large data", "credit", "finish"])
@pytest.mark.parametrize("id", [40, 41, 5])
def test_a_stream_that_was_never_opened(stage: Stage, kind: str, id: int) -> None:
    alice, bob = opened(stage)
    a, b = alice.address, bob.address
    packets: dict[str, Packet] = {
        "data": Data(a, b, id, b"x"),
        "large data": Data(a, b, id, bytes(CHUNK_MAX_BYTES)),
        "credit": Credit(a, b, id, 1),
        "finish": Finish(a, b, id),
    }
    alice.send(packets[kind])
    refused(alice, id ^ 1, ErrorCode.NO_SUCH_STREAM)
    bob.alive()


@pytest.mark.parametrize("ending", ["finished", "reset"])
def test_a_stream_that_is_over(stage: Stage, ending: str) -> None:
    alice, bob = opened(stage)
    if ending == "finished":
        alice.send(Finish(alice.address, bob.address, 4))
        bob.expect(Finish)
        bob.send(Finish(bob.address, alice.address, 5))
        alice.expect(Finish)
    else:
        bob.send(Reset(bob.address, alice.address, 5, 1000, "no more"))
        assert alice.expect(Reset).code == 1000
    alice.send(Data(alice.address, bob.address, 4, b"x"), Reset(alice.address, bob.address, 4, 1000, "late"))
    refused(alice, 5, ErrorCode.NO_SUCH_STREAM)
    alice.alive()
    bob.alive()


@pytest.mark.parametrize("id", [4, 2, 7, 0])
def test_an_id_is_taken_once(stage: Stage, id: int) -> None:
    alice, bob = opened(stage)
    alice.send(offer(alice, bob.user, id))
    refused(alice, id | 1, ErrorCode.ID_REUSED)
    bob.alive()
    alice.send(offer(alice, bob.user, 6))
    assert bob.expect(Open).id == 6


def test_a_stream_to_oneself(stage: Stage) -> None:
    alice = stage.session()
    alice.ask("services.announce", {"services": ["bytes"]})
    for number, to in enumerate((alice.address, alice.user)):
        alice.send(offer(alice, to, 4 + 2 * number))
        refused(alice, 5 + 2 * number, ErrorCode.BAD_ADDRESS, "no stream to itself")


def test_accepting_what_is_not_there_or_again(stage: Stage) -> None:
    alice, bob = opened(stage)
    bob.send(Accept(bob.address, alice.address, 9, "", b""))
    refused(bob, 8, ErrorCode.NO_SUCH_STREAM)
    bob.send(Accept(bob.address, alice.address, 5, "", b""))
    refused(bob, 4, ErrorCode.BAD_STREAM)
    refused(alice, 5, ErrorCode.BAD_STREAM, "accepted the stream twice")


@pytest.mark.parametrize("size", [0, CHUNK_MAX_BYTES + 1])
def test_data_of_no_size_it_may_have(stage: Stage, size: int) -> None:
    alice, bob = opened(stage)
    alice.send(Data(alice.address, bob.address, 4, bytes(size)))
    error = alice.expect(Error)
    assert error.sentence and (error.refused, error.id) == (34, 4)
    bob.alive()


def test_data_in_the_name_of_another(stage: Stage) -> None:
    alice, bob = granted(stage, 100)
    mallory = stage.session()
    mallory.send(Data(alice.address, bob.address, 4, b"x"))
    assert mallory.expect(Error).code == ErrorCode.FORGED_SENDER
    mallory.send(Data(mallory.address, bob.address, 4, b"x"))
    refused(mallory, 5, ErrorCode.NO_SUCH_STREAM)
    bob.alive()


def test_a_peer_that_never_grants_gets_no_byte_and_holds_up_nobody(stage: Stage) -> None:
    alice, bob = opened(stage)
    carol = stage.session()
    carol.signal(bob.user, b"hello")
    assert bob.expect(Signal).body == b"hello"
    alice.send(Finish(alice.address, bob.address, 4))
    bob.expect(Finish)
    bob.send(Finish(bob.address, alice.address, 5))
    alice.expect(Finish)


def test_ten_thousand_openings_that_nobody_accepts(stage: Stage) -> None:
    users, bob = [stage.user() for _ in range(4)], stage.session()
    rounds = 0

    def once() -> None:
        nonlocal rounds
        rounds += 1
        alice = stage.session(users[rounds % len(users)], f"device{rounds}")
        for start in range(0, MANY, 500):
            alice.send(*[offer(alice, bob.address, 4 + 2 * number) for number in range(start, start + 500)])
            for number in range(start, start + 500):
                if number >= OPENING_MAX:
                    refused(alice, 5 + 2 * number, ErrorCode.RATE_LIMITED, "wait to be accepted")
        for _ in range(OPENING_MAX):
            bob.expect(Open)
        alice.close()
        for _ in range(OPENING_MAX):
            assert bob.expect(Reset).code == ErrorCode.SESSION_GONE

    assert grows_by(stage, once, rounds=3, besides=1) < GROWTH_BYTES


def test_openings_that_are_given_up_leave_nothing_behind(stage: Stage) -> None:
    alice, bob = stage.session(), stage.session()
    first = 4

    def once() -> None:
        nonlocal first
        for start in range(first, first + 4000, 40):
            ids = range(start, start + 40, 2)
            alice.send(*(packet for id in ids for packet in given_up(id)))
            kinds = sorted(type(bob.packet()).__name__ for _ in range(2 * len(ids)))
            assert kinds == ["Open"] * len(ids) + ["Reset"] * len(ids)
        first += 4000

    def given_up(id: int) -> list[Packet]:
        return [offer(alice, bob.address, id), Reset(alice.address, bob.address, id, ErrorCode.CANCELLED, "no")]

    assert grows_by(stage, once, rounds=4, besides=2) < GROWTH_BYTES
