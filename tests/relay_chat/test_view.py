"""The widgets, moved by keys and the mouse, in a chat against a real relay."""

from relay_chat.view.panels import ListPanel, TextPanel, help_text
from relay_chat.view.sidebar import Sidebar
from relay_client import Client

from tests.relay_chat.stage import chatting, run
from tests.relay_client.town import Town


def test_the_list_by_keys_and_by_mouse(shared: Town, users: tuple[str, str, str]) -> None:
    alice, bob, carol = users
    with Client(shared.url(bob), device="desk") as other, Client(shared.url(carol), device="desk") as third:
        third.send(alice, "from carol")
        other.send(alice, "from bob")

    async def test() -> None:
        async with chatting(shared, alice) as me:
            await me.shows("from bob")
            await me.pilot.press("tab", "down", "enter")
            await me.shows("from carol")
            assert me.app.focused is me.composer
            row = next(y for y in range(10) if bob in me.app.query_one(Sidebar).render_line(y).text)
            await me.pilot.click(Sidebar, offset=(6, row))
            await me.shows("from bob")
            await me.pilot.press("alt+down")
            await me.shows("from carol")
            await me.pilot.press("ctrl+b")
            await me.until(lambda: not me.app.query_one(Sidebar).display)

    run(test)


def test_panels(shared: Town, users: tuple[str, str, str]) -> None:
    alice, bob, _ = users
    with Client(shared.url(bob), device="desk") as other:
        other.send(alice, "long " * 2000)

        async def test() -> None:
            async with chatting(shared, alice) as me:
                await me.to_end("more characters: click to open")
                await me.pilot.press("f1")
                await me.until(lambda: isinstance(me.app.screen, TextPanel))
                other.send(alice, "meanwhile")
                await me.shows("meanwhile")
                me.app._tick()  # what changes by itself, below the panel
                await me.pilot.press("escape")
                await me.write("/who")
                await me.until(lambda: isinstance(me.app.screen, ListPanel))
                await me.pilot.press(*bob, "enter")
                await me.until(lambda: me.app.desk.current and me.app.desk.current.address == bob)
                await me.until(lambda: len(me.app.screen_stack) == 1)
                line = next(y for y in range(30) if "click to open" in me.history.render_line(y).text)
                await me.pilot.click(me.history, offset=(6, line))
                await me.until(lambda: isinstance(me.app.screen, TextPanel))
                await me.pilot.press("escape")
                await me.pilot.press("ctrl+g", *f"{bob}", "enter")
                await me.until(lambda: len(me.app.screen_stack) == 1)

        run(test)


def test_links_are_copied_or_opened(shared: Town, users: tuple[str, str, str], monkeypatch) -> None:  # type: ignore[no-untyped-def]
    alice, bob, _ = users
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with Client(shared.url(bob), device="desk") as other:
        other.send(alice, "https://relay.example/a")

    async def test() -> None:
        async with chatting(shared, alice) as me:
            await me.shows("https://relay.example/a")
            line = next(y for y in range(30) if "https" in me.history.render_line(y).text)
            await me.pilot.click(me.history, offset=(6, line))
            await me.until(lambda: "copied https://relay.example/a" in me.bar("notice"))
            assert me.app.clipboard == "https://relay.example/a"

    run(test)


def test_light_and_dark(shared: Town, users: tuple[str, str, str]) -> None:
    alice, bob, _ = users

    async def test() -> None:
        async with chatting(shared, alice) as me:
            await me.write(f"/msg {bob} hello")
            await me.shows("hello")
            dark = me.history.render_line(0)
            await me.write("/theme light")
            await me.until(lambda: me.app.theme == "relay-light")
            assert list(me.history.render_line(0)) != list(dark)

    run(test)


def test_the_help_fits_narrow_terminals() -> None:
    for width in (40, 60, 100):
        for name in ("", "msg"):
            lines = help_text(name, width).plain.split("\n")
            assert max(map(len, lines)) <= max(34, width * 9 // 10 - 4)
