"""The methods a program serves: which function answers a call, and what the caller hears when it cannot.

Knows no connection: both shells find, run and answer with it. A caller never sees the inside of the program, only the
method's signature; the rest is in the program's log.
"""

import inspect
import logging
import time
from collections.abc import Callable
from typing import Any

from relay.protocol.codes import ErrorCode
from relay_client.core.arguments import decode_arguments
from relay_client.errors import BadValue, MethodError
from relay_client.received import Call

log = logging.getLogger("relay_client")


class CallRefusedError(Exception):
    """The call is answered with this fault."""

    def __init__(self, code: int, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence


class TooLateError(Exception):
    """The caller does not wait any more."""


class Methods:
    """Functions by method name. Each takes the call, then the caller's arguments."""

    def __init__(self) -> None:
        self._functions: dict[str, tuple[Callable[..., Any], inspect.Signature]] = {}

    @property
    def names(self) -> list[str]:
        """The names of all methods."""
        return list(self._functions)

    def add(self, name: str, function: Callable[..., Any]) -> None:
        """Serve `name` with `function`. Raises ValueError for a function that cannot take a call."""
        signature = inspect.signature(function)
        first = next(iter(signature.parameters.values()), None)
        if first is None or first.kind in (first.KEYWORD_ONLY, first.VAR_KEYWORD):
            raise ValueError(
                f"the function for {name!r} must take the call as its first parameter: def {name}(call, ...)"
            )
        self._functions[name] = function, signature

    def run(self, call: Call) -> Any:
        """What the method returns, perhaps an awaitable. Raises CallRefusedError, TooLateError, and its own errors."""
        if time.monotonic() >= call.deadline_at:
            raise TooLateError
        if call.method not in self._functions:
            raise CallRefusedError(ErrorCode.NO_SUCH_METHOD, f"there is no method {call.method!r} here")
        function, signature = self._functions[call.method]
        try:
            args, kwargs = decode_arguments(call.content_type, call.body)
        except BadValue as error:
            raise CallRefusedError(ErrorCode.BAD_ARGUMENTS, f"{call.method}: {error}") from None
        try:
            signature.bind(call, *args, **kwargs)
        except TypeError as error:
            wanted = f"{call.method}{_without_call(signature)}"
            raise CallRefusedError(ErrorCode.BAD_ARGUMENTS, f"{error}: the method is {wanted}") from None
        return function(call, *args, **kwargs)


def fault_for(error: Exception, call: Call) -> tuple[int, str]:
    """(code, sentence) that tell the caller of a failure; logs what the caller is not told."""
    if isinstance(error, CallRefusedError | MethodError):
        return error.code, error.sentence
    if isinstance(error, TooLateError):
        log.warning("%r was not run: its turn came after its deadline", call)
        return ErrorCode.TIMED_OUT, f"{call.method} was not run: its turn came after the call's time was over"
    log.error("%s failed for %s", call.method, call.sender_session, exc_info=error)
    if isinstance(error, BadValue):
        return ErrorCode.METHOD_FAILED, f"the answer of {call.method} cannot be sent; its log says why"
    return ErrorCode.METHOD_FAILED, f"{call.method} failed; its log says why"


def _without_call(signature: inspect.Signature) -> str:
    parameters = list(signature.parameters.values())
    if parameters[0].kind is not inspect.Parameter.VAR_POSITIONAL:
        parameters = parameters[1:]
    return str(signature.replace(parameters=parameters, return_annotation=inspect.Signature.empty))
