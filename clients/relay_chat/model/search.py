"""Looks for a text in a conversation: in what is in memory, then in what the relay keeps, page by page."""

import re
from collections.abc import Callable

from relay_chat.model.conversation import Conversation
from relay_chat.model.desk import Desk
from relay_chat.model.entries import Entry, entry_of

SEARCH_PAGE = 500


def pattern_of(text: str) -> re.Pattern[str]:
    """Finds the text as it is, in capitals or not."""
    return re.compile(re.escape(text), re.IGNORECASE)


async def find_older(
    desk: Desk,
    conversation: Conversation,
    pattern: re.Pattern[str],
    before: int,
    progress: Callable[[Entry], None],
) -> int | None:
    """The offset of the nearest match below `before`; None if there is none down to the beginning. `progress` is
    called with the oldest message of each page that had none. Errors as those of `conversations.read`."""
    timeline = conversation.timeline
    for entry in reversed(timeline.entries):
        if entry.offset is not None and entry.offset < before and pattern.search(entry.text):
            return entry.offset
    below = min(before, timeline.low)
    while below > conversation.first:
        page = await desk.read_page(conversation, None, below, SEARCH_PAGE)
        if not page.messages:
            return None
        entries = [entry_of(message, desk.me) for message in page.messages]
        for entry in reversed(entries):
            if pattern.search(entry.text):
                return entry.offset
        progress(entries[0])
        below = page.messages[0].offset
    return None


async def find_newer(
    desk: Desk, conversation: Conversation, pattern: re.Pattern[str], after: int, progress: Callable[[Entry], None]
) -> int | None:
    """As `find_older`, the other way."""
    timeline = conversation.timeline
    for entry in timeline.entries:
        if entry.offset is not None and entry.offset > after and pattern.search(entry.text):
            return entry.offset
    above = max(after, timeline.high)
    while above < conversation.head:
        page = await desk.read_page(conversation, above, None, SEARCH_PAGE)
        if not page.messages:
            return None
        entries = [entry_of(message, desk.me) for message in page.messages]
        for entry in entries:
            if pattern.search(entry.text):
                return entry.offset
        progress(entries[-1])
        above = page.messages[-1].offset
    return None
