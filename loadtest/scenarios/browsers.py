"""Half of the users come by WebSocket, as browsers do, the others natively; all of them talk to each other."""

from loadtest.scenarios.scenario import Scenario

SCENARIO = Scenario(
    name="browsers",
    summary="every second user comes by WebSocket; otherwise as chat",
    pace_hz=0.5,
    web_share=0.5,
    limits_ms={"login": 2000, "stored": 250, "delivered": 250, "signal": 250, "call": 250},
)
