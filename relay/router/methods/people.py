"""Calls about users and their devices: presence, blocks, devices."""

from typing import TYPE_CHECKING

from relay.protocol.codes import CloseCode, ErrorCode
from relay.protocol.payloads import Value
from relay.router.methods.reply import Arguments, Method, RefusedError, Reply
from relay.router.presence import WATCHED_MAX
from relay.router.subscriber import Subscriber
from relay.store.base import DeviceInfo, Reader, Refusal, Store

if TYPE_CHECKING:
    from relay.router.router import Router


def watch_presence(router: "Router", session: Subscriber, arguments: Arguments, reply: Reply) -> None:
    """Tell this session when users come and go: those it names, or everybody it shares a conversation with."""
    named = arguments.texts("users", WATCHED_MAX)

    def operation(reader: Reader) -> dict[str, int]:
        wanted = reader.contacts(session.user, WATCHED_MAX)
        if named is not None:
            wanted = [user for user in named if user in set(wanted) or reader.shares(session.user, user)]
        return {user: reader.last_seen_ms(user) or 0 for user in wanted}

    def finish(seen_ms: dict[str, int]) -> None:
        if router.directory.session(session.address) is not session:
            return
        router.presence.watch(session, seen_ms)
        users: list[Value] = [
            {"user": user, "state": str(router.presence.state(user)), "seen_ms": seen}
            for user, seen in sorted(seen_ms.items())
        ]
        reply.result({"users": users})

    router.log.read(operation, reply.when(finish))


def set_presence(router: "Router", session: Subscriber, arguments: Arguments, reply: Reply) -> None:
    """Say that the person at this session is there, or away."""
    state = arguments.text("state")
    if state not in ("online", "away"):
        raise RefusedError(ErrorCode.BAD_ARGUMENTS, "state is online or away")
    session.away = state == "away"
    router.presence.change(session.user)
    reply.result({})


def add_block(router: "Router", session: Subscriber, arguments: Arguments, reply: Reply) -> None:
    """Hear no more from a user."""
    user = arguments.user()

    def operation(store: Store) -> Refusal | None:
        if user == session.user:
            return Refusal(ErrorCode.BAD_ARGUMENTS, "you cannot block yourself")
        if store.account(user) is None:
            return Refusal(ErrorCode.NO_SUCH_USER, f"there is no user {user}")
        store.block(session.user, user)
        return None

    def finish(_: None) -> None:
        router.blocks.add(session.user, user)
        reply.result({})

    router.log.write(operation, reply.when(finish))


def remove_block(router: "Router", session: Subscriber, arguments: Arguments, reply: Reply) -> None:
    """Hear from a user again."""
    user = arguments.user()

    def finish(_: None) -> None:
        router.blocks.remove(session.user, user)
        reply.result({})

    router.log.write(lambda store: store.unblock(session.user, user), reply.when(finish))


def list_blocks(router: "Router", session: Subscriber, arguments: Arguments, reply: Reply) -> None:
    """Whom the user blocks."""

    def finish(users: list[str]) -> None:
        blocked: list[Value] = [*users]
        reply.result({"users": blocked})

    router.log.read(lambda reader: reader.blocked_by(session.user), reply.when(finish))


def list_devices(router: "Router", session: Subscriber, arguments: Arguments, reply: Reply) -> None:
    """The user's devices, and which of them are connected."""

    def finish(found: list[DeviceInfo]) -> None:
        live = {other.device for other in router.directory.sessions_of(session.user)}
        devices: list[Value] = [
            {
                "device": info.device,
                "created_ms": info.created_ms,
                "seen_ms": info.seen_ms,
                "online": info.device in live,
            }
            for info in found
        ]
        reply.result({"devices": devices})

    router.log.read(lambda reader: reader.devices(session.user), reply.when(finish))


def forget_device(router: "Router", session: Subscriber, arguments: Arguments, reply: Reply) -> None:
    """Keep nothing more for a device; if it is connected, it is told and closed."""
    device = arguments.text("device")

    def finish(known: bool) -> None:
        live = router.directory.session(f"{session.user}/{device}")
        if not known and live is None:
            reply.fault(ErrorCode.NO_SUCH_SESSION, f"you have no device {device!r}")
            return
        reply.result({})
        if live is not None:
            live.end(CloseCode.ACCOUNT_ENDED, "this device was forgotten by its user")

    router.log.write(lambda store: store.forget_device(session.user, device), reply.when(finish))


METHODS: dict[str, Method] = {
    "presence.watch": watch_presence,
    "presence.set": set_presence,
    "blocks.add": add_block,
    "blocks.remove": remove_block,
    "blocks.list": list_blocks,
    "devices.list": list_devices,
    "devices.forget": forget_device,
}
