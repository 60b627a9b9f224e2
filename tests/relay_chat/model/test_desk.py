"""What a person does, against a real relay, without a terminal. The chat as a whole: tests/relay_chat/test_app.py."""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import pytest
from relay_chat.model.desk import Desk
from relay_chat.model.entries import Mark
from relay_chat.model.search import find_newer, find_older, pattern_of
from relay_chat.model.timeline import WINDOW_MAX
from relay_client import errors
from relay_client.aio import Client

from tests.process import DEADLINE_S
from tests.process import run as run_command
from tests.relay_chat.stage import run
from tests.relay_client.town import Town


class Notes:
    """What a desk tells."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.changes = 0

    def changed(self, name: str | None) -> None:
        self.changes += 1

    def tell(self, sentence: str, is_problem: bool) -> None:
        self.told.append(sentence)


@asynccontextmanager
async def desk_of(town: Town, user: str) -> AsyncIterator[tuple[Desk, Notes]]:
    notes = Notes()
    desk = Desk(Client(town.url(user), device="chat", start=0, receive=False), notes.changed, notes.tell)
    await desk.start()
    await until(lambda: desk.ready)
    yield desk, notes
    await desk.stop(DEADLINE_S)


async def until(ready: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not ready():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


def test_messages_go_out_in_order_and_tell_their_fate(shared: Town, users: tuple[str, str, str]) -> None:
    alice, bob, _ = users

    async def test() -> None:
        async with desk_of(shared, alice) as (desk, _), desk_of(shared, bob) as (other, _):
            conversation = await desk.open(desk.book.named(bob))
            entries = [desk.send(conversation, str(number)) for number in range(300)]  # more than may be under way
            assert desk.unsent == 300 and conversation.mark(entries[0]) is Mark.QUEUED
            await until(lambda: desk.unsent == 0)
            assert [entry.offset for entry in entries] == list(range(1, 301))
            assert conversation.timeline.entries == entries and conversation.waiting == []
            assert conversation.unread == 0
            there = await other.open(conversation.name)
            assert there.unread == 300 and there.new_from == 1 and not there.timeline.following
            await other.load_newest(there)
            assert there.timeline.following and there.timeline.high == 300
            other.seen(there, 300)
            await until(lambda: conversation.mark(entries[-1]) is Mark.READ)

    run(test)


def test_what_the_relay_refuses_is_marked(shared: Town, users: tuple[str, str, str]) -> None:
    alice, _, _ = users

    async def test() -> None:
        async with desk_of(shared, alice) as (desk, _):
            conversation = await desk.open(desk.book.named(f"{alice}-nobody"))
            entry = desk.send(conversation, "hello")
            await until(lambda: entry.error)
            assert conversation.mark(entry) is Mark.FAILED and desk.unsent == 0
            desk.discard_failed(conversation)
            assert conversation.waiting == []

    run(test)


def test_rooms(shared: Town, users: tuple[str, str, str]) -> None:
    alice, bob, _ = users
    room = f"#desk-{alice}"

    async def test() -> None:
        async with desk_of(shared, alice) as (desk, _), desk_of(shared, bob) as (other, notes):
            made = await desk.create(room, "Plans", public=False)
            assert (made.title, made.role) == ("Plans", "owner")
            await desk.client.rooms.invite(room, bob)
            await until(lambda: f"{alice} invites you to {room}" in notes.told)
            assert other.book.get(room).is_invitation
            joined = await other.join(room)
            desk.send(made, "hello")
            await until(lambda: joined.unread == 1)
            await desk.open(room)
            await until(lambda: made.member_names == (alice, bob))
            await desk.client.rooms.remove(room, bob)
            await until(lambda: f"{alice} put you out of {room}" in notes.told)
            await until(lambda: other.book.rooms() == [])
            with pytest.raises(errors.CallFailed):
                await other.join(room)

    run(test)


def test_search_goes_through_what_is_not_in_memory(shared: Town, users: tuple[str, str, str]) -> None:
    alice, bob, _ = users

    async def test() -> None:
        async with desk_of(shared, alice) as (desk, _):
            conversation = await desk.open(desk.book.named(bob))
            for number in range(1, 701):
                desk.send(conversation, "a. b" if number in (2, 690) else f"number {number}")
            await until(lambda: desk.unsent == 0)
            await desk.load_newest(conversation)
            passed: list[int | None] = []
            found = [701]
            while at := await find_older(
                desk, conversation, pattern_of("A. B"), found[-1], lambda e: passed.append(e.offset)
            ):
                found.append(at)
            assert found == [701, 690, 2] and passed
            await desk.show(conversation, 2)
            assert conversation.timeline.index_of(2) == 1 and not conversation.timeline.following
            assert await find_newer(desk, conversation, pattern_of("a. b"), 2, lambda e: None) == 690
            assert await find_newer(desk, conversation, pattern_of("a. b"), 690, lambda e: None) is None

    run(test)


def test_a_whole_message(shared: Town, users: tuple[str, str, str]) -> None:
    alice, bob, _ = users

    async def test() -> None:
        async with desk_of(shared, alice) as (desk, _):
            conversation = await desk.open(desk.book.named(bob))
            desk.send(conversation, "x" * 60_000)
            await until(lambda: desk.unsent == 0)
            sender, text = await desk.whole(conversation, 1)
            assert sender == alice and text.startswith("x" * 50_000 + "\n\n… 10,000 more")
            assert (await desk.whole(conversation, 9))[1] == "this message is no longer kept"

    run(test)


def test_what_came_unread_and_has_left_memory_is_opened_at_its_beginning(
    shared: Town, users: tuple[str, str, str]
) -> None:
    alice, bob, _ = users

    async def test() -> None:
        async with desk_of(shared, alice) as (desk, _), desk_of(shared, bob) as (other, _):
            conversation = await desk.open(desk.book.named(bob))
            there = await other.open(other.book.named(alice))
            await other.open(other.book.named(bob))
            for number in range(WINDOW_MAX + 200):
                desk.send(conversation, str(number))
            await until(lambda: there.head == WINDOW_MAX + 200)
            assert there.timeline.low > 1
            await other.open(there.name)
            assert there.new_from == 1 and there.timeline.low == 1

    run(test)


def test_only_so_many_conversations_are_in_memory(
    shared: Town, users: tuple[str, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, bob, carol = users
    monkeypatch.setattr("relay_chat.model.desk.VISITED_MAX", 2)

    async def test() -> None:
        async with desk_of(shared, alice) as (desk, _):
            for name in (bob, carol, alice):
                conversation = await desk.open(desk.book.named(name))
                desk.send(conversation, "hello")
            await until(lambda: desk.unsent == 0)
            loaded = [desk.book.get(desk.book.named(name)).timeline.loaded for name in (bob, carol, alice)]
            assert loaded == [False, True, True]
            again = await desk.open(desk.book.named(bob))
            assert [entry.text for entry in again.timeline.entries] == ["hello"]

    run(test)


def test_a_relay_that_was_restored_begins_anew(tmp_path: Path) -> None:
    town = Town(tmp_path)
    town.add("alice", "bob")

    async def test() -> None:
        with ExitStack() as relays:
            relays.enter_context(town.open())
            async with desk_of(town, "alice") as (desk, _):
                conversation = await desk.open("alice@bob")
                desk.send(conversation, "kept")
                await until(lambda: desk.unsent == 0)
                assert (
                    run_command("backup", str(tmp_path / "copy"), "--data", str(town.data), home=tmp_path).returncode
                    == 0
                )
                desk.send(conversation, "lost")
                await until(lambda: desk.unsent == 0)
                assert town.process is not None
                town.process.stop()
                shutil.rmtree(town.data)
                done = run_command("restore", str(tmp_path / "copy"), "--data", str(town.data), home=tmp_path)
                assert done.returncode == 0, done.stderr
                relays.enter_context(town.open())
                await until(lambda: conversation.head == 1 and conversation.timeline.loaded)
                desk.send(conversation, "after")
                await until(lambda: [entry.text for entry in conversation.timeline.entries] == ["kept", "after"])

    run(test)
