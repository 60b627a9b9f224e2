"""What commands do, against a real relay."""

from tests.relay_chat.stage import chatting, run
from tests.relay_client.town import Town


def test_a_room(shared: Town, users: tuple[str, str, str]) -> None:
    alice, bob, carol = users
    room = f"#room-{alice}"

    async def test() -> None:
        async with chatting(shared, alice) as me, chatting(shared, bob) as other, chatting(shared, carol) as third:
            await me.write(f"/private {room} Plans & more")
            await me.until(lambda: "Plans & more" in me.bar("title"))
            await me.write(f"/invite {bob}")
            await other.until(lambda: f"{room} invited" in other.listed)
            await other.opened(room)
            await other.until(lambda: "You are invited" in other.in_view)
            await other.write("/join")
            await other.until(lambda: "2 members" in other.bar("title"))
            await other.write("hello room")
            await me.shows("hello room")
            await other.shows("read by 1")
            await third.write(f"/join {room}")
            await third.until(lambda: "no room" in third.bar("notice"), third.bar("notice"))
            await me.write(f"/remove {bob}")
            await me.until(lambda: f"{bob} is out of" in me.bar("notice"))
            await other.until(lambda: room not in "".join(other.listed))
            await me.write(f"/invite {bob}")
            await other.until(lambda: f"{room} invited" in other.listed)
            await other.write(f"/join {room}")
            await me.until(lambda: f"{bob} has joined" in me.bar("notice"))
            await other.write("/leave")
            await other.until(lambda: room not in "".join(other.listed))
            await me.until(lambda: "1 member," in me.bar("title"))

    run(test)


def test_commands_that_are_none(shared: Town, users: tuple[str, str, str]) -> None:
    alice, bob, _ = users

    async def test() -> None:
        async with chatting(shared, alice) as me:
            await me.write("/jion #ops")
            await me.until(lambda: "did you mean /join?" in me.bar("notice"))
            assert me.composer.text == "/jion #ops"
            await me.write("/msg no/body hello")
            await me.until(lambda: "must not contain" in me.bar("notice"))
            await me.write(f"/msg {bob}x hello")
            await me.shows("✗")
            await me.write("/leave")
            await me.until(lambda: "not a room" in me.bar("notice"))

    run(test)


def test_blocking(shared: Town, users: tuple[str, str, str]) -> None:
    alice, bob, _ = users

    async def test() -> None:
        async with chatting(shared, alice) as me, chatting(shared, bob) as other:
            await me.write(f"/block {bob}")
            await me.until(lambda: "no more from" in me.bar("notice"))
            await other.write(f"/msg {alice} hello")
            await other.shows("✗")
            await me.write(f"/unblock @{bob}")
            await me.until(lambda: "again" in me.bar("notice"))
            await other.write("hello again")
            await other.shows("hello again  ✓")

    run(test)
