"""The search in the open conversation, from the bar to the match in view. One search runs at a time."""

import asyncio
from collections.abc import Callable

from relay_client.errors import RelayError

from relay_chat.model.conversation import Conversation
from relay_chat.model.desk import Desk
from relay_chat.model.entries import Entry, describe_error
from relay_chat.model.search import find_newer, find_older, pattern_of
from relay_chat.view.history import History
from relay_chat.view.layout import day_text
from relay_chat.view.search_bar import SearchBar


class Searching:
    """`redraw` is called when matches are to be shown, or no longer."""

    def __init__(self, desk: Desk, history: History, bar: SearchBar, redraw: Callable[[], None]) -> None:
        self._desk = desk
        self._history = history
        self._bar = bar
        self._redraw = redraw
        self._task: asyncio.Task[None] | None = None

    def start(self, conversation: Conversation, asked: SearchBar.Asked) -> None:
        """Look for something; an earlier search is given up."""
        self._cancel()
        self._task = asyncio.get_running_loop().create_task(self._find(conversation, asked))

    def stop(self) -> None:
        """No matches are shown any more."""
        self._cancel()
        self._history.found = self._history.here = None

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _find(self, conversation: Conversation, asked: SearchBar.Asked) -> None:
        history, bar = self._history, self._bar
        history.found = pattern_of(asked.text)
        last = history.last_visible_offset
        below = conversation.timeline.high if last is None else last
        start = history.here if asked.again and history.here is not None else below + 1
        if not asked.again:
            history.here = None
        bar.answer("searching …")
        search = find_older if asked.older else find_newer
        try:
            offset = await search(self._desk, conversation, history.found, start, self._passed)
            if offset is not None:
                await self._desk.show(conversation, offset)
        except RelayError as error:
            bar.answer(describe_error(error))
            return
        if offset is None:
            more = "" if history.here is None else "more "
            bar.answer(f"nothing {more}{'above' if asked.older else 'below'}")
        else:
            self._show(conversation, offset)
        self._redraw()

    def _passed(self, entry: Entry) -> None:
        self._bar.answer(f"searching {day_text(entry.time)} …")

    def _show(self, conversation: Conversation, offset: int) -> None:
        self._history.here = offset
        self._history.scroll_to_offset(offset)
        entry = conversation.timeline.entries[conversation.timeline.index_of(offset) or 0]
        self._bar.answer(f"{day_text(entry.time)} {entry.time:%H:%M}  ↑ older  ↓ newer")
