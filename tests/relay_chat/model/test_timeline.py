"""The bounded run of messages in memory."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st
from relay_chat.model.entries import Entry
from relay_chat.model.timeline import PAGE, WINDOW_MAX, Timeline

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def entries(first: int, last: int) -> list[Entry]:
    return [Entry("bob", str(offset), NOON, offset=offset) for offset in range(first, last + 1)]


def offsets(timeline: Timeline) -> list[int]:
    return [entry.offset or 0 for entry in timeline.entries]


def filled(last: int = 250) -> Timeline:
    timeline = Timeline()
    timeline.show(entries(last - PAGE + 1, last), 1, last)
    return timeline


def test_the_end_is_followed() -> None:
    timeline = filled()
    assert timeline.following and not timeline.complete
    assert timeline.add(entries(251, 251)[0])
    assert offsets(timeline)[-2:] == [250, 251]
    assert not timeline.add(entries(251, 251)[0])


def test_what_comes_too_early_waits_for_what_is_missing() -> None:
    timeline = filled()
    assert not timeline.add(entries(252, 252)[0]) and timeline.has_hole
    assert timeline.add(entries(251, 251)[0]) and not timeline.has_hole
    assert offsets(timeline)[-2:] == [251, 252]


def test_a_hole_is_filled_by_a_page() -> None:
    timeline = filled()
    timeline.add(entries(255, 255)[0])
    timeline.add_newer(entries(251, 254), 255)
    assert offsets(timeline)[-5:] == [251, 252, 253, 254, 255] and not timeline.has_hole and timeline.following


def test_back_to_the_beginning() -> None:
    timeline = filled()
    timeline.add_older(entries(51, 150), 1)
    assert not timeline.complete
    timeline.add_older(entries(1, 50), 1)
    assert timeline.complete and offsets(timeline) == list(range(1, 251))


def test_far_back_the_newest_leave_memory_and_come_again() -> None:
    timeline = filled(5000)
    while not timeline.complete:
        timeline.add_older(entries(max(1, timeline.low - PAGE), timeline.low - 1), 1)
        assert len(timeline.entries) <= WINDOW_MAX
    assert offsets(timeline) == list(range(1, WINDOW_MAX + 1)) and not timeline.following
    assert not timeline.add(entries(5001, 5001)[0])
    while not timeline.following:
        timeline.add_newer(entries(timeline.high + 1, min(5001, timeline.high + PAGE)), 5001)
        assert len(timeline.entries) <= WINDOW_MAX
    assert offsets(timeline) == list(range(5002 - WINDOW_MAX, 5002)) and not timeline.complete


def test_an_empty_conversation_grows() -> None:
    timeline = Timeline()
    timeline.show([], 1, 0)
    assert timeline.complete and timeline.following
    assert timeline.add(entries(1, 1)[0]) and offsets(timeline) == [1]


def test_where_a_message_is() -> None:
    timeline = filled()
    assert timeline.index_of(151) == 0 and timeline.index_of(250) == PAGE - 1
    assert timeline.index_of(150) is timeline.index_of(251) is None


@given(st.permutations(range(1, 30)))
def test_any_order_ends_in_order(order: list[int]) -> None:
    timeline = Timeline()
    timeline.show([], 1, 0)
    for offset in order:
        timeline.add(entries(offset, offset)[0])
    assert offsets(timeline) == list(range(1, 30)) and not timeline.has_hole
