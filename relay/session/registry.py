"""All sessions of the relay: connection caps, keepalive, slow readers, and the drain at the end.

It counts in whole seconds, by a `tick` that its owner calls once a second, so that a busy session pays nothing for
its timers but setting one number to zero.
"""

import logging
from collections import Counter
from collections.abc import Callable

from relay.protocol.codes import CloseCode
from relay.session.session import CLOSING_S, Phase, Session

log = logging.getLogger("relay.session")


class TooManyConnectionsError(Exception):
    """A cap is reached; the text is a sentence for the peer."""


class Registry:
    """Connections by address, and the sessions that grew out of them."""

    def __init__(
        self,
        connections_max: int,
        per_address_max: int,
        keepalive_s: tuple[float, float],
        slow_reader_timeout_s: float,
    ) -> None:
        """`keepalive_s`: silence before a ping, and from then on before the connection counts as dead."""
        self._connections_max = connections_max
        self._per_address_max = per_address_max
        self._ping_after_s, self._dead_after_s = keepalive_s[0], sum(keepalive_s)
        self._slow_after_s = slow_reader_timeout_s
        self._by_host: Counter[str] = Counter()
        self._total = 0
        self._sessions: set[Session] = set()

    def __len__(self) -> int:
        return len(self._sessions)

    def __repr__(self) -> str:
        return f"<Registry: {self._total} connections, {len(self._sessions)} sessions>"

    @property
    def connections(self) -> int:
        """Connections, those that are still logging in included."""
        return self._total

    def admit(self, host: str) -> None:
        """Count a new connection. Raises TooManyConnectionsError."""
        if self._total >= self._connections_max:
            raise TooManyConnectionsError(f"the relay has its {self._connections_max} connections; come back later")
        if self._by_host[host] >= self._per_address_max:
            raise TooManyConnectionsError(
                f"there are {self._per_address_max} connections from your address already; close some"
            )
        self._by_host[host] += 1
        self._total += 1

    def release(self, host: str) -> None:
        """The opposite of `admit`."""
        self._total -= 1
        self._by_host[host] -= 1
        if not self._by_host[host]:
            del self._by_host[host]

    def add(self, session: Session) -> None:
        """A login succeeded."""
        self._sessions.add(session)

    def discard(self, session: Session) -> None:
        """The connection of a session is closed."""
        self._sessions.discard(session)

    def sessions(self) -> list[Session]:
        """All sessions, also closing ones; a copy."""
        return list(self._sessions)

    def tick(self) -> None:
        """A second has passed: ping the silent, close the dead and those who never read."""
        for session in self.sessions():
            # One whose messages wait for the disk may be paused: its silence is ours.
            heard = session.storing > 0 or not session.quiet_s
            session.quiet_s = 0 if session.storing else session.quiet_s + 1
            session.pinged = session.pinged and not heard
            if session.phase is not Phase.OPEN:
                self._tick_closing(session)
            elif session.outlet.size and self._is_stalled(session):
                log.warning("closing %s (%s): it has read nothing for %d s", *_who(session), session.stalled_s)
                session.end(CloseCode.SLOW_READER, "you do not read what you are sent", retry_ms=1000)
            elif session.quiet_s > self._ping_after_s and not session.pinged:
                session.ping()
            elif session.quiet_s > self._dead_after_s:
                log.info("closing %s (%s): silent for %d s", *_who(session), session.quiet_s)
                session.end(CloseCode.KEEPALIVE_TIMEOUT, "nothing was heard from you; are you there?")
            else:
                session.tell_dropped()

    def drain(self, retry_ms: Callable[[], int]) -> None:
        """Tell every session to come back after a delay of its own."""
        for session in self.sessions():
            session.end(CloseCode.SHUTTING_DOWN, "the relay is shutting down; come back", retry_ms())

    def abort(self) -> None:
        """Close everything at once."""
        for session in self.sessions():
            session.abort()

    def _is_stalled(self, session: Session) -> bool:
        session.stalled_s = 0 if session.outlet.progress else session.stalled_s + 1
        session.outlet.progress = False
        return session.stalled_s >= self._slow_after_s

    def _tick_closing(self, session: Session) -> None:
        session.closing_s += 1
        if session.closing_s > CLOSING_S:
            session.abort()


def _who(session: Session) -> tuple[str, str]:
    return session.address, session.peer
