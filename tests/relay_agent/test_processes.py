"""Keepers from the agent's side: one is ready, and one that is killed leaves nothing behind."""

import subprocess
import sys

from relay_agent.processes import Keepers

from tests.relay_agent.machine import is_alive, until

# In a process of its own, because it adopts: a keeper is killed, and what it kept is swept.
ADOPTING = """
import os, signal, sys
from relay_agent.cgroups import find_parent
from relay_agent.keeper import descendants
from relay_agent.processes import Ended, Keepers, Order
keepers = Keepers(adopt=True, cgroups=find_parent())
kept = keepers.take()
null = os.open(os.devnull, os.O_RDWR)
line = "setsid sleep 60 & sleep 60 & echo > up; wait"
order = Order(["/bin/sh", "-c", line], sys.argv[1], dict(os.environ), None, False, 0, 100, 1)
kept.start(order, (null, null, null))
while not os.path.exists(sys.argv[1] + "/up"):
    pass
below = descendants(kept.pid)[0]
os.kill(kept.pid, signal.SIGKILL)
assert kept.take_end() == Ended(-9, "lost", 0)
spare = keepers.take()
keepers.release(kept)
keepers.sweep()
print(*below)
assert descendants(os.getpid())[0] == [spare.pid]
keepers.close()
assert descendants(os.getpid())[0] == []
assert find_parent() is None or not list(find_parent().glob(f"relay-run-{os.getpid()}-*"))
"""


def test_what_a_killed_keeper_leaves_behind_is_ended(tmp_path: object) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ADOPTING, str(tmp_path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout and not any(is_alive(int(pid)) for pid in done.stdout.split())
    assert "a keeper was killed; ended what it kept" in done.stderr


def test_one_is_ready_and_is_the_next() -> None:
    keepers = Keepers(adopt=False)
    keepers.prepare()
    keepers.prepare()
    spare = keepers.take()
    other = keepers.take()
    assert is_alive(spare.pid) and is_alive(other.pid) and spare.pid < other.pid
    keepers.close()
    until(lambda: not is_alive(spare.pid) and not is_alive(other.pid))
    keepers.prepare()
    assert keepers._spare is None
