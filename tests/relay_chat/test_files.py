"""Files, sent and fetched in the chat, against a real relay."""

import asyncio
import os
import signal
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.relay_chat.stage import chatting, run
from tests.relay_client.town import Town


@pytest.fixture(autouse=True)
def own_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def some_file(directory: Path, name: str, size: int) -> Path:
    directory.mkdir(exist_ok=True)
    path = directory / name
    path.write_bytes(os.urandom(size))
    return path


def test_a_file_from_one_to_the_other(shared: Town, users: tuple[str, str, str], tmp_path: Path) -> None:
    alice, bob, _ = users
    path = some_file(tmp_path / "out", "my report.pdf", 3_000_000)
    inbox = tmp_path / "in"
    inbox.mkdir()

    async def test() -> None:
        async with chatting(shared, alice) as me, chatting(shared, bob, downloads=inbox) as other:
            await me.write(f"/msg {bob} here it comes")
            await me.write(f"/file {path}")
            await me.shows("my report.pdf  3.0 MB  ✓")
            await other.until(lambda: any(alice in line for line in other.listed))
            await other.shows("my report.pdf  3.0 MB")
            await me.shows("✓✓ read")
            assert "✓✓ read" in me.messages and "sending" not in me.messages
            line = next(y for y in range(30) if "my report.pdf" in other.history.render_line(y).text)
            await other.pilot.click(other.history, offset=(6, line))
            await other.shows(f"saved as {inbox}/my report.pdf"[:60])
            assert (inbox / "my report.pdf").read_bytes() == path.read_bytes()
            await other.pilot.press(*"/get my", "tab", "enter")
            await other.until((inbox / "my report (1).pdf").exists)
            await other.write("/get")
            await other.until(lambda: len(other.app.screen_stack) == 2)
            await other.pilot.press("enter")
            await other.until((inbox / "my report (2).pdf").exists)

    run(test)


def test_a_file_that_is_none(shared: Town, users: tuple[str, str, str], tmp_path: Path) -> None:
    alice, bob, _ = users

    async def test() -> None:
        async with chatting(shared, alice) as me:
            await me.write("/file x")
            await me.until(lambda: "open a conversation first" in me.bar("notice"))
            await me.write(f"/msg {bob} hello")
            await me.write(f"/file {tmp_path}/nothing")
            await me.until(lambda: "No such file" in me.bar("notice"))
            await me.write(f"/file '{tmp_path}'")
            await me.shows("✗")
            await me.write("/get zzz")
            await me.until(lambda: "file" in me.bar("notice"))

    run(test)


def test_a_file_survives_the_end_of_a_relay(tmp_path: Path) -> None:
    town = Town(tmp_path)
    town.add("alice", "bob")
    path = some_file(tmp_path / "out", "disk.img", 1)
    os.truncate(path, 120_000_000)

    async def test() -> None:
        with ExitStack() as relays:
            relays.enter_context(town.open())
            async with chatting(town, "alice") as me:
                await me.write("/msg bob before")
                await me.shows("before")
                desk = me.app.desk
                assert desk.current is not None
                entry = await desk.send_file(desk.current, path)
                for _ in range(100_000):
                    if desk.transfers[entry].done:
                        break
                    await asyncio.sleep(0)  # as soon as something is there
                assert town.process is not None
                town.process.stop(signal.SIGKILL)
                await me.until(lambda: "no connection" in me.bar("status"))
                assert "sending" in me.messages and "1 message waiting" in me.bar("status")
                relays.enter_context(town.open())
                await me.shows("disk.img  120.0 MB  ✓")
                files = await me.app.desk.client.files.list("bob")
                assert [(file.name, file.size) for file in files] == [("disk.img", 120_000_000)]

    run(test)
