"""The calls that the relay answers itself, as the user `relay`: one module for each noun.

A method is a plain function of (router, session, arguments, reply): it answers now, or keeps `reply` for later. It
never yields.
"""

from typing import TYPE_CHECKING

from relay.protocol.codes import ErrorCode
from relay.protocol.limits import METHOD_MAX_BYTES
from relay.protocol.packets import Call
from relay.router.calls import timeout_problem
from relay.router.methods import basics, files, history, people, rooms
from relay.router.methods.reply import Arguments, Method, RefusedError, Reply
from relay.router.subscriber import Subscriber

if TYPE_CHECKING:
    from relay.router.router import Router

METHODS: dict[str, Method] = {
    **basics.METHODS,
    **rooms.METHODS,
    **history.METHODS,
    **people.METHODS,
    **files.METHODS,
}


def answer(router: "Router", session: Subscriber, call: Call) -> None:
    """Run a call to the relay and see that it is answered."""
    problem = timeout_problem(call.timeout_ms) or router.calls.crowded(session)
    reply = Reply(session, call)
    if problem is not None:
        reply.fault(*problem)
        return
    method = METHODS.get(call.method)
    if method is None:
        reply.fault(ErrorCode.NO_SUCH_METHOD, f"the relay has no method {call.method[:METHOD_MAX_BYTES]!r}")
        return
    try:
        method(router, session, Arguments(call), reply)
    except RefusedError as error:
        reply.fault(error.code, str(error))
