"""Who is connected, found by name, by address, and by the bytes of an address."""

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.protocol.codes import CloseCode
from relay.router.directory import Directory, TooManySessionsError, address_bytes
from tests.router.recording import RecordingSubscriber


def joined(directory: Directory, user: str, device: str = "phone") -> RecordingSubscriber:
    session = RecordingSubscriber(user, device, leave=directory.detach)
    directory.attach(session)
    return session


def test_a_session_is_found_by_address_user_and_bytes() -> None:
    directory = Directory(8)
    phone, laptop = joined(directory, "alice"), joined(directory, "alice", "laptop")
    assert directory.session("alice/phone") is phone
    assert list(directory.sessions_of("alice")) == [phone, laptop]
    assert directory.route(address_bytes("alice")).outlets == (phone.outlet, laptop.outlet)  # type: ignore[union-attr]
    assert directory.route(address_bytes("alice/laptop")).outlets == (laptop.outlet,)  # type: ignore[union-attr]
    assert directory.users() == ["alice"]
    assert len(directory) == 2


def test_nobody_is_found_where_nobody_is() -> None:
    directory = Directory(8)
    assert directory.session("alice/phone") is None
    assert list(directory.sessions_of("alice")) == []
    assert directory.route(address_bytes("alice")) is None


@pytest.mark.parametrize("address", ["a", "a" * 31, "a" * 32, "é" * 32, "a" * 64 + "/" + "b" * 64])
def test_address_bytes_are_what_a_packet_holds(address: str) -> None:
    assert msgpack.unpackb(address_bytes(address)) == address
    assert address_bytes(address) in msgpack.packb((1, address, 2))


def test_a_route_kept_by_a_sender_follows_who_comes_and_goes() -> None:
    directory = Directory(8)
    phone = joined(directory, "alice")
    route = directory.route(address_bytes("alice"))
    assert route is not None
    laptop = joined(directory, "alice", "laptop")
    assert route.outlets == (phone.outlet, laptop.outlet)
    directory.detach(phone)
    assert route.outlets == (laptop.outlet,)
    directory.detach(laptop)
    assert route.outlets == ()
    assert directory.route(address_bytes("alice")) is None


def test_the_newer_session_of_a_device_takes_the_place_of_the_older() -> None:
    directory = Directory(1)
    older = joined(directory, "alice")
    newer = joined(directory, "alice")
    assert [code for code, *_ in older.ended] == [CloseCode.REPLACED]
    assert directory.session("alice/phone") is newer
    assert directory.route(address_bytes("alice/phone")).outlets == (newer.outlet,)  # type: ignore[union-attr]
    directory.detach(older)
    assert directory.session("alice/phone") is newer
    assert not newer.ended


def test_one_session_too_many_changes_nothing() -> None:
    directory = Directory(2)
    joined(directory, "alice"), joined(directory, "alice", "laptop")
    with pytest.raises(TooManySessionsError):
        directory.attach(RecordingSubscriber("alice", "tablet"))
    assert directory.session("alice/tablet") is None
    assert len(directory) == 2
    joined(directory, "bob")


def test_detaching_twice_or_never_attached_is_nothing() -> None:
    directory = Directory(8)
    phone = joined(directory, "alice")
    directory.detach(phone)
    directory.detach(phone)
    directory.detach(RecordingSubscriber("bob"))
    assert len(directory) == 0
    assert repr(directory) == "<Directory: 0 sessions of 0 users>"


def test_taking_turns() -> None:
    directory = Directory(8)
    sessions = [joined(directory, "alice", device) for device in ("a", "b", "c")]
    directory.move_to_end(sessions[0])
    assert [s.device for s in directory.sessions_of("alice")] == ["b", "c", "a"]


def test_everybody_is_a_copy() -> None:
    directory = Directory(8)
    joined(directory, "alice"), joined(directory, "bob")
    for session in directory.everybody():
        directory.detach(session)
    assert len(directory) == 0
    assert directory.users() == []


steps = st.lists(
    st.tuples(st.sampled_from(["attach", "detach", "end"]), st.sampled_from("ab"), st.sampled_from("xyz")), max_size=60
)


@given(steps)
def test_the_directory_agrees_with_a_list_of_sessions(moves: list[tuple[str, str, str]]) -> None:
    directory = Directory(2)
    live: dict[tuple[str, str], RecordingSubscriber] = {}
    for move, user, device in moves:
        if move == "attach":
            session = RecordingSubscriber(user, device, leave=directory.detach)
            others = [key for key in live if key[0] == user and key[1] != device]
            if len(others) == 2 and (user, device) not in live:
                with pytest.raises(TooManySessionsError):
                    directory.attach(session)
            else:
                directory.attach(session)
                live[user, device] = session
        elif (user, device) in live:
            gone = live.pop((user, device))
            gone.end(CloseCode.NORMAL, "bye") if move == "end" else directory.detach(gone)
        for name in "ab":
            route = directory.route(address_bytes(name))
            expected = {id(session.outlet) for (owner, _), session in live.items() if owner == name}
            assert {id(outlet) for outlet in route.outlets} == expected if route else not expected
        assert directory.users() == sorted({owner for owner, _ in live})
        assert {id(session) for session in directory.everybody()} == {id(session) for session in live.values()}
