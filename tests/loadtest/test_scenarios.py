"""Scenarios: all can be loaded, are named like their files, and allow and limit only what exists."""

import dataclasses

import pytest

from loadtest.books.tally import FAULTS
from loadtest.report.table import KINDS
from loadtest.scenarios import DEFAULT, load_scenario, scenario_names
from relay import config


def test_the_default_exists_and_all_scenarios_are_found() -> None:
    assert DEFAULT in scenario_names()
    assert {"chat", "connect-storm", "reconnect-storm", "slow-readers", "churn"} <= set(scenario_names())


@pytest.mark.parametrize("name", scenario_names())
def test_a_scenario_is_sound(name: str) -> None:
    scenario = load_scenario(name)
    assert scenario.name == name
    assert scenario.summary
    assert scenario.allowed <= FAULTS.keys()
    assert scenario.limits_ms.keys() <= KINDS.keys()
    assert all(0 < each.at_share < 1 for each in scenario.disturbances)
    assert all(0 <= share <= 1 for share in (scenario.echo_share, scenario.churn_share))


@pytest.mark.parametrize("name", scenario_names())
def test_flags_for_the_relay_are_settings_it_has(name: str) -> None:
    flags = load_scenario(name).relay_flags
    given = {
        flag.removeprefix("--").replace("-", "_"): value for flag, value in zip(flags[::2], flags[1::2], strict=True)
    }
    assert given.keys() <= {field.name for field in dataclasses.fields(config.Settings)}
    config.load(None, {}, given)


def test_an_unknown_scenario_is_answered_with_the_known_ones() -> None:
    with pytest.raises(KeyError, match="chat"):
        load_scenario("chess")
