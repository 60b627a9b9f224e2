"""Calls in flight: whom a call goes to, and the one answer it gets, whatever happens.

The table is told of every call, answer, departure and of time passing; it forwards packets byte for byte and answers
in a callee's place when the callee cannot.
"""

from typing import NamedTuple, TypeVar

from relay.protocol.addresses import RELAY, is_address
from relay.protocol.codes import ErrorCode
from relay.protocol.connection import clip_sentence
from relay.protocol.limits import CALL_TIMEOUT_MAX_MS, NAME_MAX_BYTES
from relay.protocol.packets import Call, Fault, Result, encode
from relay.router.directory import Directory
from relay.router.subscriber import Subscriber

# Deadlines are kept in slots of this length: adding and removing a call costs a set operation, and a call that runs
# out is answered in the slot before its deadline.
SLOT_S = 0.05

Key = tuple[str, int]
_Place = TypeVar("_Place")


class _Pending(NamedTuple):
    caller: Subscriber
    callee: Subscriber
    slot: int


class CallTable:
    """All calls between sessions that wait for their answer. No method yields."""

    def __init__(self, directory: Directory, in_flight_max: int) -> None:
        self._directory = directory
        self._in_flight_max = in_flight_max
        self._pending: dict[Key, _Pending] = {}
        # The calls a session made, and those it answers: by its address.
        self._made: dict[str, set[Key]] = {}
        self._served: dict[str, set[Key]] = {}
        self._slots: dict[int, set[Key]] = {}
        self._expired_slot = 0

    def __len__(self) -> int:
        return len(self._pending)

    def open(self, caller: Subscriber, call: Call, frame: bytes, now_s: float) -> None:
        """Forward a call, or answer it with the reason why not. `now_s` is any monotonic clock."""
        key = (caller.address, call.id)
        callee = self._choose(call)
        if isinstance(callee, Fault):
            caller.outlet.push(encode(callee))
            return
        code, sentence = self._obstacle(key, call, callee, len(frame))
        if code is not None:
            caller.outlet.push(encode(_fault(key, code, sentence)))
            return
        slot = max(int((now_s + call.timeout_ms / 1000) / SLOT_S), self._expired_slot + 1)
        self._pending[key] = _Pending(caller, callee, slot)
        self._slots.setdefault(slot, set()).add(key)
        self._made.setdefault(caller.address, set()).add(key)
        self._served.setdefault(callee.address, set()).add(key)
        callee.serving += 1
        callee.outlet.push(frame)

    def answer(self, callee: Subscriber, answer: Result | Fault, frame: bytes) -> bool:
        """Forward an answer. False if no call waits for it from this session (any more)."""
        key = (answer.to, answer.id)
        pending = self._pending.get(key)
        if pending is None or pending.callee is not callee:
            return False
        self._forget(key, pending)
        pending.caller.outlet.push(frame)
        return True

    def leave(self, session: Subscriber) -> None:
        """A session ended: its callers are told, answers to its own calls will be refused."""
        for key in self._made.pop(session.address, set()):
            self._forget(key, self._pending[key])
        for key in self._served.pop(session.address, set()):
            sentence = "{callee} left before it answered; whether it did the work is unknown"
            self._refuse(key, ErrorCode.SESSION_GONE, sentence)

    def expire(self, now_s: float) -> None:
        """Answer the calls whose time is up. To be called every SLOT_S while there are any."""
        current = int(now_s / SLOT_S)
        due = [slot for slot in self._slots if slot <= current]
        self._expired_slot = current
        for slot in sorted(due):
            for key in self._slots.pop(slot, set()):
                self._refuse(key, ErrorCode.TIMED_OUT, "{callee} did not answer within the call's time")

    def _refuse(self, key: Key, code: ErrorCode, sentence: str) -> None:
        """End a call with a fault. Telling a caller may end the caller, and with it other calls: one may be gone."""
        pending = self._pending.get(key)
        if pending is not None:
            self._forget(key, pending)
            pending.caller.outlet.push(encode(_fault(key, code, sentence.format(callee=pending.callee.address))))

    def _forget(self, key: Key, pending: _Pending) -> None:
        del self._pending[key]
        pending.callee.serving -= 1
        _drop(self._slots, pending.slot, key)
        _drop(self._served, pending.callee.address, key)
        _drop(self._made, pending.caller.address, key)

    def _choose(self, call: Call) -> Subscriber | Fault:
        """The session a call goes to: the named one, or the least busy one of the user that serves the method."""

        def no(code: ErrorCode, sentence: str) -> Fault:
            return _fault((call.sender, call.id), code, sentence)

        if "/" in call.to:
            session = self._directory.session(call.to)
            return session or no(*_absence(call.to))
        if call.to.startswith("#"):
            return no(ErrorCode.BAD_ADDRESS, "a call goes to a user or a session, not to a room")
        sessions = list(self._directory.sessions_of(call.to))
        if not sessions:
            return no(*_absence(call.to))
        serving = [s for s in sessions if call.method in s.methods]
        if not serving:
            return no(ErrorCode.NO_SUCH_METHOD, f"no session of {call.to} serves the method {call.method!r}")
        return self._least_busy(serving)

    def _least_busy(self, sessions: list[Subscriber]) -> Subscriber:
        chosen = min(sessions, key=lambda session: session.serving)
        if len(sessions) > 1:
            self._directory.move_to_end(chosen)
        return chosen

    def _obstacle(self, key: Key, call: Call, callee: Subscriber, size: int) -> tuple[ErrorCode | None, str]:
        if key in self._pending:
            return (
                ErrorCode.ID_REUSED,
                f"a call with the id {call.id} is in flight already; ids are unique until answered",
            )
        if not 0 < call.timeout_ms <= CALL_TIMEOUT_MAX_MS:
            return ErrorCode.BAD_ARGUMENTS, f"a call's timeout is 1 to {CALL_TIMEOUT_MAX_MS} ms, not {call.timeout_ms}"
        if len(self._made.get(key[0], ())) >= self._in_flight_max:
            return ErrorCode.RATE_LIMITED, f"{self._in_flight_max} calls are in flight; wait for answers first"
        if not callee.outlet.has_room(size):
            return ErrorCode.QUEUE_FULL, f"{callee.address} does not keep up with what it is sent; try again later"
        return None, ""


def _absence(to: str) -> tuple[ErrorCode, str]:
    """Why nobody is at an address."""
    if not is_address(to):
        return ErrorCode.BAD_ADDRESS, f"{to[:NAME_MAX_BYTES]!r} is not an address in canonical form"
    return ErrorCode.NO_SUCH_SESSION, f"{to} is not connected"


def _fault(key: Key, code: ErrorCode, sentence: str) -> Fault:
    return Fault(RELAY, *key, code, clip_sentence(sentence))


def _drop(table: dict[_Place, set[Key]], place: _Place, key: Key) -> None:
    keys = table.get(place)
    if keys is not None:
        keys.discard(key)
        if not keys:
            del table[place]
