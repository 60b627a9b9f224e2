"""The cursor of a conversation against the obvious model: a set of offsets."""

from hypothesis import given, settings
from hypothesis import strategies as st
from relay_client.core.cursors import Arrival, Cursors

# A conversation in which each offset is the program's own message, or somebody else's.
conversations = st.lists(st.booleans(), min_size=1, max_size=12)


@settings(deadline=None)
@given(conversations, st.data())
def test_acknowledgements_cover_what_is_done_and_nothing_else(own: list[bool], data: st.DataObject) -> None:
    cursors = Cursors()
    waiting: set[int] = set()
    acknowledged = 0
    for offset, is_own in enumerate(own, 1):
        assert cursors.arrive("c", offset, is_own) is Arrival.NEW
        waiting |= set() if is_own else {offset}
        for done in data.draw(st.sets(st.sampled_from(sorted(waiting)))) if waiting else ():
            assert cursors.done("c", done) and not cursors.done("c", done)
            waiting.discard(done)
        assert cursors.outstanding == len(waiting)
        acks = cursors.take_acks()
        acknowledged = max([acknowledged, *(delivered for _, delivered in acks)])
        assert acknowledged < min(waiting, default=offset + 1)
    for offset in waiting:
        cursors.done("c", offset)
    cursors.take_acks()
    cursors.lost()
    assert cursors.take_acks() in ([("c", len(own))], [])


@settings(deadline=None)
@given(st.integers(1, 20), st.lists(st.integers(1, 30), max_size=60))
def test_every_offset_is_new_exactly_once(first: int, offsets: list[int]) -> None:
    cursors = Cursors()
    cursors.arrive("c", first, own=False)
    cursor = first
    for offset in offsets:
        arrival = cursors.arrive("c", offset, own=False)
        expected = Arrival.SEEN if offset <= cursor else Arrival.NEW if offset == cursor + 1 else Arrival.HOLE
        assert arrival is expected
        cursor += arrival is Arrival.NEW


def test_only_what_was_confirmed_is_not_acknowledged_again() -> None:
    cursors = Cursors()
    for offset in (1, 2):
        cursors.arrive("c", offset, own=False)
        cursors.arrive("d", offset, own=False)
    cursors.done("c", 1)
    cursors.done("d", 1)
    cursors.take_acks()
    asked = cursors.unconfirmed()
    cursors.done("d", 2)
    cursors.take_acks()
    cursors.confirm(asked)
    cursors.lost()
    assert cursors.take_acks() == [("d", 2)]


def test_after_a_restore_nothing_is_seen_and_nothing_to_be_acknowledged() -> None:
    cursors = Cursors()
    for offset in (1, 2, 3):
        cursors.arrive("c", offset, own=False)
    cursors.done("c", 1)
    cursors.take_acks()
    cursors.renew()
    cursors.lost()
    assert cursors.take_acks() == [] and cursors.unconfirmed() == {}
    assert cursors.arrive("c", 2, own=False) is Arrival.NEW


def test_what_the_program_had_before_a_restore_does_not_count_for_the_same_offset_after_it() -> None:
    cursors = Cursors()
    for offset in (1, 2):
        cursors.arrive("c", offset, own=False)
    cursors.renew()
    cursors.arrive("c", 2, own=False)
    assert cursors.outstanding == 3
    assert not cursors.done("c", 1) and not cursors.done("c", 2)
    assert cursors.take_acks() == [] and cursors.outstanding == 1
    assert cursors.done("c", 2)
    assert cursors.take_acks() == [("c", 2)] and cursors.outstanding == 0
