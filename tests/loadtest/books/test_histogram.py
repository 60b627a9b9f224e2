"""Histograms: what a bucket promises, merging, and times by kind and second."""

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.books.histogram import Histogram, Timeline, bucket_end_us, bucket_of, merged

TIMES = st.lists(st.integers(0, 10**9), min_size=1, max_size=200)


@given(st.integers(0, 10**12))
def test_a_bucket_ends_at_or_at_most_two_percent_above_its_times(us: int) -> None:
    end = bucket_end_us(bucket_of(us))
    assert us <= end <= us * 1.016 + 1


def test_buckets_follow_each_other_without_a_hole() -> None:
    ends = [bucket_end_us(bucket) for bucket in range(1000)]
    assert ends == sorted(set(ends))
    assert all(bucket_of(end) == bucket and bucket_of(end + 1) == bucket + 1 for bucket, end in enumerate(ends))


@given(TIMES)
def test_a_quantile_is_the_time_that_so_many_do_not_exceed(times: list[int]) -> None:
    histogram = Histogram()
    for us in times:
        histogram.record(us)
    for share in (0.5, 0.9, 0.99, 1.0):
        exact = sorted(times)[max(0, -(-int(share * 1000) * len(times) // 1000) - 1)]
        shown = histogram.quantile_ms(share)
        assert shown is not None
        assert exact <= shown * 1000 + 1e-6 <= exact * 1.016 + 1


def test_without_times_there_is_no_quantile() -> None:
    assert Histogram().quantile_ms(0.5) is None


@given(TIMES, TIMES)
def test_merging_is_as_good_as_recording_together(one: list[int], two: list[int]) -> None:
    apart = [Histogram(), Histogram()]
    together = Histogram()
    for histogram, times in zip(apart, (one, two), strict=True):
        for us in times:
            histogram.record(us)
            together.record(us)
    total = merged(apart)
    assert (total.buckets, total.count, total.longest_us) == (together.buckets, together.count, together.longest_us)


def test_a_timeline_survives_the_way_to_another_process() -> None:
    timeline = Timeline()
    for second, us in ((-2, 10), (0, 5000), (0, 7000), (3, 1)):
        timeline.record("call", second, us)
    timeline.record("signal", 1, 50)
    there = Timeline.from_plain(msgpack.unpackb(msgpack.packb(timeline.to_plain()), strict_map_key=False))
    assert there.kinds() == ["call", "signal"]
    assert {second: histogram.count for second, histogram in there.seconds("call").items()} == {-2: 1, 0: 2, 3: 1}
    assert there.total("call").quantile_ms(1.0) == pytest.approx(7.0)


def test_timelines_merge_by_kind_and_second() -> None:
    one, two = Timeline(), Timeline()
    one.record("call", 1, 10)
    two.record("call", 1, 20)
    two.record("stored", 2, 30)
    one.merge(two)
    assert one.seconds("call")[1].count == 2
    assert one.total("stored").count == 1
