"""Half of the users keep leaving and coming back, every other time without a word, while everybody writes to them."""

from loadtest.scenarios.scenario import Scenario

SCENARIO = Scenario(
    name="churn",
    summary="half of the users keep leaving and coming back; nothing is lost, doubled or reordered",
    pace_hz=0.25,
    churn_share=0.5,
    churn_online_s=12.0,
    churn_away_s=4.0,
    limits_ms={"login": 2000, "stored": 250, "delivered": 250, "signal": 250},
    allowed=frozenset({"calls_cut", "calls_failed", "answers_refused", "signals_lost"}),
)
