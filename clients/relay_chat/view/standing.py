"""How it stands with the relay, in words: the status line, and what is said where there are no messages."""

import time

from rich.style import Style

from relay_chat.model.clean import clean_line
from relay_chat.model.desk import Desk
from relay_chat.view.bars import Piece
from relay_chat.view.theme import Look


def messages_text(count: int) -> str:
    """`1 message`, `2 messages`."""
    return f"{count} message{'s' * (count != 1)}"


def status_pieces(desk: Desk, place: str, look: Look) -> list[Piece]:
    """Who one is and where, or why there is no connection, and what waits for one."""
    waiting = f"  {messages_text(desk.unsent)} waiting" if desk.unsent else ""
    if desk.connected:
        return [("● ", look.success), (f"{desk.me} at {place}", look.quiet)]
    if not desk.reason:
        return [("◌ ", look.accent), (f"connecting to {place} …{waiting}", look.quiet)]
    seconds = max(0, round(desk.retry_at - time.monotonic()))
    again = f"; trying again in {seconds} s" if seconds else "; trying again"
    told = [("▲ ", look.error), (f"no connection{again}{waiting}", look.error)]
    return [*told, (f"  {clean_line(desk.reason)}", look.quiet)]


def empty_lines(desk: Desk, place: str, look: Look) -> list[Piece]:
    """What stands where messages will be."""
    current, bold, space = desk.current, Style(bold=True), ("", look.quiet)
    if current is None and not desk.ready:
        return [(f"Connecting to {place} …", look.quiet)]
    if current is None:
        hints = (
            "/msg NAME writes to somebody",
            "/join ROOM enters a room, /create ROOM makes one",
            "/help shows everything",
        )
        return [("Nobody has written yet.", bold), space, *((hint, look.quiet) for hint in hints)]
    if current.is_invitation:
        return [(f"You are invited to {current.label}.", bold), space, ("/join enters, /leave declines", look.quiet)]
    if not current.timeline.loaded:
        return [("…", look.quiet)]
    if current.address == current.me:
        return [("Notes to yourself.", bold), ("Only your own devices see them.", look.quiet)]
    whom = "" if current.is_room else f" to {current.label}"
    return [("Nothing here yet.", bold), (f"Say hello{whom}.", look.quiet)]
