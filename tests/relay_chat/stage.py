"""The chat on a terminal that is none, against a real relay: what it shows, and waiting for that with a deadline."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from relay_chat.app import ChatApp
from relay_chat.view.bars import Bar
from relay_chat.view.composer import Composer
from relay_chat.view.history import History
from relay_chat.view.sidebar import Sidebar
from relay_client.aio import Client
from textual.pilot import Pilot

from tests.process import DEADLINE_S
from tests.relay_client.town import Town


class Seat:
    """Somebody at a chat."""

    def __init__(self, app: ChatApp, pilot: Pilot[None]) -> None:
        self.app = app
        self.pilot = pilot

    @property
    def history(self) -> History:
        return self.app.query_one(History)

    @property
    def messages(self) -> str:
        """All lines of the conversation that are drawn, in view or not."""
        return "\n".join(line.text.rstrip() for line in self.history._lines)

    @property
    def in_view(self) -> str:
        """What one sees of the conversation."""
        height = self.history.size.height
        return "\n".join(self.history.render_line(y).text.rstrip() for y in range(height))

    @property
    def listed(self) -> list[str]:
        """The lines of the list at the side."""
        sidebar = self.app.query_one(Sidebar)
        lines = [" ".join(sidebar.render_line(y).text.replace("▌", " ").split()) for y in range(sidebar.size.height)]
        return [line for line in lines if line]

    def bar(self, name: str) -> str:
        return self.app.query_one(f"#{name}", Bar).shown

    @property
    def composer(self) -> Composer:
        return self.app.query_one(Composer)

    async def until(self, ready: Callable[[], object], what: str = "") -> None:
        """Wait for something to be so."""
        deadline = time.monotonic() + DEADLINE_S
        while not ready():
            assert time.monotonic() < deadline, f"{what or 'it'} did not happen; shown:\n{self.listed}\n{self.in_view}"
            await self.pilot.pause(0.01)

    async def shows(self, *texts: str) -> None:
        """Wait for texts to be drawn in the conversation."""
        await self.until(lambda: all(text in self.messages for text in texts), f"{texts}")

    async def to_end(self, text: str) -> None:
        """Go to the end of the conversation, which has this text in it."""
        await self.until(lambda: self.app.desk.current and self.app.desk.current.timeline.loaded)
        await self.pilot.press("ctrl+end")
        await self.until(lambda: text in self.in_view, text)

    async def write(self, text: str) -> None:
        """Type a line, and Enter."""
        self.composer.fill(text)
        await self.pilot.press("enter")
        await self.pilot.pause()

    async def opened(self, name: str) -> None:
        """Open a conversation, and wait until its messages are there."""
        await self.app.open(name)
        await self.until(lambda: self.app.desk.current is not None and self.app.desk.current.name == name)
        await self.pilot.pause(0.05)


@asynccontextmanager
async def chatting(
    town: Town, user: str, size: tuple[int, int] = (100, 30), device: str = "chat", **options: Any
) -> AsyncIterator[Seat]:
    """A chat that is connected and knows its conversations. It is left in the end."""

    def client() -> Client:
        return Client(town.url(user), device=device, start=0, receive=False, patience_s=None)

    app = ChatApp(client, town.address, **options)
    async with app.run_test(size=size) as pilot:
        seat = Seat(app, pilot)
        await seat.until(lambda: app.desk.ready)
        await pilot.pause(0.05)
        yield seat
        if app.is_running and app.desk.error is None:
            await app.desk.stop(DEADLINE_S)


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """A test that is a coroutine function."""

    async def limited() -> None:
        await asyncio.wait_for(test(), 4 * DEADLINE_S)

    asyncio.run(limited())


async def all_of(*work: Awaitable[Any]) -> None:
    """Side by side."""
    await asyncio.gather(*work)
