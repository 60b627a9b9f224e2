"""Calls about the files that the relay keeps. Their contents go over streams, see `relay.files`."""

from typing import TYPE_CHECKING

from relay.protocol.addresses import conversation_for, conversation_members
from relay.protocol.codes import ErrorCode
from relay.protocol.payloads import Value
from relay.router.methods.reply import Arguments, Method, RefusedError, Reply
from relay.router.subscriber import Subscriber
from relay.store.base import Refusal, Store
from relay.store.files import FilePage, StoredFile

if TYPE_CHECKING:
    from relay.router.router import Router

PAGE_MAX = 500


def list_files(router: "Router", session: Subscriber, arguments: Arguments, reply: Reply) -> None:
    """The files that the user may get, newest first: all, or those of one conversation."""
    conversation = arguments.optional_text("conversation") and arguments.conversation(session.user)
    members = conversation_members(conversation) if conversation else None
    if members is not None and session.user not in members:
        sentence = f"you are not in the conversation {conversation}"
        raise RefusedError(ErrorCode.NO_SUCH_CONVERSATION, sentence)
    after, limit = arguments.optional_text("after"), arguments.number("limit", 100, PAGE_MAX) or PAGE_MAX
    page = FilePage(limit + 1, conversation, after)

    def finish(found: list[StoredFile] | None) -> None:
        if found is None:
            reply.fault(ErrorCode.NO_SUCH_FILE, f"there is no file {after} any more; begin with the newest")
        else:
            reply.result({"files": [_value(file) for file in found[:limit]], "more": len(found) > limit})

    router.log.read(lambda reader: reader.files(session.user, page, router.clock_ms()), reply.when(finish))


def describe_file(router: "Router", session: Subscriber, arguments: Arguments, reply: Reply) -> None:
    """What the relay knows of one file."""
    id = arguments.text("file")

    def finish(file: StoredFile | None) -> None:
        if file is None:
            reply.fault(*_no_such_file(id))
        else:
            reply.result(_value(file))

    router.log.read(lambda reader: reader.file(session.user, id, router.clock_ms()), reply.when(finish))


def remove_file(router: "Router", session: Subscriber, arguments: Arguments, reply: Reply) -> None:
    """Delete a file of one's own."""
    id = arguments.text("file")

    def operation(store: Store) -> Refusal | None:
        now_ms = router.clock_ms()
        if store.file(session.user, id, now_ms) is None:
            return Refusal(*_no_such_file(id))
        if not store.remove_file(session.user, id, now_ms):
            return Refusal(ErrorCode.NOT_ALLOWED, f"the file {id} is not yours: only who sent it may remove it")
        return None

    router.log.write(operation, reply.when(reply.done))


def tell_usage(router: "Router", session: Subscriber, arguments: Arguments, reply: Reply) -> None:
    """How much of her quota the user's files take, and what is allowed; 0 is no limit."""
    terms = router.limits.files

    def finish(used_bytes: int) -> None:
        reply.result({"used_bytes": used_bytes, "quota_bytes": terms.quota_bytes, "file_bytes": terms.file_bytes})

    router.log.read(lambda reader: reader.file_usage(session.user, router.clock_ms()), reply.when(finish))


def _value(file: StoredFile) -> dict[str, Value]:
    return {
        "id": file.id,
        "name": file.name,
        "size": file.size,
        "type": file.type,
        "hash": file.hash,
        "from": file.owner,
        "to": file.to,
        "conversation": conversation_for(file.owner, file.to),
        "time_ms": file.time_ms,
        "expires_ms": file.expires_ms,
    }


def _no_such_file(id: str) -> tuple[ErrorCode, str]:
    return ErrorCode.NO_SUCH_FILE, f"there is no file {id[:40]!r}, or it is not for you, or its time is over"


METHODS: dict[str, Method] = {
    "files.list": list_files,
    "files.info": describe_file,
    "files.remove": remove_file,
    "files.usage": tell_usage,
}
