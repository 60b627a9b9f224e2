"""When to connect again. The relay's advice goes first; without it, pauses that grow, each with its own random part."""

from collections.abc import Callable

from relay.protocol.codes import Retry

# The specification, section 15: up to half a second, then up to twice as long each time, up to 30 s, and from the start
# again after a connection that lasted a minute, or ten times as long as the pause before it. The latter is for a relay
# that is restarted every few seconds: pauses of 30 s would outlast the time that a program waits for its message.
FIRST_S = 0.5
LONGEST_S = 30.0
_DOUBLINGS_MAX = 10
STABLE_S = 60.0
STABLE_MIN_S = 5.0
STABLE_PAUSES = 10


class Backoff:
    """Counts failed attempts. `jitter` returns a random number from 0 to 1."""

    def __init__(self, jitter: Callable[[], float]) -> None:
        self._jitter = jitter
        self._attempts = 0
        self._pause_s = 0.0

    def next_delay(self, retry: Retry, retry_ms: int | None, lasted_s: float) -> float:
        """Seconds to wait after a connection that was open for `lasted_s` (0: never was).

        `retry_ms`, the relay's advice, is kept to exactly: the relay spreads its clients by it.
        """
        if lasted_s >= min(STABLE_S, max(STABLE_MIN_S, STABLE_PAUSES * self._pause_s)):
            self._attempts = 0
        attempt, self._attempts = self._attempts, self._attempts + 1
        self._pause_s = self._pause(attempt, retry, retry_ms)
        return self._pause_s

    def _pause(self, attempt: int, retry: Retry, retry_ms: int | None) -> float:
        if retry_ms is not None:
            return retry_ms / 1000
        if retry is Retry.NOW and attempt == 0:
            return 0.0
        ceiling = min(LONGEST_S, FIRST_S * 2.0 ** min(attempt, _DOUBLINGS_MAX))
        # Half of it fixed and half random, so that clients cut off together do not come back together. The first
        # pause is all random: after a restart of the relay it is what spreads them.
        return ceiling * (self._jitter() if attempt == 0 else 0.5 + 0.5 * self._jitter())
