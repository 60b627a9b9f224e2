"""From what a run knows to figures, verdict, table and page."""

import dataclasses
import json
import re
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import pytest

from loadtest.books.histogram import Timeline
from loadtest.books.tally import Tally
from loadtest.report.page import make_page
from loadtest.report.plot import Chart, Line, draw
from loadtest.report.summary import Outcome, doubts, summarize
from loadtest.report.table import show
from loadtest.report.verdict import judge
from loadtest.scenarios import load_scenario

BEGIN, TRAFFIC, SECONDS = 1000.0, 1003.0, 10


def outcome(**changes: Any) -> Outcome:
    """A run of the chat scenario in which nothing went wrong."""
    timeline = Timeline()
    for second in range(SECONDS):
        for kind in ("stored", "delivered", "signal", "call", "generator"):
            timeline.record(kind, int(TRAFFIC) + second, 1000 * (second + 1))
    timeline.record("login", int(BEGIN), 20_000)
    whole = Outcome(
        scenario=load_scenario("chat"),
        users=20,
        seconds=SECONDS,
        machine={"cores": 2, "workers": 2, "python": "3.11", "system": "Linux", "load_before": 0.5},
        instants={"begin": BEGIN, "traffic": TRAFFIC, "until": TRAFFIC + SECONDS, "finish": TRAFFIC + SECONDS + 1},
        tally=Tally(logins=20, messages_sent=10, messages_stored=10, messages_received=10),
        timeline=timeline,
        samples={
            "the relay": [(TRAFFIC + second, 0.5, 0.01, 50_000_000 + second) for second in range(SECONDS)],
            "locust worker 0": [(TRAFFIC + second, 0.3, 0.0, 60_000_000) for second in range(SECONDS)],
        },
        foreign=[(TRAFFIC + second, 0.1) for second in range(SECONDS)],
        all_in_at=BEGIN + 2,
        events=[],
        examples=[],
        errors=[],
    )
    return dataclasses.replace(whole, **changes)


def test_the_summary_counts_seconds_from_the_traffic() -> None:
    summary = summarize(outcome(events=[(TRAFFIC + 2.5, "kill")]))
    assert summary["by_second"]["stored"][0] == [0, 1, 1.0, 1.0, 1.0]
    assert summary["by_second"]["login"][0][0] == -3
    assert summary["events"] == [[2.5, "kill"]]
    assert summary["arrival"] == {"users": 20, "seconds": 2.0, "per_s": 10.0}
    assert summary["processes"]["the relay"]["traffic_cores"] == 0.5
    assert json.loads(json.dumps(summary)) == summary


def test_quantiles_come_from_all_seconds_together() -> None:
    times = summarize(outcome())["times"]["call"]
    assert (times["count"], times["max_ms"]) == (10, 10.0)
    assert times["p50_ms"] == pytest.approx(5.0, rel=0.02)
    assert times["p99_ms"] == pytest.approx(10.0, rel=0.02)


def test_a_good_run_passes() -> None:
    assert judge(summarize(outcome())) == []


@pytest.mark.parametrize(
    "count", ["messages_lost", "messages_duplicated", "messages_reordered", "calls_failed", "users_missing"]
)
def test_every_failure_fails_a_run(count: str) -> None:
    wrong = judge(summarize(outcome(tally=Tally({"logins": 20, count: 1}))))
    assert len(wrong) == 1
    assert wrong[0].startswith("1 ")


def test_a_missed_limit_fails_a_run_unless_times_do_not_matter() -> None:
    scenario = dataclasses.replace(load_scenario("chat"), limits_ms={"call": 9.0})
    summary = summarize(outcome(scenario=scenario))
    assert len(judge(summary)) == 1
    assert judge(summary, any_latency=True) == []


def test_on_a_crowded_machine_limits_are_shown_and_do_not_decide() -> None:
    scenario = dataclasses.replace(load_scenario("chat"), limits_ms={"call": 9.0})
    summary = summarize(outcome(scenario=scenario, foreign=[(TRAFFIC + 1, 1.5)]))
    assert judge(summary) == []
    assert any("something else used 1.5 of the 2 cores" in sentence for sentence in doubts(summary))
    text = show(summary, judge(summary))
    assert "PASSED, times aside\n  call: 1 in 100" in text
    lossy = summarize(outcome(foreign=[(TRAFFIC + 1, 1.5)], tally=Tally(logins=1, messages_lost=1)))
    assert len(judge(lossy)) == 1


def test_a_saturated_load_test_is_no_excuse() -> None:
    scenario = dataclasses.replace(load_scenario("chat"), limits_ms={"call": 9.0})
    busy = {"locust worker 0": [(TRAFFIC + 1, 0.99, 0.5, 1)]}
    assert len(judge(summarize(outcome(scenario=scenario, samples=busy)))) == 1


def test_a_limit_without_a_time_fails_a_run() -> None:
    assert len(judge(summarize(outcome(timeline=Timeline())))) == len(load_scenario("chat").limits_ms)


def test_a_run_without_users_or_with_an_error_fails() -> None:
    assert judge(summarize(outcome(tally=Tally()))) == ["nobody logged in"]
    assert judge(summarize(outcome(errors=["the relay died"]))) == ["the relay died"]


def test_a_saturated_process_casts_doubt() -> None:
    busy = {"locust worker 0": [(TRAFFIC + 1, 0.9, 0.0, 1)], "the relay": [(TRAFFIC + 1, 0.99, 0.0, 1)]}
    [sentence] = doubts(summarize(outcome(samples=busy)))
    assert "locust worker 0 is saturated" in sentence
    crowded = {"the relay": [(TRAFFIC + 1, 0.5, 0.4, 1)]}
    [sentence] = doubts(summarize(outcome(samples=crowded)))
    assert "no core for 40%" in sentence
    assert doubts(summarize(outcome())) == []


def test_the_table_says_how_it_went() -> None:
    good = show(summarize(outcome()), [])
    assert good.endswith("PASSED")
    assert "0 lost, 0 duplicated, 0 reordered" in good
    summary = summarize(outcome(tally=Tally(logins=1, messages_lost=2), examples=["user 1 to user 2"]))
    bad = show(summary, judge(summary))
    assert "FAILED\n  2 acknowledged messages never reached their receiver" in bad
    assert "user 1 to user 2" in bad


class _Balance(HTMLParser):
    """Checks that what is opened is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in ("meta", "line"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def page_of(whole: Outcome) -> str:
    summary = summarize(whole)
    wrong = judge(summary)
    return make_page({"passed": not wrong, "wrong": wrong, **summary})


def test_the_page_is_whole_and_asks_nothing_of_the_network() -> None:
    page = page_of(outcome(events=[(TRAFFIC + 2, "kill <now>")]))
    balance = _Balance()
    balance.feed(page)
    assert balance.open == []
    assert not re.search(r"(src|href|url\(|@import|https?:|//)", page)
    assert page.count("<svg") == 6
    assert "kill &lt;now&gt;" in page


def test_the_page_shows_what_is_wrong() -> None:
    page = page_of(outcome(errors=["the relay died: signal SIGKILL"]))
    assert "Failed." in page
    assert "the relay died: signal SIGKILL" in page


def test_a_page_can_be_made_of_a_run_that_never_began() -> None:
    page = page_of(outcome(instants={}, tally=Tally(), timeline=Timeline(), samples={}, all_in_at=0.0, errors=["no"]))
    assert "nothing to show" in page


@pytest.mark.parametrize("log_y", [False, True])
def test_curves_stay_inside_the_drawing(log_y: bool) -> None:
    points: list[tuple[float, float | None]] = [(-3, 0.05), (0, 120), (1, None), (5, 7), (9, 0.0)]
    svg = draw(
        Chart("t", "x", "y", [Line("a", points), Line("b", points, dashed=True)], log_y, [(2, "m"), (99, "far")])
    )
    root = ElementTree.fromstring(svg)
    curves = [element.get("points") for element in root.iter("polyline")]
    assert len(curves) == 4
    for x, y in (pair.split(",") for curve in curves for pair in (curve or "").split()):
        assert 0 <= float(x) <= 640
        assert 0 <= float(y) <= 300
    assert "far" not in svg


def test_a_long_legend_makes_the_drawing_higher() -> None:
    lines = [Line(f"a process with a long name {number}", [(0, 1), (1, 2)]) for number in range(8)]
    root = ElementTree.fromstring(draw(Chart("t", "x", "y", lines)))
    height = float((root.get("viewBox") or "").split()[3])
    texts = {
        element.text: (float(element.get("x") or 0), float(element.get("y") or 0)) for element in root.iter("text")
    }
    assert height > 300
    for line in lines:
        assert 0 < texts[line.name][0] < 500
        assert texts[line.name][1] < height


@pytest.mark.parametrize("points", [[], [(1.0, None)], [(1.0, 2.0)], [(1.0, 0.0), (2.0, 0.0)]])
def test_a_chart_of_little_is_a_chart(points: list[tuple[float, float | None]]) -> None:
    for log_y in (False, True):
        ElementTree.fromstring(draw(Chart("t", "x", "y", [Line("a", points)], log_y)))
