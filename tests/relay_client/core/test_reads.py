"""Read marks: sent once, and again when the connection broke before they were on disk."""

from relay_client.core.reads import Reads


def test_marks_grow_and_are_sent_once() -> None:
    reads = Reads()
    assert reads.mark("c", 5) and not reads.mark("c", 5) and not reads.mark("c", 3)
    assert reads.dirty and reads.take() == {"c": 5}
    assert not reads.dirty and reads.take() == {}
    assert reads.mark("c", 6) and reads.take() == {"c": 6}


def test_what_is_not_confirmed_is_sent_again_after_a_cut() -> None:
    reads = Reads()
    reads.mark("c", 5)
    reads.mark("d", 1)
    reads.take()
    asked = reads.unconfirmed()
    reads.mark("d", 2)
    reads.take()
    reads.confirm(asked)
    reads.lost()
    assert reads.take() == {"d": 2}
