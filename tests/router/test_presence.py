"""Who is there, told to those who asked. A tick is a second; nothing here waits for one."""

from typing import Any

from relay.protocol.codes import CloseCode
from relay.protocol.packets import Signal
from relay.protocol.payloads import decode_body
from relay.router.presence import State
from tests.router.recording import RecordingSubscriber, packets
from tests.router.town import Town


def events(session: RecordingSubscriber) -> list[dict[str, Any]]:
    found = []
    for frames, _ in session.outlet.signalled:
        for signal in packets(frames):
            assert isinstance(signal, Signal)
            assert (signal.sender, signal.to, signal.id) == ("relay", session.user, None)
            body = decode_body(signal.content_type, signal.body)
            assert isinstance(body, dict)
            found.append(body)
    session.outlet.signalled.clear()
    return found


class Watch:
    """Bob watches Alice."""

    def __init__(self) -> None:
        self.town = Town()
        self.presence = self.town.router.presence
        self.bob = self.town.join("bob")
        self.presence.watch(self.bob, ["alice"])

    def states(self) -> list[str]:
        self.presence.tick()
        found = events(self.bob)
        assert all(event["event"] == "presence" and event["user"] == "alice" for event in found)
        assert all(event["seen_ms"] == self.town.time_ms for event in found)
        return [event["state"] for event in found]


def test_coming_and_going_is_told() -> None:
    at = Watch()
    alice = at.town.join("alice")
    assert at.states() == ["online"]
    assert at.states() == []
    alice.end(CloseCode.NORMAL, "bye")
    assert at.states() == ["offline"]


def test_nothing_is_told_before_the_tick() -> None:
    at = Watch()
    at.town.join("alice")
    assert events(at.bob) == []


def test_whoever_is_where_she_was_is_not_told() -> None:
    at = Watch()
    at.town.join("alice").end(CloseCode.NORMAL, "bye")
    assert at.states() == []
    phone = at.town.join("alice")
    assert at.states() == ["online"]
    laptop = at.town.join("alice", "laptop")
    phone.end(CloseCode.NORMAL, "bye")
    assert at.states() == []
    laptop.end(CloseCode.NORMAL, "bye")
    at.town.join("alice")
    assert at.states() == []


def test_away_is_when_all_devices_are_away() -> None:
    at = Watch()
    phone, laptop = at.town.join("alice"), at.town.join("alice", "laptop")
    at.states()
    for session, away, told in ((phone, True, []), (laptop, True, ["away"]), (phone, False, ["online"])):
        session.away = away
        at.presence.change("alice")
        assert at.states() == told
    assert at.presence.state("alice") is State.ONLINE
    assert at.presence.state("nobody") is State.OFFLINE


def test_only_those_who_asked_are_told() -> None:
    at = Watch()
    carol = at.town.join("carol")
    at.town.join("alice")
    at.presence.tick()
    assert events(carol) == []


def test_a_new_list_takes_the_place_of_the_old_one() -> None:
    at = Watch()
    at.presence.watch(at.bob, ["carol"])
    at.town.join("alice")
    assert at.states() == []
    at.town.join("carol")
    at.presence.tick()
    assert [event["user"] for event in events(at.bob)] == ["carol"]


def test_a_second_watcher_changes_nothing_for_the_first() -> None:
    at = Watch()
    at.town.join("alice")
    carol = at.town.join("carol")
    at.presence.watch(carol, ["alice"])
    assert at.states() == ["online"]


def test_watchers_that_left_are_forgotten_with_what_they_watched() -> None:
    at = Watch()
    at.town.join("alice")
    at.bob.end(CloseCode.NORMAL, "bye")
    at.presence.tick()
    assert events(at.bob) == []
    assert repr(at.presence) == "<Presence: 0 users watched by 0 sessions>"
    assert not at.presence._told
