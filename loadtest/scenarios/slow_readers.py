"""Twenty users read a fraction of what they are sent. They get everything, in the end; the others notice nothing.

A kernel takes 2.5 MB for a loopback connection before the relay feels anything, hence the large bodies: within 40 s
each slow reader is behind by so much that the relay has to switch her from push to pull, and drops signals to her;
of each of those she has to be told.
"""

from loadtest.scenarios.scenario import Mix, Scenario

SCENARIO = Scenario(
    name="slow-readers",
    summary="twenty users read far less than they are sent; the others notice nothing, and they miss no message",
    mix=Mix(message=6, signal=3, call=0),
    pace_hz=0.5,
    slow_users=20,
    limits_ms={"stored": 250, "delivered": 250, "signal": 250},
    drain_s=60.0,
)
