"""Places for logins: who gets one, in which order, and that none is ever lost."""

from collections.abc import Callable

import gevent
import pytest

from relay.session.places import Place, Places, Stage
from tests.loop import turn, until


class Line:
    """Logins that take a place each; `inside` is who got one, in this order."""

    def __init__(self, count: int) -> None:
        self.places = Places(count)
        self.inside: list[str] = []

    def join(self, name: str, stage: Stage = Stage.PASSWORD) -> gevent.Greenlet:
        def run() -> None:
            self.places.take(stage)
            self.inside.append(name)

        greenlet = gevent.spawn(run)
        turn()
        return greenlet


def test_nobody_waits_while_a_place_is_free() -> None:
    line = Line(2)
    for name in "abc":
        line.join(name)
    assert line.inside == ["a", "b"]
    assert line.places.waiting == 1


def test_who_came_first_is_next() -> None:
    line = Line(1)
    for name in "abcd":
        line.join(name)
    for expected in (["a", "b"], ["a", "b", "c"], ["a", "b", "c", "d"]):
        line.places.give_back()
        turn()
        assert line.inside == expected


def test_who_is_nearly_in_goes_first() -> None:
    line = Line(1)
    line.join("first")
    for stage in (Stage.PASSWORD, Stage.TICKET, Stage.PROOF):
        line.join(f"{stage.name} 1", stage)
        line.join(f"{stage.name} 2", stage)
    for _ in range(6):
        line.places.give_back()
    turn()
    assert line.inside[1:] == ["PROOF 1", "PROOF 2", "TICKET 1", "TICKET 2", "PASSWORD 1", "PASSWORD 2"]


def test_a_place_that_was_given_cannot_be_taken_by_who_comes_later() -> None:
    line = Line(1)
    line.join("a")
    line.join("b")
    line.places.give_back()
    # The place is b's from now on, although b has not run yet.
    late = gevent.spawn(line.places.take, Stage.PROOF)
    turn()
    assert line.inside == ["a", "b"]
    assert not late.ready()
    late.kill()


def test_who_ends_the_wait_loses_the_turn_and_nobody_else_does() -> None:
    line = Line(1)
    line.join("a")
    impatient = line.join("impatient")
    line.join("c")
    impatient.kill()
    assert line.places.waiting == 1
    line.places.give_back()
    turn()
    assert line.inside == ["a", "c"]


@pytest.mark.parametrize("others", [[], ["c"]])
def test_who_ends_the_wait_when_the_place_is_given_already_hands_it_on(others: list[str]) -> None:
    line = Line(1)
    line.join("a")
    unlucky = line.join("unlucky")
    for name in others:
        line.join(name)
    unlucky.kill(block=False)
    # It has not ended yet: the place is given to it.
    line.places.give_back()
    assert line.places.waiting == len(others)
    until(unlucky.ready)
    turn()
    if not others:
        line.join("c")
    assert line.inside == ["a", "c"]


def leave_early(place: Place) -> None:
    place.leave()


def leave_twice(place: Place) -> None:
    place.leave()
    place.leave()


def stay(place: Place) -> None:
    pass


def come_back(place: Place) -> None:
    place.leave()
    place.take(Stage.PROOF)


def fail(place: Place) -> None:
    raise ZeroDivisionError


@pytest.mark.parametrize("act", [stay, leave_early, leave_twice, come_back, fail])
def test_a_place_is_given_back_once(act: Callable[[Place], None]) -> None:
    places = Places(1)
    try:
        with Place(places) as place:
            place.take(Stage.PASSWORD)
            act(place)
    except ZeroDivisionError:
        pass
    assert repr(places) == "<Places: 1 free, 0 waiting>"


def test_a_place_that_was_never_taken_is_not_given_back() -> None:
    places = Places(1)
    with Place(places):
        pass
    assert repr(places) == "<Places: 1 free, 0 waiting>"
