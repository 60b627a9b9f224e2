"""People and bots at work: everybody is there, sends messages, signals and calls, and everything arrives."""

from loadtest.scenarios.scenario import Scenario

SCENARIO = Scenario(
    name="chat",
    summary="everybody is there and sends messages, signals and calls at a steady pace",
    pace_hz=0.5,
    limits_ms={"login": 2000, "stored": 250, "delivered": 250, "signal": 250, "call": 250},
)
