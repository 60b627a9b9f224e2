"""Times in buckets of 1.6 % width, by kind and second, small enough to be merged from many processes.

Locust rounds its percentiles to two digits; these are for our own report.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

# Below 2 * _STEPS microseconds a bucket is one microsecond wide; above, every doubling has _STEPS buckets.
_STEPS = 64
_STEPS_BITS = 6


def bucket_of(us: int) -> int:
    """The bucket of a time in microseconds."""
    if us < 2 * _STEPS:
        return max(us, 0)
    shift = us.bit_length() - _STEPS_BITS - 1
    return (shift << _STEPS_BITS) + (us >> shift)


def bucket_end_us(bucket: int) -> int:
    """The longest time that falls into the bucket."""
    if bucket < 2 * _STEPS:
        return bucket
    shift = (bucket >> _STEPS_BITS) - 1
    return (((bucket & (_STEPS - 1)) + _STEPS + 1) << shift) - 1


class Histogram:
    """How often which time occurred. Quantiles are never too low, and too high by 1.6 % at most."""

    __slots__ = ("buckets", "count", "longest_us")

    def __init__(self) -> None:
        self.buckets: dict[int, int] = {}
        self.count = 0
        self.longest_us = 0

    def __repr__(self) -> str:
        return f"<Histogram of {self.count}, longest {self.longest_us} us>"

    def record(self, us: int) -> None:
        """Add one time."""
        bucket = bucket_of(us)
        self.buckets[bucket] = self.buckets.get(bucket, 0) + 1
        self.count += 1
        self.longest_us = max(self.longest_us, us)

    def merge(self, other: "Histogram") -> None:
        """Add all times of another one."""
        for bucket, count in other.buckets.items():
            self.buckets[bucket] = self.buckets.get(bucket, 0) + count
        self.count += other.count
        self.longest_us = max(self.longest_us, other.longest_us)

    def quantile_ms(self, share: float) -> float | None:
        """The time that `share` (0 to 1) of all do not exceed, in milliseconds; None if there are none."""
        if not self.count:
            return None
        left = share * self.count
        for bucket in sorted(self.buckets):
            left -= self.buckets[bucket]
            if left <= 1e-9:
                return min(bucket_end_us(bucket), self.longest_us) / 1000
        return self.longest_us / 1000

    def to_plain(self) -> list[Any]:
        """For msgpack."""
        return [self.longest_us, list(self.buckets), list(self.buckets.values())]

    @classmethod
    def from_plain(cls, plain: list[Any]) -> "Histogram":
        """The opposite of `to_plain`."""
        histogram = cls()
        histogram.longest_us, buckets, counts = plain
        histogram.buckets = dict(zip(buckets, counts, strict=True))
        histogram.count = sum(counts)
        return histogram


def merged(histograms: Iterable[Histogram]) -> Histogram:
    """All of them as one."""
    total = Histogram()
    for histogram in histograms:
        total.merge(histogram)
    return total


class Timeline:
    """Histograms by kind (`signal`, `call`, ...) and by the second in which the thing was meant to begin.

    Second 0 is the first of the traffic; logins before it have negative ones.
    """

    def __init__(self) -> None:
        self._kinds: dict[str, dict[int, Histogram]] = defaultdict(lambda: defaultdict(Histogram))

    def record(self, kind: str, second: int, us: int) -> None:
        """Add one time."""
        self._kinds[kind][second].record(us)

    def merge(self, other: "Timeline") -> None:
        """Add everything of another one."""
        for kind, seconds in other._kinds.items():
            for second, histogram in seconds.items():
                self._kinds[kind][second].merge(histogram)

    def kinds(self) -> list[str]:
        """What was recorded, sorted."""
        return sorted(self._kinds)

    def seconds(self, kind: str) -> Mapping[int, Histogram]:
        """The histograms of one kind."""
        return self._kinds.get(kind, {})

    def total(self, kind: str) -> Histogram:
        """All seconds of one kind."""
        return merged(self.seconds(kind).values())

    def to_plain(self) -> dict[str, Any]:
        """For msgpack."""
        return {
            kind: [[second, histogram.to_plain()] for second, histogram in seconds.items()]
            for kind, seconds in self._kinds.items()
        }

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> "Timeline":
        """The opposite of `to_plain`."""
        timeline = cls()
        for kind, seconds in plain.items():
            for second, histogram in seconds:
                timeline._kinds[kind][second] = Histogram.from_plain(histogram)
        return timeline
