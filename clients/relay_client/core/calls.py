"""The calls this client has made and not had an answer to, and their deadlines.

A call that was sent when the connection broke fails, because nobody knows whether it ran; one that was not sent yet
waits for the next connection until its deadline.
"""

import secrets
from heapq import heappop, heappush

from relay.protocol import packets
from relay.protocol.codes import ErrorCode
from relay.protocol.payloads import PayloadError, Value, decode_body
from relay_client.core.pending import Pending
from relay_client.errors import BadValue, CallTimedOut, ConnectionLost, RelayError, call_failed

# The time of a call runs at the relay, which says more about a failure than we can: we wait this much longer for it.
GRACE_S = 0.5

# Half of what an id may be (2^53 - 1), so that there is no end in sight from any beginning.
FIRST_ID_MAX = 2**52


class _Entry:
    __slots__ = ("body", "content_type", "deadline_at", "method", "pending", "sent", "to")

    def __init__(self, to: str, method: str, content_type: str, body: bytes, deadline_at: float) -> None:
        self.to = to
        self.method = method
        self.content_type = content_type
        self.body = body
        self.deadline_at = deadline_at
        self.sent = False
        self.pending: Pending[Value] = Pending()


class Calls:
    """All calls in flight, by id. Ids are never used twice in a client's life, and begin at random: another program
    may have been this device a moment ago, and an answer to its call must not be taken for one to ours."""

    def __init__(self) -> None:
        self._entries: dict[int, _Entry] = {}
        self._deadlines: list[tuple[float, int]] = []  # a heap; may hold calls that are answered already
        self._last_id = secrets.randbelow(FIRST_ID_MAX)

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, to: str, method: str, content_type: str, body: bytes, deadline_at: float) -> Pending[Value]:
        """A new call; `take_unsent` gives its packet."""
        self._last_id += 1
        entry = _Entry(to, method, content_type, body, deadline_at)
        entry.pending.id = self._last_id
        self._entries[self._last_id] = entry
        heappush(self._deadlines, (deadline_at, self._last_id))
        return entry.pending

    def packet(self, call_id: int, sender: str, now: float) -> packets.Call:
        """The packet to send, which from now on counts as sent."""
        entry = self._entries[call_id]
        entry.sent = True
        heappush(self._deadlines, (entry.deadline_at + GRACE_S, call_id))
        timeout_ms = max(1, round((entry.deadline_at - now) * 1000))
        return packets.Call(sender, entry.to, call_id, entry.method, timeout_ms, entry.content_type, entry.body)

    def unsent(self) -> list[int]:
        """The ids of the calls that wait for a connection, in order."""
        return [call_id for call_id, entry in self._entries.items() if not entry.sent]

    @property
    def next_deadline(self) -> float | None:
        """The earliest deadline of a call in flight."""
        while self._deadlines and self._deadlines[0][1] not in self._entries:
            heappop(self._deadlines)
        return self._deadlines[0][0] if self._deadlines else None

    def result(self, result: packets.Result) -> None:
        """An answer came; one that nobody waits for any more is ignored."""
        entry = self._entries.pop(result.id, None)
        if entry is None:
            return
        try:
            entry.pending.settle(decode_body(result.content_type, result.body))
        except PayloadError as error:
            entry.pending.fail(BadValue(f"the answer of {entry.method} of {entry.to} cannot be read: {error}"))

    def fault(self, call_id: int, code: int, sentence: str) -> bool:
        """A call failed. False if it is not in flight."""
        entry = self._entries.pop(call_id, None)
        if entry is None:
            return False
        entry.pending.fail(call_failed(code, sentence, entry.to, entry.method))
        return True

    def expire(self, now: float, why_no_connection: str) -> None:
        """Fail the calls whose deadline has come."""
        while (deadline := self.next_deadline) is not None and now >= deadline:
            _, call_id = heappop(self._deadlines)
            entry = self._entries[call_id]
            if entry.sent and now < entry.deadline_at + GRACE_S:
                continue
            del self._entries[call_id]
            sentence = "no answer came in time" if entry.sent else f"there is no connection: {why_no_connection}"
            entry.pending.fail(CallTimedOut(ErrorCode.TIMED_OUT, sentence, entry.to, entry.method))

    def lost(self, reason: str) -> None:
        """The connection broke."""
        for call_id in [call_id for call_id, entry in self._entries.items() if entry.sent]:
            entry = self._entries.pop(call_id)
            entry.pending.fail(
                ConnectionLost(
                    f"the connection broke while {entry.method} of {entry.to} was under way, "
                    f"and it is unknown whether it ran ({reason}): call again if that does no harm"
                )
            )

    def fail_all(self, error: RelayError) -> None:
        """There will be no more answers."""
        entries, self._entries = self._entries, {}
        for entry in entries.values():
            entry.pending.fail(error)
