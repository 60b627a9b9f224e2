"""People who chat, against a real relay."""

import signal
from contextlib import ExitStack
from pathlib import Path

import pytest
from relay_chat.app import NARROW_COLUMNS, ChatApp
from relay_chat.view.sidebar import Sidebar
from relay_client import Client
from relay_client.aio import Client as AioClient
from relay_client.errors import Replaced

from tests.relay_chat.stage import Seat, chatting, run
from tests.relay_client.town import Town


def test_two_people_chat(shared: Town, users: tuple[str, str, str]) -> None:
    alice, bob, _ = users

    async def test() -> None:
        async with chatting(shared, alice) as me, chatting(shared, bob) as other:
            assert "Nobody has written yet." in me.in_view
            await me.write(f"/msg {bob} hello, [bold]you[/]!")
            await me.shows("hello, [bold]you[/]!")
            await other.until(lambda: any(alice in line for line in other.listed))
            await other.shows("hello, [bold]you[/]!")
            await me.shows("✓✓ read")
            await other.write("two\nlines")
            await me.shows("two", "lines")
            assert "you" in me.messages and "Today" in me.messages
            await me.until(lambda: me.bar("title").rstrip().endswith("online"))
            await other.pilot.press(*"hm")
            await me.until(lambda: f"{bob} is typing" in me.bar("notice"))
            await other.pilot.press("enter")
            await me.until(lambda: "typing" not in me.bar("notice"))
            await me.shows("hm")

    run(test)


def test_what_is_unread_is_counted_until_it_is_seen(shared: Town, users: tuple[str, str, str]) -> None:
    alice, bob, carol = users
    with Client(shared.url(bob), device="desk") as other, Client(shared.url(carol), device="desk") as third:
        for number in range(3):
            third.send(alice, f"from carol {number}")
        other.send(alice, "from bob")  # the latest, and the first by name: this one is opened

        async def test() -> None:
            async with chatting(shared, alice) as me:
                await me.until(lambda: f"● {bob}" in me.listed and f"● {carol} 3" in me.listed)
                with Client(shared.url(alice), device="desk") as elsewhere:
                    elsewhere.send(carol, "an own one, from somewhere else")
                third.send(alice, "one more")
                await me.until(lambda: f"● {carol} 4" in me.listed)
                await me.pilot.press("alt+a")
                await me.until(lambda: f"● {carol}" in me.listed)
                await me.shows("from carol 2", "one more", "new")
            async with chatting(shared, alice, device="second") as again:
                await again.until(lambda: f"● {bob}" in again.listed and f"● {carol}" in again.listed)

        run(test)


def test_own_messages_are_not_unread_elsewhere(shared: Town, users: tuple[str, str, str]) -> None:
    alice, bob, _ = users

    async def test() -> None:
        async with chatting(shared, alice) as me, chatting(shared, alice, device="second") as again:
            await me.write(f"/msg {bob} one")
            await me.write("two")
            await me.shows("✓")
            await again.until(lambda: any(bob in line for line in again.listed))
            await again.until(lambda: f"○ {bob}" in again.listed)
            while [row.unread for row in await me.app.desk.client.conversations.list()] != [0]:
                await me.pilot.pause(0.02)

    run(test)


def test_history_back_to_the_beginning(shared: Town, users: tuple[str, str, str]) -> None:
    alice, bob, _ = users
    with Client(shared.url(bob), device="desk") as other:
        for posted in [other.post(alice, f"number {number}") for number in range(1, 2051)]:
            posted.wait()

    async def test() -> None:
        async with chatting(shared, alice) as me:
            await me.to_end("number 2050")
            for _ in range(200):
                if "number 1\n" in me.messages:
                    break
                me.history.scroll_home(animate=False)
                await me.pilot.pause(0.02)
            await me.shows("number 1\n", "number 900\n")
            assert "number 2050" not in me.messages  # memory is bounded
            timeline = me.app.desk.current.timeline  # type: ignore[union-attr]
            assert len(timeline.entries) <= 1000
            me.history.scroll_home(animate=False)
            await me.until(lambda: "number 1\n" in me.in_view and "the beginning" in me.in_view)
            other_text = "just now"
            await me.app.desk.client.send(bob, other_text)
            assert other_text not in me.messages
            await me.until(lambda: "Ctrl+End" in me.bar("notice"))
            await me.pilot.press("ctrl+end")
            await me.until(lambda: "number 2050" in me.in_view)

    run(test)


def test_what_is_being_read_stays_in_place(shared: Town, users: tuple[str, str, str]) -> None:
    alice, bob, _ = users
    with Client(shared.url(bob), device="desk") as other:
        for posted in [other.post(alice, f"number {number}") for number in range(1, 301)]:
            posted.wait()

        async def test() -> None:
            async with chatting(shared, alice) as me:
                await me.to_end("number 300")
                await me.pilot.pause(0.1)
                me.history.scroll_to(y=40, animate=False, immediate=True)
                before = me.in_view
                other.send(alice, "just now")
                await me.shows("just now")
                await me.until(lambda: "number 101\n" in me.messages)
                assert me.in_view == before

        run(test)


def test_the_relay_is_killed_while_one_writes(tmp_path: Path) -> None:
    town = Town(tmp_path)
    town.add("alice", "bob")

    async def test() -> None:
        with ExitStack() as relays:
            relays.enter_context(town.open())
            async with (
                AioClient(town.url("bob"), device="desk", receive=True) as other,
                chatting(town, "alice") as me,
            ):
                await me.write("/msg bob before")
                await me.shows("✓")
                assert town.process is not None
                town.process.stop(signal.SIGKILL)
                await me.until(lambda: "no connection" in me.bar("status"))
                for number in range(5):
                    await me.write(f"meanwhile {number}")
                await me.shows("◌ waiting")
                assert "5 messages waiting" in me.bar("status")
                relays.enter_context(town.open())
                await me.until(lambda: me.app.desk.connected and not me.app.desk.unsent)
                await me.until(lambda: "waiting" not in me.messages)
                texts = [message.text async for message in other.messages(count=6)]
                assert texts == ["before", *(f"meanwhile {number}" for number in range(5))]
                page = await me.app.desk.client.conversations.read("bob")
                assert [message.text for message in page.messages] == texts
                await me.write("after")
                assert [message.text async for message in other.messages(count=1)] == ["after"]

    run(test)


def test_without_a_relay_the_chat_waits_for_one(tmp_path: Path) -> None:
    town = Town(tmp_path)
    town.add("alice", "bob")
    with town.open():
        pass  # it has a port now

    async def test() -> None:
        app = ChatApp(lambda: AioClient(town.url("alice"), device="chat", receive=False, patience_s=None), "here")
        async with app.run_test() as pilot:
            seat = Seat(app, pilot)
            await seat.until(lambda: "no connection" in seat.bar("status"))
            with town.open():
                await seat.until(lambda: app.desk.ready)
                await seat.write("/msg bob hello")
                await seat.shows("✓ stored")
                await app.desk.stop()

    run(test)


def test_a_wrong_password_ends_it_with_the_reason(shared: Town, users: tuple[str, str, str]) -> None:
    alice, _, _ = users

    async def test() -> None:
        url = shared.url(alice).replace(":secret@", ":wrong@")
        app = ChatApp(lambda: AioClient(url, device="chat", receive=False, patience_s=None), "here")
        async with app.run_test() as pilot:
            for _ in range(1000):
                if app.failure is not None:
                    break
                await pilot.pause(0.01)
        assert app.failure is not None and app.return_code == 1

    run(test)


def test_a_narrow_terminal_folds_the_list_away(shared: Town, users: tuple[str, str, str]) -> None:
    alice, bob, carol = users
    with Client(shared.url(bob), device="desk") as other, Client(shared.url(carol), device="desk") as third:
        third.send(alice, "from carol")
        other.send(alice, "from bob, in many words that do not fit into one line of forty columns")

    async def test() -> None:
        async with chatting(shared, alice, size=(40, 20)) as me:
            await me.shows("from bob, in many words")
            assert not me.app.query_one(Sidebar).display
            assert all(len(line) <= 40 for line in me.in_view.split("\n"))
            await me.until(lambda: me.bar("title").startswith("≡ 1"))
            await me.pilot.press("ctrl+b")
            await me.until(lambda: any(carol in line for line in me.listed))
            await me.pilot.press("down", "enter")
            await me.shows("from carol")
            assert not me.app.query_one(Sidebar).display
            await me.pilot.resize_terminal(NARROW_COLUMNS, 20)
            await me.until(lambda: me.app.query_one(Sidebar).display)

    run(test)


def test_hostile_text_is_shown_as_what_it_is(shared: Town, users: tuple[str, str, str]) -> None:
    alice, bob, _ = users
    nasty = "\x1b]0;owned\x07[red]x[/red] \x9b31m \u202eevil\u2066 a\u200db [link=file:///etc/passwd]y[/link] \r over"
    with Client(shared.url(bob), device="desk") as other:
        other.rooms.create(f"n-{bob}", "[b]title[/b]")
        other.rooms.invite(f"n-{bob}", alice)
        other.send(alice, nasty)

    async def test() -> None:
        async with chatting(shared, alice) as me:
            await me.shows("␛]0;owned␇[red]x[/red] �31m �evil�", "[link=file:///etc/passwd]y[/link]")
            await me.opened(f"#n-{bob}")
            await me.pilot.pause()
            picture = me.app.export_screenshot()
            for bad in "\x1b\x9b\x07\u202e\u2066\u200d":
                assert bad not in picture

    run(test)


def test_no_colour_at_all(shared: Town, users: tuple[str, str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    alice, bob, _ = users
    monkeypatch.setenv("NO_COLOR", "1")

    async def test() -> None:
        async with chatting(shared, alice) as me:
            await me.write(f"/msg {bob} hello")
            await me.shows("hello")
            for strip in me.app.screen._compositor.render_strips():
                for filtered in [
                    segment for line in me.app.get_line_filters() for segment in line.apply(list(strip), None)
                ]:  # type: ignore[arg-type]
                    style = filtered.style
                    assert style is None or all(c is None or c.is_default for c in (style.color, style.bgcolor))
            assert me.composer.get_component_rich_style("text-area--cursor").reverse

    run(test)


@pytest.mark.parametrize("typed", ["/quit", "Q"])
def test_leaving(shared: Town, users: tuple[str, str, str], typed: str) -> None:
    alice, bob, _ = users

    async def test() -> None:
        async with chatting(shared, alice) as me:
            await me.write(f"/msg {bob} hello")
            await me.shows("✓ stored")
            await me.write(typed)
            await me.until(lambda: me.app._exit)
        assert me.app.failure is None and me.app.unsent == 0

    run(test)
    with Client(shared.url(alice), device="chat") as back:
        assert [message.text for message in back.history(bob)] == ["hello"]


def test_completion(shared: Town, users: tuple[str, str, str]) -> None:
    alice, bob, carol = users
    with Client(shared.url(bob), device="desk") as other, Client(shared.url(carol), device="desk") as third:
        other.send(alice, "hi")
        third.send(alice, "hi")

    async def test() -> None:
        async with chatting(shared, alice) as me:
            await me.until(lambda: len(me.listed) > 3)
            await me.pilot.press(*"/ms", "tab")
            assert me.composer.text == "/msg "
            await me.pilot.press(*"bo", "tab")
            assert me.composer.text == f"/msg {bob} "
            await me.pilot.press("ctrl+u", *"/m", "tab")
            assert me.bar("notice").split() == ["/msg", "/members"]
            await me.pilot.press("tab", "tab")
            assert me.composer.text == "/members "
            await me.pilot.press("tab")
            assert me.composer.text == "/msg "
            await me.pilot.press("ctrl+u", *"hey ca", "tab")
            assert me.composer.text == f"hey {carol} "

    run(test)


def test_lines_that_are_pasted_are_one_message(shared: Town, users: tuple[str, str, str]) -> None:
    alice, bob, _ = users

    async def test() -> None:
        from textual.events import Paste

        async with chatting(shared, alice) as me:
            await me.write(f"/msg {bob} first")
            me.composer.post_message(Paste("one\r\ntwo\x1b[31m\nthree"))
            await me.until(lambda: me.composer.text == "one\ntwo[31m\nthree")
            await me.pilot.press("ctrl+j", *"four", "shift+enter", *"five", "alt+enter", *"six", "enter")
            await me.until(lambda: me.app.desk.unsent == 0)
            page = await me.app.desk.client.conversations.read(bob)
            assert [m.text for m in page.messages] == ["first", "one\ntwo[31m\nthree\nfour\nfive\nsix"]
            await me.pilot.press("up")
            assert me.composer.text.startswith("one\ntwo")
            await me.pilot.press("ctrl+u", "up", "up")
            assert me.composer.text == f"/msg {bob} first"

    run(test)


def test_what_is_unread_begins_at_the_top_and_is_read_as_it_is_seen(shared: Town, users: tuple[str, str, str]) -> None:
    alice, bob, carol = users
    with Client(shared.url(bob), device="desk") as other, Client(shared.url(carol), device="desk") as third:
        for posted in [third.post(alice, f"number {number}") for number in range(1, 301)]:
            posted.wait()
        other.send(alice, "from bob")

    async def test() -> None:
        async with chatting(shared, alice) as me:
            await me.until(lambda: f"○ {carol} 300" in me.listed)
            await me.opened("@".join(sorted((alice, carol))))
            await me.until(lambda: " new " in me.in_view and "number 1\n" in me.in_view)
            conversation = me.app.desk.current
            assert conversation is not None
            await me.until(lambda: 270 < conversation.unread < 300)
            before = conversation.unread
            await me.pilot.press("pagedown")
            await me.until(lambda: conversation.unread < before)
            await me.pilot.press("ctrl+end")
            await me.until(lambda: "number 300" in me.in_view and conversation.unread == 0)

    run(test)


def test_the_same_device_somewhere_else_ends_the_chat(shared: Town, users: tuple[str, str, str]) -> None:
    alice, _, _ = users

    async def test() -> None:
        async with chatting(shared, alice) as me:
            with Client(shared.url(alice), device="chat"):
                await me.until(lambda: me.app._exit)
        assert isinstance(me.app.failure, Replaced)

    run(test)


def test_marked_text_is_copied_without_what_is_drawn_around_it(shared: Town, users: tuple[str, str, str]) -> None:
    alice, bob, _ = users

    async def test() -> None:
        async with chatting(shared, alice) as me:
            await me.write(f"/msg {bob} one two\nthree")
            await me.shows("three  ✓ stored")
            line = next(y for y in range(30) if "one two" in me.history.render_line(y).text)
            await me.pilot.mouse_down(me.history, offset=(7, line))
            await me.pilot.hover(me.history, offset=(8, line + 1))
            await me.pilot.mouse_up(me.history, offset=(8, line + 1))
            await me.pilot.press("ctrl+c")
            await me.until(lambda: me.app.clipboard.startswith("two\nthree"), me.app.clipboard)

    run(test)


def test_who_presses_no_key_is_away(shared: Town, users: tuple[str, str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    alice, bob, _ = users
    with Client(shared.url(bob), device="desk") as other:
        other.send(alice, "hello")

    async def test() -> None:
        async with chatting(shared, alice) as me, chatting(shared, bob) as other:
            await other.until(lambda: f"● {alice}" in other.listed)
            monkeypatch.setattr("relay_chat.app.AWAY_S", 0.0)
            await other.until(lambda: f"◐ {alice}" in other.listed)
            monkeypatch.setattr("relay_chat.app.AWAY_S", 600.0)
            await me.pilot.press("x")
            await other.until(lambda: f"● {alice}" in other.listed)

    run(test)
