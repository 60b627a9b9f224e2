"""The router keeps its parts in step when sessions come and go."""

import pytest

from relay.protocol.codes import CloseCode, ErrorCode
from relay.protocol.packets import Call, Fault, Open, Reset, Result, encode
from relay.router.directory import TooManySessionsError, address_bytes
from tests.router.recording import RecordingOutlet, RecordingSubscriber
from tests.router.town import Town


def call(town: Town, caller: RecordingSubscriber, to: str, id: int = 1) -> bytes:
    frame = encode(call := Call(caller.address, to, id, "add", 1000, "", b""))
    town.router.call(caller, call, frame)
    return frame


def test_a_call_goes_to_the_relay_or_to_a_session() -> None:
    town = Town("alice", "bob")
    alice, bob = town.join("alice"), town.join("bob")
    assert town.ask(alice, "relay.info")["agent"] == "relay/test"
    frame = call(town, alice, "bob/phone")
    assert bob.outlet.pushed == [frame]


def test_calls_run_out_by_the_routers_clock() -> None:
    town = Town("alice", "bob")
    alice = town.join("alice")
    town.join("bob")
    call(town, alice, "bob/phone")
    town.now_s += 0.5
    town.router.expire()
    assert alice.outlet.take() == []
    town.now_s += 1
    town.router.expire()
    assert [type(packet) for packet in alice.outlet.take()] == [Fault]


def test_who_leaves_is_gone_from_everywhere() -> None:
    town = Town("alice", "bob")
    alice, bob = town.join("alice", rooms=("#ops",), receiving=True), town.join("bob", blocked=("carol",))
    call(town, alice, "bob/phone")
    alice.end(CloseCode.NORMAL, "bye")
    bob.end(CloseCode.NORMAL, "bye")
    assert len(town.router.directory) == 0
    assert len(town.router.calls) == 0
    assert len(town.router.rooms) == 0
    assert not town.router.blocks
    assert alice.feed
    assert alice.feed.stopped
    assert repr(town.router.rooms) == "<LiveRooms: 0 rooms of 0 users>"


def _methods() -> set[str]:
    from relay.router.methods import METHODS

    return set(METHODS)


def test_a_replaced_session_leaves_its_place_to_the_newer_one_with_rooms_and_blocks() -> None:
    town = Town("alice", "bob")
    older = town.join("alice", rooms=("#ops",), blocked=("mallory",))
    newer = town.join("alice", rooms=("#ops",), blocked=("mallory",))
    assert [code for code, *_ in older.ended] == [CloseCode.REPLACED]
    assert town.router.rooms.is_member("#ops", "alice")
    assert list(town.router.rooms.sessions_in("#ops")) == [newer]
    assert town.router.blocks.blocks("alice", "mallory")


def test_an_older_session_that_goes_during_a_login_takes_nothing_along() -> None:
    town = Town("alice")
    older = town.join("alice", "phone", rooms=("#ops",), blocked=("mallory",))
    newer = RecordingSubscriber("alice", "laptop", leave=town.router.leave)
    with town.router.expecting("alice"):
        town.router.learn("alice", ("#ops",), ("mallory",))
        older.end(CloseCode.NORMAL, "bye")
        town.router.rooms.join("#new", "alice")
        town.router.enter(newer)
    assert list(town.router.rooms.sessions_in("#ops")) == [newer]
    assert list(town.router.rooms.sessions_in("#new")) == [newer]
    assert town.router.blocks.blocks("alice", "mallory")


def test_a_login_that_comes_to_nothing_leaves_nothing_behind() -> None:
    town = Town("alice")
    with town.router.expecting("alice"):
        town.router.learn("alice", ("#ops",), ("mallory",))
    town.router.learn("alice", ("#ops",), ("mallory",))
    assert not town.router.rooms.is_member("#ops", "alice")
    assert not town.router.blocks
    assert not town.router.directory.concerns("alice")


def test_a_changed_account_ends_sessions_and_bars_logins_that_began_before() -> None:
    town = Town("alice", "bob")
    phone, laptop, bob = town.join("alice"), town.join("alice", "laptop"), town.join("bob")
    laptop.login_key = b"new"
    with town.router.expecting("alice"), town.router.expecting("bob"):
        town.router.end_outdated("alice", b"new")
        assert town.router.directory.is_barred("alice", b"key")
        assert not town.router.directory.is_barred("alice", b"new")
        assert not town.router.directory.is_barred("bob", b"key")
    assert not town.router.directory.is_barred("alice", b"key")
    assert [code for code, *_ in phone.ended] == [CloseCode.ACCOUNT_ENDED]
    assert not laptop.ended
    assert not bob.ended


def test_an_account_that_is_no_more_ends_all_and_bars_all() -> None:
    town = Town("alice")
    phone = town.join("alice")
    with town.router.expecting("alice"):
        town.router.end_outdated("alice", None)
        assert town.router.directory.is_barred("alice", b"key")
    assert phone.ended
    town.router.end_outdated("carol", None)
    with town.router.expecting("carol"):
        assert not town.router.directory.is_barred("carol", b"key")


def test_two_logins_of_one_user_at_once() -> None:
    town = Town("alice")
    with town.router.expecting("alice"):
        with town.router.expecting("alice"):
            town.router.learn("alice", ("#ops",), ())
        assert town.router.rooms.is_member("#ops", "alice")
    assert not town.router.rooms.is_member("#ops", "alice")


def test_one_session_too_many_is_refused_and_changes_nothing() -> None:
    town = Town("alice", sessions_per_user_max=1)
    first = town.join("alice", rooms=("#ops",))
    with pytest.raises(TooManySessionsError):
        town.join("alice", "laptop")
    assert list(town.router.rooms.sessions_in("#ops")) == [first]
    assert not first.ended


def test_the_signal_route_minds_blocks_and_membership() -> None:
    town = Town("alice", "bob", "carol")
    alice = town.join("alice", rooms=("#ops",))
    bob = town.join("bob", rooms=("#ops",), blocked=("carol",))
    carol = town.join("carol")
    route = town.router.signal_route

    assert route(alice, address_bytes("bob")).outlets == (bob.outlet,)  # type: ignore[union-attr]
    assert route(carol, address_bytes("bob")) is None
    assert route(carol, address_bytes("bob/phone")) is None
    assert route(carol, address_bytes("alice")).outlets == (alice.outlet,)  # type: ignore[union-attr]
    assert set(route(alice, address_bytes("#ops")).outlets) == {alice.outlet, bob.outlet}  # type: ignore[union-attr]
    assert route(carol, address_bytes("#ops")) is None
    assert route(alice, address_bytes("nobody")) is None
    assert town.router.signal_obstacle(carol, "bob")[0] == ErrorCode.BLOCKED
    assert town.router.signal_obstacle(carol, "bob/phone")[0] == ErrorCode.BLOCKED
    assert town.router.signal_obstacle(carol, "#ops")[0] == ErrorCode.NO_SUCH_ROOM
    assert town.router.signal_obstacle(carol, "nobody")[0] == ErrorCode.NO_SUCH_SESSION


@pytest.mark.parametrize("encoded", [b"\xa2#\xff", b"\xd9\x02#\xc3", b"\xa1#", b"\xa0", b"\xa3#op"])
def test_bytes_that_are_no_address_have_no_route(encoded: bytes) -> None:
    town = Town("alice")
    assert town.router.signal_route(town.join("alice", rooms=("#ops",)), encoded) is None


def test_a_blocked_caller_is_told_so() -> None:
    town = Town("alice", "bob")
    alice, bob = town.join("alice"), town.join("bob", blocked=("alice",))
    for to in ("bob", "bob/phone"):
        call(town, alice, to)
    assert [packet.code for packet in alice.outlet.take()] == [ErrorCode.BLOCKED] * 2  # type: ignore[union-attr]
    call(town, bob, "alice/phone")
    assert len(alice.outlet.pushed) == 1


def test_a_call_to_the_relay_under_any_method_is_answered_once() -> None:
    town = Town("alice")
    alice = town.join("alice", outlet=RecordingOutlet(limit=10))
    for number, method in enumerate([*_methods(), "no.such", "", "x" * 64]):
        town.call(alice, method, b"\xc1", id=number)
        town.log.run()
        answers = alice.outlet.take()
        assert [packet.id for packet in answers] == [number]  # type: ignore[union-attr]
        assert isinstance(answers[0], Fault | Result)


def test_a_stream_to_the_relay_is_refused_without_a_service_for_it() -> None:
    town = Town("alice")
    alice = town.join("alice")
    packet = Open(alice.address, "relay", 4, "files.put", 1000, "", b"")
    town.router.open_stream(alice, packet, encode(packet))
    (refusal,) = alice.outlet.take()
    assert isinstance(refusal, Reset)
    assert (refusal.id, refusal.code) == (5, ErrorCode.NO_SUCH_SERVICE)
    town.router.serve = lambda opener, packet: (ErrorCode.QUEUE_FULL, f"not now, {opener.user}")
    town.router.open_stream(alice, packet, encode(packet))
    (refusal,) = alice.outlet.take()
    assert isinstance(refusal, Reset)
    assert (refusal.code, refusal.sentence) == (ErrorCode.QUEUE_FULL, "not now, alice")


def test_a_stream_to_the_relay_has_the_service_at_its_other_end() -> None:
    town = Town("alice")
    alice, service = town.join("alice"), RecordingSubscriber("service")
    service.address = "relay"
    town.router.serve = lambda opener, packet: service
    packet = Open(alice.address, "relay", 4, "files.put", 1000, "", b"")
    town.router.open_stream(alice, packet, encode(packet))
    assert service.outlet.take() == [packet]
    town.router.leave(alice)
    (gone,) = service.outlet.send_streams()
    assert isinstance(gone, Reset)
    assert gone.code == ErrorCode.SESSION_GONE
