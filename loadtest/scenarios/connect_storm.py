"""Everybody logs in at the same moment: the morning after a network was down.

Attempts that the relay turns away are repeated as it advises; what counts is that all get in, and how soon.
"""

from loadtest.scenarios.scenario import Scenario

SCENARIO = Scenario(
    name="connect-storm",
    summary="everybody logs in at the same moment, then chats a little",
    pace_hz=0.2,
    logins_hz=None,
    limits_ms={"login": 30_000, "stored": 250, "delivered": 250, "signal": 250, "call": 250},
    allowed=frozenset({"logins_repeated"}),
    arrive_s=90.0,
)
