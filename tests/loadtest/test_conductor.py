"""The conductor: one phase after the other, each for a reason, none for ever. Time stands still until it sleeps."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from loadtest.conductor import BEGIN, DRAIN, FINISH, TRAFFIC, Conductor

PLAN = {"users": 10, "workers": 2, "seconds": 30, "arrive_s": 60, "drain_s": 20}
NOTHING = dict.fromkeys(
    (
        "people",
        "online",
        "given_up",
        "open_doings",
        "messages_expected",
        "messages_received",
        "signals_expected",
        "signals_received",
    ),
    0,
)


class Hall:
    """A conductor with two workers that stand where a test says; sleeping moves the clock."""

    def __init__(self, tmp_path: Path, act: Callable[["Hall"], None] = lambda hall: None) -> None:
        self.now = 100.0
        self.said: list[tuple[float, str, dict[str, Any]]] = []
        self.progress = tmp_path / "progress.json"
        self._act = act
        self.conductor = Conductor(PLAN, self._hear, self.progress, lambda: self.now, self._sleep)
        self.stand(people=5, online=0)

    def stand(self, **standing: int) -> None:
        """Both workers stand there, each with these figures."""
        for worker in (0, 1):
            self.conductor.handle_standing(NOTHING | standing | {"worker": worker})

    def phases(self) -> dict[str, float]:
        return {message: at for at, message, _ in self.said}

    def _hear(self, message: str, data: dict[str, Any]) -> None:
        self.said.append((self.now, message, data))
        if message == FINISH:
            self.conductor.handle_written({"worker": 0})
            self.conductor.handle_written({"worker": 1})

    def _sleep(self, seconds: float) -> None:
        self.now += seconds
        self._act(self)


def everybody(hall: Hall) -> None:
    hall.stand(people=5, online=5, messages_expected=7, messages_received=7)


def test_a_run_has_its_phases_in_order(tmp_path: Path) -> None:
    hall = Hall(tmp_path, everybody)
    hall.conductor.conduct()
    assert [message for _, message, _ in hall.said] == [BEGIN, TRAFFIC, DRAIN, FINISH]
    data = hall.said[1][2]
    assert data["until_at"] - data["from_at"] == 30
    assert 0 <= hall.phases()[DRAIN] - data["until_at"] < 1
    assert hall.now < 140
    state = json.loads(hall.progress.read_text())
    assert state["phase"] == "end"
    assert state["standing"]["messages_received"] == 14
    assert list(state["instants"]) == ["begin", "traffic", "until", "finish"]


def test_traffic_waits_for_everybody(tmp_path: Path) -> None:
    hall = Hall(tmp_path, lambda hall: hall.stand(people=5, online=5 if hall.now > 120 else 4))
    hall.conductor.conduct()
    assert 120 < hall.phases()[TRAFFIC] < 121


def test_traffic_waits_not_for_those_who_gave_up_nor_for_ever(tmp_path: Path) -> None:
    hall = Hall(tmp_path, lambda hall: hall.stand(people=5, online=4, given_up=1))
    hall.conductor.conduct()
    assert hall.phases()[TRAFFIC] < 102
    hall = Hall(tmp_path, lambda hall: hall.stand(people=5, online=4))
    hall.conductor.conduct()
    assert 160 < hall.phases()[TRAFFIC] < 163


def test_the_end_waits_for_what_is_under_way(tmp_path: Path) -> None:
    def arrive(hall: Hall) -> None:
        received = min(100, int(hall.now) - 100)
        hall.stand(people=5, online=5, messages_expected=45, messages_received=received)

    hall = Hall(tmp_path, arrive)
    hall.conductor.conduct()
    assert 145 <= hall.phases()[FINISH] < 146


def test_the_end_does_not_wait_when_nothing_moves_any_more(tmp_path: Path) -> None:
    hall = Hall(tmp_path, lambda hall: hall.stand(people=5, online=5, messages_expected=9, messages_received=8))
    hall.conductor.conduct()
    assert 5 <= hall.phases()[FINISH] - hall.phases()[DRAIN] < 6


def test_the_end_does_not_wait_for_ever(tmp_path: Path) -> None:
    hall = Hall(tmp_path, lambda hall: hall.stand(people=5, online=5, open_doings=int(hall.now * 10)))
    hall.conductor.conduct()
    assert 20 <= hall.phases()[FINISH] - hall.phases()[DRAIN] < 21
