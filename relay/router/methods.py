"""The calls that the relay answers itself, as the user `relay`.

A method is a plain function of (router, session, arguments, reply): it answers now, or keeps `reply` for later. It
never yields. Arguments are a msgpack map; a method's signature is checked here, before it runs.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from relay.protocol.addresses import RELAY
from relay.protocol.codes import ErrorCode
from relay.protocol.limits import METHOD_MAX_BYTES, VERSION_MAX
from relay.protocol.packets import Call, Fault, Result, encode
from relay.protocol.payloads import PayloadError, Value, decode_body, encode_body
from relay.router.subscriber import Subscriber
from relay.store.base import StoreError

if TYPE_CHECKING:
    from relay.router.router import Router

METHODS_PER_SESSION_MAX = 256


class RefusedError(Exception):
    """The relay refuses a call, with a code and a sentence."""

    def __init__(self, code: ErrorCode, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


class Reply:
    """The one answer to one call. A session that left meanwhile gets none."""

    __slots__ = ("_call", "_session")

    def __init__(self, session: Subscriber, call: Call) -> None:
        self._session = session
        self._call = call

    def result(self, value: Value) -> None:
        """Answer with a value."""
        content_type, body = encode_body(value)
        result = Result(RELAY, self._session.address, self._call.id, content_type, body)
        self._session.outlet.push(encode(result))

    def fault(self, code: ErrorCode, sentence: str) -> None:
        """Answer with a refusal."""
        self._session.outlet.push(encode(Fault(RELAY, self._session.address, self._call.id, code, sentence)))

    def done(self, problem: StoreError | None) -> None:
        """Answer with an empty result, or with the store's error."""
        if problem is None:
            self.result({})
        else:
            self.fault(ErrorCode.STORE_FAILED, str(problem))


Method = Callable[["Router", Subscriber, dict[str, Any], Reply], None]


def answer(router: "Router", session: Subscriber, call: Call) -> None:
    """Run a call to the relay and see that it is answered."""
    reply = Reply(session, call)
    method = METHODS.get(call.method)
    if method is None:
        reply.fault(ErrorCode.NO_SUCH_METHOD, f"the relay has no method {call.method[:METHOD_MAX_BYTES]!r}")
        return
    try:
        method(router, session, _arguments(call), reply)
    except RefusedError as error:
        reply.fault(error.code, str(error))
    except PayloadError as error:
        reply.fault(ErrorCode.TOO_LARGE, f"the answer does not fit into one packet: {error}")


def _arguments(call: Call) -> dict[str, Any]:
    if not call.body:
        return {}
    try:
        arguments = decode_body(call.content_type, call.body)
    except PayloadError as error:
        raise RefusedError(ErrorCode.BAD_ARGUMENTS, str(error)) from None
    if arguments == []:
        return {}
    if not isinstance(arguments, dict):
        raise RefusedError(ErrorCode.BAD_ARGUMENTS, f"{call.method} takes named arguments: a msgpack map")
    return arguments


def _receive(router: "Router", session: Subscriber, arguments: dict[str, Any], reply: Reply) -> None:
    start = arguments.get("start")
    if start is not None and (type(start) is not int or start < 0):
        raise RefusedError(ErrorCode.BAD_ARGUMENTS, "start is how many earlier messages to begin with, or nil")
    router.conversations.receive(session, start, reply.done)


def _sync(router: "Router", session: Subscriber, arguments: dict[str, Any], reply: Reply) -> None:
    router.conversations.save_cursors(reply.done)


def _announce(router: "Router", session: Subscriber, arguments: dict[str, Any], reply: Reply) -> None:
    names = arguments.get("methods")
    if not isinstance(names, list) or not all(type(name) is str for name in names):
        raise RefusedError(ErrorCode.BAD_ARGUMENTS, "methods is a list of names")
    if len(names) > METHODS_PER_SESSION_MAX or any(not 0 < len(n.encode()) <= METHOD_MAX_BYTES for n in names):
        sentence = f"a session announces at most {METHODS_PER_SESSION_MAX} methods of 1 to {METHOD_MAX_BYTES} bytes"
        raise RefusedError(ErrorCode.BAD_ARGUMENTS, sentence)
    session.methods = frozenset(names)
    reply.result({})


def _online(router: "Router", session: Subscriber, arguments: dict[str, Any], reply: Reply) -> None:
    users: list[Value] = []
    for user in router.directory.users():
        sessions = list(router.directory.sessions_of(user))
        users.append({"user": user, "sessions": sorted(s.device for s in sessions), "bot": sessions[0].bot})
    reply.result({"users": users})


def _info(router: "Router", session: Subscriber, arguments: dict[str, Any], reply: Reply) -> None:
    reply.result({"agent": router.agent, "version": VERSION_MAX, "time_ms": router.clock_ms()})


METHODS: dict[str, Method] = {
    "messages.receive": _receive,
    "messages.sync": _sync,
    "methods.announce": _announce,
    "presence.list": _online,
    "relay.info": _info,
}
