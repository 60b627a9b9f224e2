"""Rooms of 500, in each of which ten people speak: one message to the relay is 499 from it.

At this pace a room of 500 means 500 deliveries a second, and as many signals: somebody is always typing.
"""

from loadtest.scenarios.scenario import Mix, Scenario

SCENARIO = Scenario(
    name="big-rooms",
    summary="everybody is in a room of 500, where ten people speak and everybody hears everything",
    pace_hz=0.2,
    mix=Mix(message=1, signal=1, call=0),
    room_members=500,
    room_speakers=10,
    limits_ms={"login": 2000, "stored": 250, "delivered": 500, "signal": 500},
)
