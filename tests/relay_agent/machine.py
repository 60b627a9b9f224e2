"""A real relay process and a real agent process, and what is left of the agent's commands."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from relay_agent.keeper import descendants

from tests.process import DEADLINE_S, Running, running
from tests.relay_client.town import Town

# Everything a test may want to run. Nothing here runs for longer than a minute by itself.
COMMANDS = r"""
[defaults]
users = ["*"]
grace_s = 0.3
time_limit_s = 60
concurrency = 20

[command.cat]
program = "cat"

[command.both]
shell = true
program = 'printf "to out\n"; printf "to err\n" >&2; exit 3'

[command.exit]
shell = true
program = 'exit "$1"'
arguments = ["[0-9]+"]

[command.echo]
program = ["printf", "%s\n"]
arguments = ["[^x]*"]
arguments_min = 0
more = "[a-z]+"
more_max = 2

[command.where]
shell = true
program = 'pwd; env | sort'
directory = "place"
environment = { COLOUR = "blue" }

[command.die]
shell = true
program = 'kill -"$1" $$; sleep 60'
arguments = ["[A-Z]+"]

[command.sleep]
program = ["sleep", "60"]

[command.deaf]
shell = true
program = 'trap "" INT TERM HUP; echo ready; while :; do sleep 0.1; done'

[command.stubborn]
shell = true
program = 'trap "echo no" INT; echo ready; while :; do sleep 0.05; done'

[command.polite]
shell = true
program = 'trap "echo interrupted; exit 7" INT; echo ready; while :; do sleep 0.05; done'

[command.leaves]
shell = true
program = 'sleep 60 & setsid sleep 60 & (setsid sh -c "sleep 60 & sleep 60" &) ; echo left'

[command.yes]
program = "yes"

[command.limited]
program = "yes"
output_max_bytes = 100000

[command.brief]
program = ["sleep", "60"]
time_limit_s = 0.3

[command.single]
program = ["sleep", "60"]
concurrency = 1

[command.bomb]
shell = true
program = 'i=0; while [ $i -lt 300 ]; do sleep 60 & i=$((i + 1)); sleep 0.005; done; wait'
processes_max = 30

[command.missing]
program = "/no/such/program"

[command.nowhere]
program = "true"
directory = "/no/such/directory"

[command.private]
program = "true"
users = ["carol"]

[command.python]
program = ["python3", "-q"]
tty = true

[command.aside]
shell = true
program = 'trap "" HUP; echo bye; exec <&- >&- 2>&-; sleep 0.3; exit 6'
tty = true

[command.terminal]
shell = true
program = 'trap "stty size" WINCH; stty size; echo "$TERM"; while :; do sleep 0.05; done'
tty = true
"""


class Machine:
    """A running agent. `log` is its process, `home` the directory of its files."""

    def __init__(self, home: Path, town: Town, log: Running) -> None:
        self.home = home
        self.town = town
        self.log = log
        self.pid = log.process.pid

    def audit(self) -> list[dict[str, Any]]:
        """The lines of the audit log."""
        return [json.loads(line) for line in (self.home / "agent.audit.jsonl").read_text().splitlines()]

    def audited(self, event: str, command: str) -> dict[str, Any]:
        """The newest line of this kind, as soon as there is one for a run that has begun before."""
        until(lambda: self.is_idle)
        return [row for row in self.audit() if (row["event"], row.get("command")) == (event, command)][-1]

    @property
    def is_idle(self) -> bool:
        """Whether it has nothing but the keeper that waits for the next command."""
        found, _ = descendants(self.pid)
        return len(found) == 1

    def descriptors(self) -> int:
        """How many it has open."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))


def until(condition: Callable[[], Any]) -> None:
    """Wait for it."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    """Whether there is such a process, and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@contextmanager
def agent(town: Town, home: Path, commands: str = COMMANDS, user: str = "ci") -> Iterator[Machine]:
    """An agent of this user. The one that a module shares is of the user `build`."""
    home.mkdir(exist_ok=True)
    (home / "place").mkdir(exist_ok=True)
    (home / "agent.toml").write_text(f'url = "{town.url(user)}"\n{commands}')
    with running("agent", "--config", "agent.toml", home=home) as log:
        log.await_line("offers")
        yield Machine(home, town, log)
