"""What failed logins cost: answers that come later and later, by address and by account.

Nobody is locked out. A failed attempt's answer is delayed; meanwhile further attempts from the same address wait. A
right password from another address goes through at once, however many attempts fail elsewhere.
"""

from collections import OrderedDict
from typing import NamedTuple

FIRST_DELAY_S = 0.25

# Failures are forgotten this long after the latest one.
MEMORY_S = 900.0

# Addresses and accounts remembered at most; the oldest go first. An attacker with that many addresses is not slowed
# down by delays per address anyway.
REMEMBERED_MAX = 20_000


class _Failures(NamedTuple):
    times: int
    latest_at: float
    quiet_at: float


class Throttle:
    """Counts failures. Pure: time is passed in, in seconds of any monotonic clock."""

    def __init__(self, delay_max_s: float) -> None:
        self._delay_max_s = delay_max_s
        self._failures: OrderedDict[str, _Failures] = OrderedDict()

    def __len__(self) -> int:
        return len(self._failures)

    def wait_s(self, host: str, now: float) -> float:
        """How long a new attempt from `host` has to wait for the answer to an earlier one."""
        failures = self._failures.get(_host_key(host))
        return max(0.0, failures.quiet_at - now) if failures else 0.0

    def fail(self, host: str, user: str, now: float) -> float:
        """Note a failed attempt; returns after how many seconds it is to be answered."""
        delay = max(self._note(_host_key(host), now), self._note(f"user {user}", now))
        key = _host_key(host)
        self._failures[key] = self._failures[key]._replace(quiet_at=now + delay)
        return delay

    def _note(self, key: str, now: float) -> float:
        earlier = self._failures.pop(key, None)
        times = earlier.times if earlier and now - earlier.latest_at < MEMORY_S else 0
        self._failures[key] = _Failures(times + 1, now, earlier.quiet_at if earlier else now)
        if len(self._failures) > REMEMBERED_MAX:
            self._failures.popitem(last=False)
        return float(min(FIRST_DELAY_S * 2 ** min(times, 16), self._delay_max_s))


def _host_key(host: str) -> str:
    return f"host {host}"
