"""Calls in flight: whom a call goes to, and the one answer it gets, whatever happens.

The table is told of every call, answer, departure and of time passing; it forwards packets byte for byte and answers
in a callee's place when the callee cannot.
"""

from typing import NamedTuple, TypeVar

from relay.protocol.addresses import RELAY, is_address
from relay.protocol.codes import ErrorCode
from relay.protocol.connection import clip_sentence
from relay.protocol.limits import CALL_TIMEOUT_MAX_MS, NAME_MAX_BYTES
from relay.protocol.packets import Fault, encode
from relay.router.directory import Directory
from relay.router.subscriber import Subscriber

# Deadlines are kept in slots of this length: adding and removing a call costs a set operation, and a call that runs
# out is answered in the slot before its deadline.
SLOT_S = 0.05

# How many calls that ended without its answer are remembered for a callee, the latest: see `_late`.
LATE_MAX = 1024

Key = tuple[str, int]
_Place = TypeVar("_Place")
_Refusal = tuple[ErrorCode, str]

# Caller, callee, slot: made and read for every call, and a plain tuple is the cheapest thing to do that with.
_Pending = tuple[Subscriber, Subscriber, int]


class Question(NamedTuple):
    """What a call asks, and of whom: the same for many calls, which differ in id and body."""

    to: str
    method: str
    timeout_ms: int


def timeout_problem(timeout_ms: int) -> _Refusal | None:
    """What is wrong with a call's timeout."""
    if 0 < timeout_ms <= CALL_TIMEOUT_MAX_MS:
        return None
    return ErrorCode.BAD_ARGUMENTS, f"a call's timeout is 1 to {CALL_TIMEOUT_MAX_MS} ms, not {timeout_ms}"


class CallTable:
    """All calls between sessions that wait for their answer. No method yields."""

    def __init__(self, directory: Directory, in_flight_max: int) -> None:
        self._directory = directory
        self._in_flight_max = in_flight_max
        self._pending: dict[Key, _Pending] = {}
        # The calls a session made, and those it answers: by its address, from its first to its end.
        self._made: dict[str, set[Key]] = {}
        self._served: dict[str, set[Key]] = {}
        # By callee's address: calls whose callers are no longer waiting, but which it may answer yet. Its answer would
        # be taken for that to a new call with the same id, so there must be none until then.
        self._late: dict[str, dict[Key, None]] = {}
        # A slot stays until its time has come, also when all its calls are answered.
        self._slots: dict[int, set[Key]] = {}
        self._expired_slot = 0

    def __len__(self) -> int:
        return len(self._pending)

    def open(self, caller: Subscriber, question: Question, call_id: int, frame: bytes, now_s: float) -> None:
        """Forward a call, or answer it with the reason why not. `now_s` is any monotonic clock."""
        key = (caller.address, call_id)
        callee = self._choose(question)
        if callee is None:
            caller.outlet.push(_fault(key, *self._absence(question)))
            return
        obstacle = self._obstacle(caller, key, question, callee, len(frame))
        if obstacle is not None:
            caller.outlet.push(_fault(key, *obstacle))
            return
        slot = int((now_s + question.timeout_ms / 1000) / SLOT_S)
        if slot <= self._expired_slot:
            slot = self._expired_slot + 1
        self._pending[key] = (caller, callee, slot)
        _put(self._slots, slot, key)
        _put(self._made, caller.address, key)
        _put(self._served, callee.address, key)
        callee.serving += 1
        callee.outlet.push(frame)

    def answer(self, callee: Subscriber, to: str, call_id: int, frame: bytes) -> bool:
        """Forward an answer to the call `call_id` of session `to`. False if it waits for none from this session."""
        key = (to, call_id)
        pending = self._pending.get(key)
        if pending is None or pending[1] is not callee:
            self._late.get(callee.address, {}).pop(key, None)
            return False
        self._forget(key, pending)
        pending[0].outlet.push(frame)
        return True

    def leave(self, session: Subscriber) -> None:
        """A session ended: its callers are told, answers to its own calls will be refused."""
        for key in self._made.pop(session.address, ()):
            pending = self._pending[key]
            self._forget(key, pending)
            self._remember(key, pending)
        for key in self._served.pop(session.address, ()):
            sentence = "{callee} left before it answered; whether it did the work is unknown"
            self._refuse(key, ErrorCode.SESSION_GONE, sentence)
        self._late.pop(session.address, None)

    def expire(self, now_s: float) -> None:
        """Answer the calls whose time is up. To be called every SLOT_S while there are any."""
        current = int(now_s / SLOT_S)
        due = list(range(self._expired_slot + 1, current + 1))
        if len(due) > len(self._slots):
            due = sorted(slot for slot in self._slots if slot <= current)
        self._expired_slot = max(current, self._expired_slot)
        for slot in due:
            for key in self._slots.pop(slot, ()):
                pending = self._pending.get(key)
                if pending is not None:
                    self._remember(key, pending)
                self._refuse(key, ErrorCode.TIMED_OUT, "{callee} did not answer within the call's time")

    def in_flight(self, session: Subscriber) -> int:
        """How many calls of the session wait for an answer, those to the relay included."""
        return len(self._made.get(session.address, ())) + session.asking

    def crowded(self, session: Subscriber) -> _Refusal | None:
        """Why the session must not make another call now."""
        if self.in_flight(session) < self._in_flight_max:
            return None
        return ErrorCode.RATE_LIMITED, f"{self._in_flight_max} calls are in flight; wait for answers first"

    def _refuse(self, key: Key, code: ErrorCode, sentence: str) -> None:
        """End a call with a fault. Telling a caller may end the caller, and with it other calls: one may be gone."""
        pending = self._pending.get(key)
        if pending is not None:
            self._forget(key, pending)
            pending[0].outlet.push(_fault(key, code, sentence.format(callee=pending[1].address)))

    def _forget(self, key: Key, pending: _Pending) -> None:
        caller, callee, slot = pending
        del self._pending[key]
        callee.serving -= 1
        _drop(self._slots, slot, key)
        _drop(self._served, callee.address, key)
        _drop(self._made, caller.address, key)

    def _remember(self, key: Key, pending: _Pending) -> None:
        """Nobody waits for the callee's answer to this call any more, but it may come."""
        late = self._late.setdefault(pending[1].address, {})
        late[key] = None
        if len(late) > LATE_MAX:
            del late[next(iter(late))]

    def _choose(self, question: Question) -> Subscriber | None:
        """The session a call goes to: the named one, or the least busy one of the user that serves the method."""
        to, method, _ = question
        if "/" in to:
            return self._directory.session(to)
        serving = [session for session in self._directory.sessions_of(to) if method in session.methods]
        if len(serving) < 2:
            return serving[0] if serving else None
        chosen = min(serving, key=lambda session: session.serving)
        self._directory.move_to_end(chosen)
        return chosen

    def _absence(self, question: Question) -> _Refusal:
        """Why nobody takes a call."""
        to, method, _ = question
        if to.startswith("#"):
            return ErrorCode.BAD_ADDRESS, "a call goes to a user or a session, not to a room"
        if not is_address(to):
            return ErrorCode.BAD_ADDRESS, f"{to[:NAME_MAX_BYTES]!r} is not an address in canonical form"
        if any(self._directory.sessions_of(to)):
            return ErrorCode.NO_SUCH_METHOD, f"no session of {to} serves the method {method!r}"
        return ErrorCode.NO_SUCH_SESSION, f"{to} is not connected"

    def _obstacle(
        self, caller: Subscriber, key: Key, question: Question, callee: Subscriber, size: int
    ) -> _Refusal | None:
        """Why the call cannot be made now."""
        if key in self._pending:
            return (
                ErrorCode.ID_REUSED,
                f"a call with the id {key[1]} is in flight already; ids are unique until answered",
            )
        late = self._late.get(callee.address)
        if late and key in late:
            sentence = f"{callee.address} may still answer an earlier call with the id {key[1]}; take an id never used"
            return ErrorCode.ID_REUSED, sentence
        if not callee.outlet.has_room(size):
            return ErrorCode.QUEUE_FULL, f"{callee.address} does not keep up with what it is sent; try again later"
        return timeout_problem(question.timeout_ms) or self.crowded(caller)


def _fault(key: Key, code: ErrorCode, sentence: str) -> bytes:
    return encode(Fault(RELAY, *key, code, clip_sentence(sentence)))


def _put(table: dict[_Place, set[Key]], place: _Place, key: Key) -> None:
    keys = table.get(place)
    if keys is None:
        table[place] = {key}
    else:
        keys.add(key)


def _drop(table: dict[_Place, set[Key]], place: _Place, key: Key) -> None:
    keys = table.get(place)
    if keys is not None:
        keys.discard(key)
