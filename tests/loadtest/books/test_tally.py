"""What is counted, and which of it fails a run."""

from loadtest.books.tally import ACTIVITY, FAULTS, WRONGS, Tally, failures


def test_names_are_in_one_group_each() -> None:
    assert not (WRONGS.keys() & FAULTS.keys() or WRONGS.keys() & ACTIVITY.keys() or FAULTS.keys() & ACTIVITY.keys())


def test_activity_is_no_failure() -> None:
    assert failures(Tally(dict.fromkeys(ACTIVITY, 5)), frozenset()) == []


def test_every_failure_is_a_sentence() -> None:
    sentences = failures(Tally(dict.fromkeys([*WRONGS, *FAULTS], 1234)), frozenset())
    assert len(sentences) == len(WRONGS) + len(FAULTS)
    assert "1,234 acknowledged messages never reached their receiver" in sentences


def test_a_scenario_may_allow_what_it_provokes() -> None:
    assert failures(Tally(signals_lost=3, calls_cut=1), frozenset({"signals_lost", "calls_cut"})) == []


def test_no_scenario_may_allow_what_is_never_right() -> None:
    assert failures(Tally(messages_lost=1), frozenset({"messages_lost"})) != []
