"""The fate of a message, from how far everybody is."""

import pytest
from relay_client.fate import Fate, FateState, Progress, fate_of
from relay_client.received import Stored, utc_time


def stored(conversation: str = "alice@bob", offset: int = 5) -> Stored:
    return Stored(1, conversation, offset, utc_time(0))


def people(**told: tuple[dict[str, int], int]) -> dict[str, Progress]:
    found = {user: Progress() for user in told}
    for user, (devices, read) in told.items():
        found[user].move(devices, read)
    return found


def state_of(fate: Fate) -> tuple[FateState, tuple[str, ...], tuple[str, ...]]:
    return fate.state, fate.delivered_to, fate.read_by


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({}, (FateState.STORED, (), ())),
        ({"bob": ({"phone": 4}, 0)}, (FateState.STORED, (), ())),
        ({"bob": ({"phone": 5, "desk": 4}, 4)}, (FateState.DELIVERED, ("bob/phone",), ())),
        ({"bob": ({"phone": 5, "desk": 9}, 5)}, (FateState.READ, ("bob/desk", "bob/phone"), ("bob",))),
        ({"alice": ({"phone": 9}, 9)}, (FateState.STORED, (), ())),
    ],
)
def test_what_others_have_and_have_read(told: dict[str, tuple[dict[str, int], int]], expected: object) -> None:
    assert state_of(fate_of(stored(), "alice/laptop", people(**told))) == expected


def test_in_notes_to_oneself_the_others_are_ones_other_devices() -> None:
    known = people(alice=({"laptop": 5, "phone": 5}, 0))
    fate = fate_of(stored("alice@alice"), "alice/laptop", known)
    assert state_of(fate) == (FateState.DELIVERED, ("alice/phone",), ())


def test_progress_is_news_only_where_it_is_further() -> None:
    progress = Progress()
    assert progress.move({"phone": 2}, 0) and not progress.move({"phone": 1}, 0)
    assert progress.move({}, 2) and not progress.move({"phone": 2}, 1)
    assert (progress.devices, progress.read) == ({"phone": 2}, 2)
