"""One user's calls: to an echo among the other users, and to the relay; and the echo itself."""

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from loadtest.books.stamp import Stamp, decode_stamp, encode_stamp
from loadtest.crowd.crowd import user_name
from relay.protocol.addresses import RELAY
from relay.protocol.codes import ErrorCode
from relay.protocol.packets import Call, Fault, Result, encode
from relay.protocol.payloads import Value, encode_body

if TYPE_CHECKING:
    from loadtest.crowd.person import Person

ECHO = "echo"
CONTENT_TYPE = "application/octet-stream"
TIMEOUT_MS = 20_000


class _Made(NamedTuple):
    due_at: float
    body: bytes
    # For a call to the relay itself: what to do with its answer.
    then: Callable[[Fault | None], None] | None = None


class Calls:
    """Calls of one user, in both directions."""

    __slots__ = ("_made", "_next_id", "_person")

    def __init__(self, person: "Person") -> None:
        self._person = person
        self._next_id = 1
        self._made: dict[int, _Made] = {}

    def __len__(self) -> int:
        """Calls that have no answer yet."""
        return len(self._made)

    def make(self, peer: int, due_at: float) -> None:
        """Ask an echo, if we are there."""
        person = self._person
        if not person.present:
            person.crowd.tally["doings_skipped"] += 1
            return
        person.crowd.tally["calls_made"] += 1
        body = encode_stamp(Stamp(person.index, self._next_id, int(due_at * 1e6)), person.crowd.body_bytes(peer))
        self._send(user_name(peer), ECHO, (CONTENT_TYPE, body), _Made(due_at, body))

    def ask_relay(self, method: str, arguments: Mapping[str, Value], then: Callable[[Fault | None], None]) -> None:
        """Call the relay itself; `then` gets the fault if it failed."""
        content_type, body = encode_body(dict(arguments))
        self._send(RELAY, method, (content_type, body), _Made(time.monotonic(), b"", then))

    def handle_result(self, result: Result) -> None:
        """An answer arrives."""
        made = self._made.pop(result.id, None)
        crowd = self._person.crowd
        if made is None:
            crowd.tally["calls_duplicated"] += 1
        elif made.then is not None:
            made.then(None)
        elif result.body != made.body or result.content_type != CONTENT_TYPE:
            crowd.fail("call", "calls_corrupted", made.due_at, "the echo is not what was said")
        else:
            crowd.tally["calls_answered"] += 1
            crowd.record("call", made.due_at, time.monotonic())

    def handle_fault(self, fault: Fault) -> None:
        """A call failed."""
        made = self._made.pop(fault.id, None)
        crowd = self._person.crowd
        if made is None:
            crowd.tally["calls_duplicated"] += 1
        elif made.then is not None:
            made.then(fault)
        else:
            crowd.fail("call", "calls_failed", made.due_at, f"{fault.code}: {fault.sentence}")

    def handle_call(self, call: Call) -> None:
        """Somebody asks us."""
        person = self._person
        if call.method != ECHO:
            sentence = f"only {ECHO} is served here"
            person.send(encode(Fault(person.address, call.sender, call.id, ErrorCode.NO_SUCH_METHOD, sentence)))
            return
        if decode_stamp(call.body) is None:
            person.crowd.tally["calls_corrupted"] += 1
        person.crowd.tally["calls_served"] += 1
        person.send(encode(Result(person.address, call.sender, call.id, call.content_type, call.body)))

    def cut(self) -> None:
        """The connection ended: these calls will not be answered."""
        made, self._made = self._made, {}
        for call in made.values():
            if call.then is None:
                self._person.crowd.fail("call", "calls_cut", call.due_at, "the connection broke")

    def _send(self, to: str, method: str, content: tuple[str, bytes], made: _Made) -> None:
        self._made[self._next_id] = made
        self._person.send(encode(Call(self._person.address, to, self._next_id, method, TIMEOUT_MS, *content)))
        self._next_id += 1
