"""RFC 6455 on the real port: every case of the runner, and a short run of the fuzz against `websockets`."""

from collections.abc import Iterator

import pytest

from tests.conformance.cases import Case, all_cases
from tests.conformance.fuzz import fuzz
from tests.conformance.websocket import Failure, run, run_all, table
from tests.integration.stage import RelayProcess

CASES = all_cases()
GROUPS = list(dict.fromkeys(case.group for case in CASES))


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RelayProcess]:
    with RelayProcess(tmp_path_factory.mktemp("conformance"), drain_spread_s=0) as process:
        yield process
        assert process.process.stop() == 0
        process.check_log()


def test_there_are_many_cases_and_each_has_a_name_of_its_own() -> None:
    assert len(CASES) >= 300
    assert len({(case.group, case.name) for case in CASES}) == len(CASES)


@pytest.mark.parametrize("group", GROUPS)
def test_the_port_does_what_the_rfc_says(relay: RelayProcess, group: str) -> None:
    failures = run_all([case for case in CASES if case.group == group], relay.address, relay.user())
    assert not failures, "\n".join(map(str, failures))


def test_the_runner_notices_what_is_wrong(relay: RelayProcess) -> None:
    right = next(case for case in CASES if case.name == "ping of 7")
    closing = next(case for case in CASES if case.group == "closing")
    wrong = [
        closing._replace(code=1002),
        right._replace(tokens=[1]),
        right._replace(pongs=[b"never"]),
        right._replace(data=b"", pongs=[b""]),
    ]
    user = relay.user()
    assert all(run(case, relay.address, user) is not None for case in wrong)
    assert run(right, relay.address, user) is None


def test_the_table_counts_by_group() -> None:
    cases = [Case("a", "1", b"", [], None), Case("a", "2", b"", [], None), Case("b", "1", b"", [], None)]
    lines = table(cases, [Failure(cases[0], "no")]).splitlines()
    assert [line.split() for line in lines[1:]] == [["a", "2", "1", "1"], ["b", "1", "1", "0"], ["all", "3", "2", "1"]]


def test_both_ends_agree_with_another_implementation(relay: RelayProcess) -> None:
    assert fuzz(relay.address, relay.user(), 20.0, seed=1, exchanges_max=40) > 0
