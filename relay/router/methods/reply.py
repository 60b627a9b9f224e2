"""One call to the relay: its arguments, checked, and its one answer."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from relay.protocol.addresses import RELAY, AddressError, conversation_for, prepare_name
from relay.protocol.codes import ErrorCode
from relay.protocol.connection import clip_sentence
from relay.protocol.limits import FRAME_MAX, INTEGER_MAX
from relay.protocol.packets import Call, Fault, Result, encode
from relay.protocol.payloads import PayloadError, Value, decode_body, encode_body
from relay.router.subscriber import Subscriber
from relay.store.base import Refusal, StoreError

if TYPE_CHECKING:
    from relay.router.router import Router

T = TypeVar("T")

# All that a frame holds but the RESULT's own fields: two headers, `relay`, a session's address, an id, a content type.
RESULT_BODY_MAX = FRAME_MAX - 256


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
        session.asking += 1

    def result(self, value: Value) -> None:
        """Answer with a value. One that does not fit into a packet becomes a fault.

        A body may be larger than those of clients, so that the longest message fits into an answer.
        """
        try:
            content_type, body = encode_body(value, RESULT_BODY_MAX)
        except PayloadError as error:
            self.fault(ErrorCode.TOO_LARGE, f"the answer does not fit into one packet: {error}")
            return
        self._answer(Result(RELAY, self._session.address, self._call.id, content_type, body))

    def fault(self, code: ErrorCode, sentence: str) -> None:
        """Answer with a refusal."""
        self._answer(Fault(RELAY, self._session.address, self._call.id, code, clip_sentence(sentence)))

    def opened(self, outcome: bool | StoreError) -> None:
        """Answer whether the device is new, or with the store's error."""
        if isinstance(outcome, StoreError):
            self.done(outcome)
        else:
            self.result({"new": outcome})

    def done(self, problem: StoreError | None) -> None:
        """Answer with an empty result, or with the store's error."""
        if problem is None:
            self.result({})
        else:
            self.fault(ErrorCode.STORE_FAILED, str(problem))

    def when(self, finish: Callable[[T], None]) -> Callable[[T | Refusal | StoreError], None]:
        """A callback for the store: failures and refusals are answered here, everything else goes to `finish`."""

        def done(outcome: T | Refusal | StoreError) -> None:
            if isinstance(outcome, StoreError):
                self.fault(ErrorCode.STORE_FAILED, str(outcome))
            elif isinstance(outcome, Refusal):
                self.fault(outcome.code, outcome.sentence)
            else:
                finish(outcome)

        return done

    def _answer(self, answer: Result | Fault) -> None:
        self._session.asking -= 1
        self._session.outlet.push(encode(answer))


class Arguments:
    """The named arguments of a call. Every reader raises RefusedError with what is wrong."""

    def __init__(self, call: Call) -> None:
        self._method = call.method
        self._values: dict[str, Any] = {}
        if not call.body:
            return
        try:
            values = decode_body(call.content_type, call.body)
        except PayloadError as error:
            raise self._wrong(str(error)) from None
        if isinstance(values, dict):
            self._values = values
        elif values != []:
            raise self._wrong("it takes named arguments: a msgpack map")

    def text(self, name: str, default: str | None = None) -> str:
        """A string."""
        value = self._values.get(name, default)
        if type(value) is not str:
            raise self._wrong(f"{name} is a string")
        return value

    def optional_text(self, name: str) -> str | None:
        """A string, or None where it is missing."""
        return None if self._values.get(name) is None else self.text(name)

    def number(self, name: str, default: int | None = None, highest: int = INTEGER_MAX) -> int | None:
        """A whole number from 0, or nil."""
        value = self._values.get(name, default)
        if value is not None and (type(value) is not int or not 0 <= value <= highest):
            raise self._wrong(f"{name} is a whole number from 0 to {highest}, or nil")
        return value

    def flag(self, name: str, default: bool | None = None) -> bool | None:
        """True, false, or `default` where it is missing."""
        value = self._values.get(name, default)
        if value is not None and type(value) is not bool:
            raise self._wrong(f"{name} is true or false")
        return value

    def texts(self, name: str, most: int) -> list[str] | None:
        """A list of strings, or None where it is missing."""
        value = self._values.get(name)
        if value is None:
            return None
        if not isinstance(value, list) or len(value) > most or not all(type(item) is str for item in value):
            raise self._wrong(f"{name} is a list of at most {most} strings")
        return value

    def user(self, name: str = "user") -> str:
        """A user's name, prepared."""
        return self._name(name, self.text(name))

    def room(self, name: str = "room") -> str:
        """A room's name with its mark, `#ops`, prepared."""
        text = self.text(name)
        if not text.startswith("#"):
            raise self._wrong(f"{name} is a room, such as #ops")
        return "#" + self._name(name, text[1:])

    def conversation(self, asker: str) -> str:
        """A conversation: its name, or the user at its other end."""
        text = self.text("conversation")
        if text.startswith("#"):
            return self.room("conversation")
        first, at, second = text.partition("@")
        if at:
            return conversation_for(self._name("conversation", first), self._name("conversation", second))
        return conversation_for(asker, self._name("conversation", text))

    def _name(self, argument: str, text: str) -> str:
        try:
            return prepare_name(text)
        except AddressError as error:
            raise self._wrong(f"{argument}: {error}") from None

    def _wrong(self, sentence: str) -> RefusedError:
        return RefusedError(ErrorCode.BAD_ARGUMENTS, f"{self._method}: {sentence}")


Method = Callable[["Router", Subscriber, Arguments, Reply], None]
