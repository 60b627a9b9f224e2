"""The relay is restarted under its users: once in order, once by killing it.

In order it tells everybody to come back after a delay of her own; killed, it leaves everybody to find out. Everything
acknowledged before has to be there afterwards, once and in order. Times include the outage, because users feel it.
"""

from loadtest.scenarios.scenario import Disturbance, Harm, Scenario

SCENARIO = Scenario(
    name="reconnect-storm",
    summary="the relay is restarted, then killed and started again; everybody comes back and nothing is lost",
    pace_hz=0.25,
    relay_flags=("--drain-spread-s", "3"),
    disturbances=(Disturbance(0.25, Harm.RESTART), Disturbance(0.6, Harm.KILL)),
    limits_ms={"login": 15_000, "stored": 20_000, "delivered": 20_000, "call": 5_000},
    allowed=frozenset(
        {
            "logins_repeated",
            "connections_lost",
            "messages_put_off",
            "calls_cut",
            "calls_failed",
            "answers_refused",
            "signals_lost",
        }
    ),
    drain_s=45.0,
)
