"""Runs the cases of RFC 6455 against a real relay's port.

    python -m tests.conformance.websocket [ADDRESS USER PASSWORD]

Without an address a relay is started. Prints a table of the groups and every case that failed; exit code 1 if one did.
"""

import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from relay.protocol.packets import Ping, encode
from tests.conformance.cases import Case, all_cases
from tests.conformance.client import Outcome, RawClient
from tests.integration.peer import PASSWORD
from tests.integration.stage import RelayProcess
from tests.transport.masked import client_frame

# A token that no case uses: its PONG shows that the connection is open and everything before it was read.
_LAST = 127


class Failure(NamedTuple):
    """A case that did not go as it should."""

    case: Case
    why: str

    def __str__(self) -> str:
        return f"{self.case.group}: {self.case.name}: {self.why}"


def run(case: Case, address: str, user: str, password: str = PASSWORD) -> Failure | None:
    """Run one case on a connection of its own."""
    client = RawClient(address, user, password)
    try:
        client.send(case.data, case.step)
        if case.code is None:
            client.send(client_frame(encode(Ping(_LAST))))
        found = client.outcome(_LAST)
    finally:
        client.close()
    why = _difference(case, found)
    return Failure(case, why) if why else None


def _difference(case: Case, found: Outcome) -> str:
    if found.code != case.code:
        return f"ended with {found.code}, expected {case.code or 'an open connection'}"
    if found.tokens != case.tokens:
        return f"{len(found.tokens)} PINGs got through, expected {len(case.tokens)}"
    # An earlier ping may have been answered, too; the last one must be.
    if case.pongs is not None and found.pongs[-1:] != case.pongs[-1:]:
        return f"pongs {found.pongs}, expected {case.pongs}"
    return ""


def run_all(cases: Iterable[Case], address: str, user: str, password: str = PASSWORD) -> list[Failure]:
    """The cases that failed."""
    return [failure for case in cases if (failure := run(case, address, user, password)) is not None]


def table(cases: list[Case], failures: list[Failure]) -> str:
    """Groups with their numbers of cases, passed and failed."""
    total, failed = Counter(case.group for case in cases), Counter(failure.case.group for failure in failures)
    lines = [f"{'group':<16}{'cases':>7}{'passed':>8}{'failed':>8}"]
    lines += [f"{name:<16}{count:>7}{count - failed[name]:>8}{failed[name]:>8}" for name, count in total.items()]
    lines.append(f"{'all':<16}{len(cases):>7}{len(cases) - len(failures):>8}{len(failures):>8}")
    return "\n".join(lines)


def main(words: list[str]) -> int:
    """The command."""
    cases = all_cases()
    if words:
        address, user, password = words
        failures = run_all(cases, address, user, password)
    else:
        with tempfile.TemporaryDirectory(prefix="relay-conformance-") as home, RelayProcess(Path(home)) as relay:
            failures = run_all(cases, relay.address, relay.user())
            relay.check_log()
    for failure in failures:
        print(f"FAILED {failure}")
    print(table(cases, failures))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
