"""Receiving messages, announcing methods, and what the relay says of itself."""

from typing import TYPE_CHECKING

from relay.protocol.codes import ErrorCode
from relay.protocol.limits import METHOD_MAX_BYTES, VERSION_MAX
from relay.protocol.payloads import Value
from relay.router.methods.reply import Arguments, Method, RefusedError, Reply
from relay.router.subscriber import Subscriber

if TYPE_CHECKING:
    from relay.router.router import Router

METHODS_PER_SESSION_MAX = 256
SERVICES_PER_SESSION_MAX = 256


def receive(router: "Router", session: Subscriber, arguments: Arguments, reply: Reply) -> None:
    """Begin to deliver to this session."""
    router.conversations.receive(session, arguments.number("start"), reply.opened)


def sync(router: "Router", session: Subscriber, arguments: Arguments, reply: Reply) -> None:
    """Answer once every acknowledgement so far is durable."""
    router.conversations.save_cursors(reply.done)


def announce(router: "Router", session: Subscriber, arguments: Arguments, reply: Reply) -> None:
    """Replace the methods that this session serves for calls to its user."""
    session.methods = _names(arguments, "methods", METHODS_PER_SESSION_MAX)
    reply.result({})


def offer(router: "Router", session: Subscriber, arguments: Arguments, reply: Reply) -> None:
    """Replace the services that this session offers for streams to its user."""
    session.services = _names(arguments, "services", SERVICES_PER_SESSION_MAX)
    reply.result({})


def online(router: "Router", session: Subscriber, arguments: Arguments, reply: Reply) -> None:
    """Who is connected."""
    users: list[Value] = []
    for user in router.directory.users():
        sessions = list(router.directory.sessions_of(user))
        users.append({"user": user, "sessions": sorted(s.device for s in sessions), "bot": sessions[0].bot})
    reply.result({"users": users})


def info(router: "Router", session: Subscriber, arguments: Arguments, reply: Reply) -> None:
    """What relay this is."""
    reply.result({"agent": router.agent, "version": VERSION_MAX, "time_ms": router.clock_ms()})


def _names(arguments: Arguments, key: str, most: int) -> frozenset[str]:
    names = arguments.texts(key, most)
    if names is None or any(not 0 < len(name.encode()) <= METHOD_MAX_BYTES for name in names):
        raise RefusedError(ErrorCode.BAD_ARGUMENTS, f"{key} is a list of names of 1 to {METHOD_MAX_BYTES} bytes")
    return frozenset(names)


METHODS: dict[str, Method] = {
    "messages.receive": receive,
    "messages.sync": sync,
    "methods.announce": announce,
    "presence.list": online,
    "relay.info": info,
    "services.announce": offer,
}
