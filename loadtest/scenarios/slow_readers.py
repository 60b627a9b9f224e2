"""One user in ten reads a few kilobytes a second and is sent much more. She gets everything, in the end; the others
notice nothing.

The relay's queue per session is small here, so that it has to switch slow readers from push to pull within a minute.
"""

from loadtest.scenarios.scenario import Mix, Scenario

SCENARIO = Scenario(
    name="slow-readers",
    summary="one user in ten reads far less than she is sent; the others notice nothing, and she misses no message",
    mix=Mix(message=6, signal=3, call=0),
    body_bytes=8192,
    pace_hz=1.0,
    slow_share=0.1,
    slow_bytes=2048,
    relay_flags=("--outbox-max-bytes", "32768"),
    limits_ms={"stored": 250, "delivered": 250, "signal": 250},
    allowed=frozenset({"signals_lost"}),
    drain_s=60.0,
)
