"""The keeper: nothing of a command is left, however the command, the agent or the keeper itself ends."""

import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from relay_agent import keeper
from relay_agent.cgroups import find_parent
from relay_agent.keeper import children, descendants, tasks_of_user
from relay_agent.processes import Ended, Keepers, Kept, Order, StartFailed

from tests.relay_agent.machine import is_alive, until


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    keepers = Keepers(adopt=False)
    kept = keepers.take()
    yield kept
    keepers.release(kept)
    assert not is_alive(kept.pid)


def order(tmp_path: Path, *argv: str, **fields: object) -> Order:
    usual = Order(
        list(argv), str(tmp_path), {"PATH": os.environ["PATH"]}, None, False, 30.0, 100, 0.2,
    )  # fmt: skip
    return usual._replace(**fields)  # type: ignore[arg-type]


def start(kept: Kept, what: Order, place: Path | None = None) -> int:
    """Start it; its output goes to a file `out` in `place`, or in its directory."""
    with Path(os.devnull).open() as null, ((place or Path(what.directory)) / "out").open("wb") as out:
        return kept.start(what, (null.fileno(), out.fileno(), out.fileno()))


def below(kept: Kept) -> set[int]:
    return set(descendants(kept.pid)[0])


def sh(tmp_path: Path, line: str, **fields: object) -> Order:
    return order(tmp_path, "/bin/sh", "-c", line, **fields)


@pytest.mark.parametrize(("line", "code"), [("exit 0", 0), ("exit 9", 9), ("kill -9 $$", -9)])
def test_how_it_ended(kept: Kept, tmp_path: Path, line: str, code: int) -> None:
    start(kept, sh(tmp_path, line))
    assert kept.take_end() == Ended(code, "", 0)


def test_the_command_has_only_its_own_descriptors_and_signals(kept: Kept, tmp_path: Path) -> None:
    program = (
        "import os, signal; print(sorted(map(int, os.listdir('/proc/self/fd')))[:4], os.getpid() == os.getsid(0),"
        "os.getpriority(os.PRIO_PROCESS, 0), "
        "sorted(number for number in signal.valid_signals() if signal.getsignal(number) is signal.SIG_IGN))"
    )
    start(kept, order(tmp_path, sys.executable, "-S", "-c", program))
    assert kept.take_end().code == 0
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    ignored = [signal.SIGPIPE, signal.SIGXFSZ]  # Python's own
    assert (tmp_path / "out").read_text() == f"[0, 1, 2, 3] True {nice} {ignored}\n"  # 3 reads the directory


@pytest.mark.parametrize(
    ("fields", "step", "sentence"),
    [
        ({"argv": ["/no/such"]}, "program", "No such file or directory"),
        ({"argv": ["no-such-program"]}, "program", "No such file or directory"),
        ({"argv": ["/etc/passwd"]}, "program", "Permission denied"),
        ({"directory": "/no/such"}, "directory", "No such file or directory"),
        ({"run_as": "no-such-user"}, "user", "no-such-user"),
    ],
)
def test_what_does_not_start(tmp_path: Path, fields: dict[str, object], step: str, sentence: str) -> None:
    keepers = Keepers(adopt=False)
    kept = keepers.take()
    with Path(os.devnull).open() as null, pytest.raises(StartFailed) as failure:
        kept.start(order(tmp_path, "true")._replace(**fields), (null.fileno(),) * 3)  # type: ignore[arg-type]
    assert failure.value.step == step and sentence in failure.value.sentence
    keepers.release(kept)
    assert not is_alive(kept.pid)


FAMILY = "sleep 60 & setsid sleep 60 & (setsid sh -c 'sleep 60 & exec sleep 60' &); echo up; "


def family(kept: Kept, tmp_path: Path, then: str, **fields: object) -> set[int]:
    """A command with descendants in other sessions, some without a parent; all processes of it."""
    start(kept, sh(tmp_path, FAMILY + then, **fields))
    until(lambda: len(below(kept)) >= 5)
    return below(kept)


def test_what_the_command_leaves_behind_ends_with_it(kept: Kept, tmp_path: Path) -> None:
    start(kept, sh(tmp_path, FAMILY))
    assert kept.take_end() == Ended(0, "", 0)
    assert below(kept) == set()


def test_the_end_of_the_agent_is_the_end_of_everything(kept: Kept, tmp_path: Path) -> None:
    all_of_it = family(kept, tmp_path, "trap '' HUP TERM; sleep 60")
    kept._control.close()  # as the kernel does it when the agent is killed
    until(lambda: not any(map(is_alive, [*all_of_it, kept.pid])))


def test_a_time_limit_for_a_command_that_ignores_sigterm(kept: Kept, tmp_path: Path) -> None:
    all_of_it = family(kept, tmp_path, "trap '' TERM; while :; do sleep 1; done", time_limit_s=0.3)
    assert kept.take_end() == Ended(-9, "time", 0)
    assert not any(map(is_alive, all_of_it))


def test_an_end_that_is_asked_for(kept: Kept, tmp_path: Path) -> None:
    start(kept, sh(tmp_path, "trap 'exit 5' HUP; echo up; while :; do sleep 0.02; done"))
    until(lambda: (tmp_path / "out").read_text() == "up\n")
    kept.end("HUP")
    assert kept.take_end() == Ended(5, "", 0)


def test_a_stopped_command_ends_too(kept: Kept, tmp_path: Path) -> None:
    start(kept, sh(tmp_path, "kill -STOP $$"))
    kept.end("TERM")
    assert kept.take_end() == Ended(-15, "", 0)


# A binary tree of processes, 512 at most, so that a keeper that fails does not take the machine with it.
BOMB = "f() { [ $1 -gt 0 ] && { f $(($1 - 1)) & f $(($1 - 1)) & }; sleep 60; }; f 8"


def test_a_fork_bomb_is_held_by_watching(kept: Kept, tmp_path: Path) -> None:
    start(kept, sh(tmp_path, BOMB, processes_max=20))
    ended = kept.take_end()
    assert ended.left == 0 and below(kept) == set()
    # Others than root may meet RLIMIT_NPROC first; then the shell ends because it cannot fork.
    assert ended.reason == "processes" or (os.getuid() != 0 and ended.code == 2)


@pytest.fixture
def parent() -> Path:
    """Where cgroups can be made."""
    found = find_parent()
    if found is None:
        pytest.skip("no cgroups can be made here")
    return found


def test_a_cgroup_is_a_hard_limit_and_is_removed(parent: Path, tmp_path: Path) -> None:
    keepers = Keepers(adopt=False, cgroups=parent)
    kept = keepers.take()
    start(kept, sh(tmp_path, BOMB, processes_max=20))
    (place,) = parent.glob(f"relay-run-{os.getpid()}-*")
    assert (place / "pids.max").read_text() == "48\n"
    ended = kept.take_end()  # perhaps by itself, because it could not fork
    assert (ended.reason, ended.left) == ("processes", 0)
    assert kept.pid not in descendants(kept.pid)[0]
    keepers.release(kept)
    assert not place.exists()


def test_a_command_that_reaches_the_hard_limit_and_ends(parent: Path, tmp_path: Path) -> None:
    keepers = Keepers(adopt=False, cgroups=parent)
    kept = keepers.take()
    program = "import os, time\nfor _ in range(60):\n    if os.fork() == 0: os.execlp('sleep', 'sleep', '60')"
    start(kept, order(tmp_path, sys.executable, "-S", "-c", program, processes_max=20))
    assert kept.take_end().reason == "processes"
    keepers.release(kept)


def test_an_agent_that_is_gone_leaves_no_cgroup(parent: Path, tmp_path: Path) -> None:
    keepers = Keepers(adopt=False, cgroups=parent)
    busy, idle = keepers.take(), keepers.take()
    start(busy, sh(tmp_path, "sleep 60"))
    until(lambda: len(list(parent.glob(f"relay-run-{os.getpid()}-*"))) == 2)
    for kept in (busy, idle):
        kept._control.close()
    until(lambda: not list(parent.glob(f"relay-run-{os.getpid()}-*")))
    keepers.close()


def test_a_cgroup_that_cannot_be_made_is_done_without(tmp_path: Path) -> None:
    keepers = Keepers(adopt=False, cgroups=tmp_path / "missing")
    kept = keepers.take()
    start(kept, sh(tmp_path, "exit 4"))
    assert kept.take_end() == Ended(4, "", 0)
    keepers.release(kept)


@pytest.mark.skipif(os.getuid() != 0, reason="only root runs commands as others")
def test_another_user_with_a_hard_limit_of_the_kernel(kept: Kept, tmp_path: Path) -> None:
    tasks = tasks_of_user(pwd.getpwnam("nobody").pw_uid)
    start(kept, sh(Path("/"), "id -un; cat /proc/self/limits", run_as="nobody", processes_max=20), tmp_path)
    assert kept.take_end() == Ended(0, "", 0)
    user, *limits = (tmp_path / "out").read_text().splitlines()
    assert user == "nobody"
    assert [line.split()[2] for line in limits if line.startswith("Max processes")] == [str(tasks + 48)]


def test_threads_count(kept: Kept, tmp_path: Path) -> None:
    program = "import threading, time\nfor _ in range(40): threading.Thread(target=time.sleep, args=(60,)).start()"
    start(kept, order(tmp_path, sys.executable, "-c", program, processes_max=20))
    assert kept.take_end() == Ended(-9, "processes", 0)


def test_an_agent_that_ends_before_it_had_a_command() -> None:
    keepers = Keepers(adopt=False)
    kept = keepers.take()
    kept._control.close()
    until(lambda: not is_alive(kept.pid))
    keepers.release(kept)


@pytest.mark.parametrize("listed", [True, False], ids=["children are listed", "children are not listed"])
def test_counting(listed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "LISTS_CHILDREN", keeper.LISTS_CHILDREN and listed)
    process = subprocess.Popen(["/bin/sh", "-c", "sleep 60 & wait"])
    until(lambda: len(descendants(process.pid)[0]) == 1)
    assert process.pid in children(os.getpid())[0]
    assert tasks_of_user(os.getuid()) >= 3
    os.kill(descendants(process.pid)[0][0], signal.SIGKILL)
    process.wait()
    assert children(process.pid) == ([], 0)
