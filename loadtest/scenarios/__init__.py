"""The scenarios by name: each module here that is named after one holds its SCENARIO."""

import importlib
import pkgutil

from loadtest.scenarios.scenario import Scenario

__all__ = ["Scenario", "load_scenario", "scenario_names"]

DEFAULT = "chat"


def scenario_names() -> list[str]:
    """The names of all scenarios, sorted, as people write them: `connect-storm`."""
    modules = (module.name for module in pkgutil.iter_modules(__path__))
    return sorted(name.replace("_", "-") for name in modules if name != "scenario")


def load_scenario(name: str) -> Scenario:
    """The scenario of that name. Raises KeyError with a sentence."""
    if name.replace("_", "-") not in scenario_names():
        raise KeyError(f"there is no scenario {name!r}; there are {', '.join(scenario_names())}")
    module = importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
    scenario: Scenario = module.SCENARIO
    return scenario
