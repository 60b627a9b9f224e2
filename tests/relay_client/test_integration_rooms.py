"""The SDK's questions, followed messages and events against the real relay process, on both clients."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from relay_client import Bot, Client, Presence, Receipt, RoomChanged, errors
from relay_client.fate import FateState

from relay.protocol.codes import CloseCode, ErrorCode
from tests.relay_client.conftest import Start
from tests.relay_client.driver import AioClient
from tests.relay_client.peer import until
from tests.relay_client.town import Town

ClientOf = Callable[..., Any]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    town = Town(tmp_path_factory.mktemp("town"))
    with town.open():
        yield town


@pytest.fixture(params=[Client, AioClient], ids=["blocking", "aio"])
def client_of(request: pytest.FixtureRequest) -> ClientOf:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def users(shared: Town, request: pytest.FixtureRequest) -> tuple[str, str, str]:
    """Three users of the test's own, and a room by the name of the first: `#` and her name."""
    number = abs(hash(request.node.nodeid)) % 10**9
    names = (f"alice{number}", f"bob{number}", f"carol{number}")
    shared.add(*names)
    return names


def test_a_room_from_its_making_to_its_end(shared: Town, users: tuple[str, str, str], client_of: ClientOf) -> None:
    alice, bob, carol = users
    room = f"#{alice}"
    with client_of(shared.url(alice), "laptop") as me, client_of(shared.url(bob), "phone") as other:
        made = me.rooms.create(alice, "Plans", public=False)
        assert (made.room, made.title, made.public, made.role, made.members) == (room, "Plans", False, "owner", 1)
        with pytest.raises(errors.CallFailed) as outside:
            other.rooms.join(room)
        with pytest.raises(errors.CallFailed) as nowhere:
            other.rooms.join(f"{room}x")
        assert outside.value.code == nowhere.value.code == ErrorCode.NO_SUCH_ROOM
        assert outside.value.sentence == nowhere.value.sentence.replace(f"{room}x", room)
        events: list[Any] = []
        other.on_event(events.append)
        assert me.rooms.invite(room, bob).role == "owner"
        assert other.rooms.join(room).role == "member"
        until(lambda: len([event for event in events if isinstance(event, RoomChanged)]) >= 2)
        assert [(event.what, event.user, event.by) for event in events] == [
            ("invited", bob, alice),
            ("joined", bob, bob),
        ]
        me.rooms.set_role(room, bob, "moderator")
        other.rooms.set(room, title="Other plans")
        other.rooms.ban(room, carol)
        assert [(m.user, m.role) for m in me.rooms.members(room) if m.role != "banned"] == [
            (alice, "owner"),
            (bob, "moderator"),
        ]
        other.rooms.unban(room, carol)
        me.rooms.remove(room, bob)
        assert [(found.room, found.title) for found in me.rooms.list()] == [(room, "Other plans")]
        assert other.rooms.list() == ()
        me.rooms.leave(room)
        assert me.rooms.list() == ()


def test_a_message_is_followed_to_its_reader_over_a_restart(tmp_path: Path, client_of: ClientOf) -> None:
    town = Town(tmp_path)
    town.add("alice", "bob")
    with town.open():
        me = client_of(town.url("alice"), "laptop")
        posted = me.post("bob", "hello")
        assert posted.wait().offset == 1
        with pytest.raises(errors.TimedOut):
            posted.wait_delivered(timeout=0.05)
    with town.open(), me, client_of(town.url("bob"), "phone") as other:
        message = next(other.messages())
        message.ack()
        fate = posted.wait_delivered(timeout=20)
        assert (fate.state, fate.delivered_to, fate.read_by) == (FateState.DELIVERED, ("bob/phone",), ())
        message.mark_read()
        fate = posted.wait_read(timeout=20)
        assert (fate.state, fate.read_by) == (FateState.READ, ("bob",))
        (cursor,) = [cursor for cursor in me.conversations.receipts("bob") if cursor.user == "bob"]
        assert (cursor.device, cursor.delivered, cursor.read) == ("phone", 1, 1)


def test_receipts_are_events(shared: Town, users: tuple[str, str, str], client_of: ClientOf) -> None:
    alice, bob, _ = users
    with client_of(shared.url(alice), "laptop") as me, client_of(shared.url(bob), "phone") as other:
        events: list[Any] = []
        me.on_event(events.append)
        me.conversations.watch_receipts()
        conversation = me.send(bob, "hello").conversation
        other.on_message(lambda message: message.mark_read())
        until(lambda: any(isinstance(event, Receipt) and event.read for event in events))
        last = [event for event in events if isinstance(event, Receipt)][-1]
        assert (last.conversation, last.user, last.read) == (conversation, bob, 1)


def test_presence_is_told(shared: Town, users: tuple[str, str, str], client_of: ClientOf) -> None:
    alice, bob, _ = users
    with client_of(shared.url(alice), "laptop") as me:
        events: list[Any] = []
        me.on_event(events.append)
        me.send(bob, "are you there?")
        assert [(p.user, p.state) for p in me.people.watch()] == [(bob, "offline")]
        with client_of(shared.url(bob), "phone") as other:
            until(lambda: len(events) >= 1)
            other.people.set_away()
            until(lambda: len(events) >= 2)
        until(lambda: len(events) >= 3)
        assert [event.state for event in events if isinstance(event, Presence)] == ["online", "away", "offline"]
        me.people.unwatch()


def test_whom_one_blocks_is_refused_with_code_and_sentence(
    shared: Town, users: tuple[str, str, str], client_of: ClientOf
) -> None:
    alice, bob, _ = users
    with client_of(shared.url(alice), "laptop") as me, client_of(shared.url(bob), "phone") as other:
        other.blocks.add(alice)
        assert other.blocks.list() == (alice,)
        posted = me.post(bob, "hello")
        with pytest.raises(errors.Refused) as refused:
            posted.wait()
        assert refused.value.code == ErrorCode.BLOCKED and refused.value.sentence
        assert posted.fate.state is FateState.REFUSED
        other.blocks.remove(alice)
        assert me.send(bob, "hello").offset == 1


def test_devices_are_listed_and_forgotten(shared: Town, users: tuple[str, str, str], client_of: ClientOf) -> None:
    alice, *_ = users
    with client_of(shared.url(alice), "laptop", receive=True) as laptop:
        phone = client_of(shared.url(alice), "phone", receive=True)
        phone.receive()
        laptop.receive()
        assert [(device.device, device.online) for device in laptop.devices.list()] == [
            ("laptop", True),
            ("phone", True),
        ]
        laptop.devices.forget("phone")
        with pytest.raises(errors.ConnectionEnded) as ended:
            list(phone.messages())
        assert ended.value.code == CloseCode.ACCOUNT_ENDED
        phone._abandon()
        assert [device.device for device in laptop.devices.list()] == ["laptop"]


def test_a_client_that_only_sends_is_no_device(shared: Town, users: tuple[str, str, str], client_of: ClientOf) -> None:
    alice, bob, _ = users
    with client_of(shared.url(alice), receive=False) as me:
        me.send(bob, "hello")
        assert me.devices.list() == ()


def test_history_and_conversations(shared: Town, users: tuple[str, str, str], client_of: ClientOf) -> None:
    alice, bob, _ = users
    with client_of(shared.url(alice), "laptop") as me, client_of(shared.url(bob), receive=False) as other:
        for number in range(1, 601):
            posted = me.post(bob, str(number))
        conversation = posted.wait().conversation
        assert [message.offset for message in other.history(alice)] == list(range(600, 0, -1))
        assert [message.text for message in other.history(conversation, after=590)] == list(map(str, range(591, 601)))
        (found,) = other.conversations.list()
        assert (found.conversation, found.head, found.unread) == (conversation, 600, 600)
        other.mark_read(next(iter(other.history(alice))))
        other.call("relay", "messages.sync")


def test_a_new_device_begins_with_the_last_messages(
    shared: Town, users: tuple[str, str, str], client_of: ClientOf
) -> None:
    alice, bob, _ = users
    with client_of(shared.url(alice), "laptop", receive=True) as laptop:
        laptop.receive()
        for text in ("one", "two", "three"):
            laptop.send(bob, text)
        with client_of(shared.url(alice), "phone", start=2) as phone:
            assert [message.text for message in phone.messages(count=2)] == ["two", "three"]
            laptop.send(bob, "four")
            assert next(phone.messages()).text == "four"


def test_typing_is_seen_in_a_room(shared: Town, users: tuple[str, str, str], client_of: ClientOf) -> None:
    alice, bob, _ = users
    with client_of(shared.url(alice), "laptop") as me, client_of(shared.url(bob), "phone") as other:
        me.rooms.create(alice)
        other.rooms.join(alice)
        me.typing(f"#{alice}")
        (signal,) = other.signals(count=1)
        assert signal.is_typing and (signal.sender, signal.to) == (alice, f"#{alice}")


def test_a_bot_hears_the_rooms_it_has_functions_for(
    shared: Town,
    users: tuple[str, str, str],
    start: Start,
) -> None:
    alice, robot, _ = users
    heard: list[tuple[str, str]] = []
    bot = Bot(shared.url(robot))

    @bot.on_message(room=alice)
    def in_room(message: Any) -> None:
        heard.append(("room", message.text))

    @bot.on_message
    def elsewhere(message: Any) -> None:
        heard.append(("direct", message.text))

    @bot.on_message(room="#no-such-room")
    def nowhere(message: Any) -> None:
        raise AssertionError

    with pytest.raises(ValueError, match="already"):
        bot.on_message(room=f"#{alice}")(elsewhere)
    with Client(shared.url(alice), "laptop") as me:
        me.rooms.create(alice)
        start(bot)
        until(lambda: any(member.user == robot for member in me.rooms.members(alice)))
        me.send(f"#{alice}", "to all")
        me.send(robot, "to you")
        until(lambda: len(heard) >= 2)
        assert sorted(heard) == [("direct", "to you"), ("room", "to all")]
