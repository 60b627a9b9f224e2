"""Where the agent may make cgroups that limit the number of processes: version 2 where it was delegated, version 1 as
root. Without one there are other means (see keeper.py), so every failure means "nowhere" and nothing else.

Version 2 allows limits only below a cgroup that holds no process itself. Under systemd with `Delegate=pids` the
service's own cgroup is ours: the agent moves into a child of it, `relay-agent`, and runs get children beside that one.
A cgroup with processes of others in it is left alone.
"""

import contextlib
import os
from pathlib import Path

MOUNTS = Path("/proc/self/mounts")
OWN = Path("/proc/self/cgroup")


def find_parent(mounts: Path = MOUNTS, own: Path = OWN) -> Path | None:
    """The directory to make cgroups in, or None."""
    try:
        places = _places(mounts.read_text(), own.read_text())
    except (OSError, ValueError):
        return None
    for version_2, place in places:
        with contextlib.suppress(OSError):
            found = _delegated(place) if version_2 else place
            if found is not None and _allows_limits(found):
                return found
    return None


def _places(mounts: str, own: str) -> list[tuple[bool, Path]]:
    """(whether it is version 2, the directory of our cgroup), wherever processes could be limited."""
    ours = {}
    for line in own.splitlines():
        _, controllers, path = line.split(":", 2)
        ours.update(dict.fromkeys(controllers.split(","), path))
    places = []
    for line in mounts.splitlines():
        _, mount, kind, options, *_ = line.split(" ")
        if kind == "cgroup2" and "" in ours:
            places.append((True, Path(mount + ours[""])))
        elif kind == "cgroup" and "pids" in options.split(",") and "pids" in ours:
            places.append((False, Path(mount + ours["pids"])))
    return places


def _delegated(own: Path) -> Path | None:
    """Make room for children with limits in our cgroup of version 2."""
    if "pids" not in (own / "cgroup.controllers").read_text().split():
        return None
    if (own / "cgroup.procs").read_text().split() != [str(os.getpid())]:
        return None
    leaf = own / "relay-agent"
    leaf.mkdir(exist_ok=True)
    (leaf / "cgroup.procs").write_text(str(os.getpid()))
    (own / "cgroup.subtree_control").write_text("+pids")
    return own


def _allows_limits(parent: Path) -> bool:
    """Whether a child can be made that has pids.max. Removes what earlier agents left behind."""
    for old in parent.glob("relay-run-*"):
        with contextlib.suppress(OSError):  # it is in use
            old.rmdir()
    trial = parent / f"relay-trial-{os.getpid()}"
    try:
        trial.mkdir()
    except OSError:
        return False
    try:
        return os.access(trial / "pids.max", os.W_OK)
    finally:
        trial.rmdir()
