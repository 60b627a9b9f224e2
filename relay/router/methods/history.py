"""Calls that read conversations: their list, their messages, and how far everybody is."""

from typing import TYPE_CHECKING, NamedTuple

from relay.protocol.addresses import conversation_members
from relay.protocol.codes import ErrorCode
from relay.protocol.limits import INTEGER_MAX
from relay.protocol.payloads import Value
from relay.router.membership import no_such_room
from relay.router.methods.reply import Arguments, Method, RefusedError, Reply
from relay.router.subscriber import Subscriber
from relay.store.base import ConversationInfo, Cursor, Entry, Reader, Refusal

if TYPE_CHECKING:
    from relay.router.router import Router

PAGE_MAX = 500
PAGE_BYTES = 256 * 1024


class _Page(NamedTuple):
    first: int
    kept: int
    head: int
    entries: list[Entry]


def read(router: "Router", session: Subscriber, arguments: Arguments, reply: Reply) -> None:
    """A page of a conversation: behind an offset, before one, or the newest."""
    conversation = arguments.conversation(session.user)
    after, before = arguments.number("after"), arguments.number("before")
    limit = arguments.number("limit", 100, PAGE_MAX) or PAGE_MAX
    if after is not None and before is not None:
        raise RefusedError(ErrorCode.BAD_ARGUMENTS, "give either after or before")

    def operation(reader: Reader) -> _Page | Refusal:
        first = _first_readable(reader, conversation, session.user)
        if isinstance(first, Refusal):
            return first
        if after is None:
            end = INTEGER_MAX if before is None else before
            entries = [e for e in reader.read_back(conversation, end, limit, PAGE_BYTES) if e.offset >= first]
        else:
            entries = reader.read(conversation, max(after, first - 1), limit, PAGE_BYTES)
        return _Page(first, reader.first_kept(conversation), reader.head(conversation), entries)

    def finish(page: _Page) -> None:
        messages: list[Value] = [{"offset": e.offset, "time_ms": e.time_ms, "packet": e.packet} for e in page.entries]
        places: dict[str, Value] = {"first": page.first, "kept": page.kept, "head": page.head}
        reply.result({"conversation": conversation, **places, "messages": messages})

    router.log.read(operation, reply.when(finish))


def list_conversations(router: "Router", session: Subscriber, arguments: Arguments, reply: Reply) -> None:
    """The user's conversations by name, with where they end and how far this device and the user are."""
    after = arguments.text("after", "")
    limit = arguments.number("limit", PAGE_MAX, PAGE_MAX) or PAGE_MAX

    def finish(found: list[ConversationInfo]) -> None:
        conversations: list[Value] = [
            {
                "conversation": info.name,
                "title": info.title,
                "head": info.head,
                "first": info.first,
                "delivered": info.delivered,
                "read": info.read,
                "time_ms": info.time_ms,
            }
            for info in found[:limit]
        ]
        reply.result({"conversations": conversations, "more": len(found) > limit})

    router.log.read(
        lambda reader: reader.conversations(session.user, session.device, after, limit + 1), reply.when(finish)
    )


def watch_receipts(router: "Router", session: Subscriber, arguments: Arguments, reply: Reply) -> None:
    """Tell this session how far others are, from now on or no more."""
    router.receipts.watch(session, bool(arguments.flag("watch", True)))
    reply.result({})


def list_receipts(router: "Router", session: Subscriber, arguments: Arguments, reply: Reply) -> None:
    """How far each device in a conversation is."""
    conversation = arguments.conversation(session.user)

    def operation(reader: Reader) -> list[Cursor] | Refusal:
        first = _first_readable(reader, conversation, session.user)
        return first if isinstance(first, Refusal) else reader.cursors(conversation, PAGE_MAX)

    def finish(found: list[Cursor]) -> None:
        cursors: list[Value] = [
            {"user": c.user, "device": c.device, "delivered": c.delivered, "read": c.read} for c in found
        ]
        reply.result({"cursors": cursors})

    # What was acknowledged a moment ago counts: it is made durable first, and read behind that.
    def saved(problem: object) -> None:
        router.log.read(operation, reply.when(finish))

    router.conversations.save_cursors(saved)


def _first_readable(reader: Reader, conversation: str, user: str) -> int | Refusal:
    """The first offset the user may read. Members of a room read all that is kept of it; in a direct conversation
    nobody reads what was sent to somebody who had the name before.
    """
    members = conversation_members(conversation)
    if members is None:
        role = reader.role(conversation, user)
        return reader.first_kept(conversation) if role is not None and role.inside else no_such_room(conversation)
    if user not in members:
        return Refusal(ErrorCode.NO_SUCH_CONVERSATION, f"you are not in the conversation {conversation}")
    joined = reader.joined(user, conversation)
    return max(reader.first_kept(conversation), (reader.head(conversation) if joined is None else joined) + 1)


METHODS: dict[str, Method] = {
    "history.read": read,
    "conversations.list": list_conversations,
    "receipts.watch": watch_receipts,
    "receipts.of": list_receipts,
}
