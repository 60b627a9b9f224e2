"""Searching a conversation from the bar, against a real relay."""

from relay_client import Client

from tests.relay_chat.stage import chatting, run
from tests.relay_client.town import Town


def test_search_through_all_of_a_conversation(shared: Town, users: tuple[str, str, str]) -> None:
    alice, bob, _ = users
    with Client(shared.url(bob), device="desk") as other:
        texts = [f"line {number}" + (" NEEDLE" if number in (3, 700) else "") for number in range(1, 801)]
        for posted in [other.post(alice, text) for text in texts]:
            posted.wait()

    async def test() -> None:
        async with chatting(shared, alice) as me:
            await me.to_end("line 800")
            await me.pilot.press("ctrl+f", *"needle", "enter")
            await me.until(lambda: "line 700 NEEDLE" in me.in_view)
            await me.pilot.press("enter")
            await me.until(lambda: "line 3 NEEDLE" in me.in_view)
            await me.pilot.press("enter")
            bar = me.app.query_one("#search")
            await me.until(lambda: "nothing more above" in bar.answered)  # type: ignore[attr-defined]
            await me.pilot.press("down")
            await me.until(lambda: "line 700 NEEDLE" in me.in_view)
            await me.pilot.press("escape")
            await me.until(lambda: me.app.focused is me.composer)
            assert not bar.display

    run(test)
