"""Finding a place for cgroups, in trees that look like the kernel's."""

import os
from pathlib import Path

import pytest
from relay_agent import cgroups


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Directories made below have the files that the kernel puts there."""
    make, remove = Path.mkdir, Path.rmdir

    def mkdir(self: Path, *args: object, **kwargs: bool) -> None:
        make(self, exist_ok=kwargs.get("exist_ok", False))
        if tmp_path in self.parents:
            (self / "pids.max").touch()
            (self / "cgroup.procs").touch()

    def rmdir(self: Path) -> None:
        for name in ("pids.max", "cgroup.procs"):
            (self / name).unlink()
        remove(self)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    monkeypatch.setattr(Path, "rmdir", rmdir)
    return tmp_path


def find(root: Path, mounts: str, own: str) -> Path | None:
    (root / "mounts").write_text(mounts.format(root=root))
    (root / "own").write_text(own)
    return cgroups.find_parent(root / "mounts", root / "own")


VERSION_2 = ("cgroup2 {root}/v2 cgroup2 rw,nosuid 0 0\n", "0::/service\n")


def service(kernel: Path, controllers: str, processes: str) -> Path:
    place = kernel / "v2" / "service"
    place.parent.mkdir()
    place.mkdir()
    (place / "cgroup.controllers").write_text(controllers)
    (place / "cgroup.procs").write_text(processes)
    return place


def test_version_2_where_it_was_delegated(kernel: Path) -> None:
    place = service(kernel, "cpu pids\n", f"{os.getpid()}\n")
    assert find(kernel, *VERSION_2) == place
    assert (place / "cgroup.subtree_control").read_text() == "+pids"
    assert (place / "relay-agent" / "cgroup.procs").read_text() == str(os.getpid())
    assert not list(place.glob("relay-trial-*"))


def test_a_cgroup_with_others_in_it_is_left_alone(kernel: Path) -> None:
    place = service(kernel, "cpu pids\n", f"{os.getpid()}\n1\n")
    assert find(kernel, *VERSION_2) is None
    assert not (place / "cgroup.subtree_control").exists()


def test_version_2_without_the_controller(kernel: Path) -> None:
    service(kernel, "hugetlb\n", f"{os.getpid()}\n")
    assert find(kernel, *VERSION_2) is None


def test_version_1_and_what_was_left_behind(kernel: Path) -> None:
    place = kernel / "pids"
    place.mkdir()
    (place / "relay-run-1").mkdir()
    mounts = "tmpfs {root} tmpfs rw 0 0\ncgroup {root}/cpu cgroup rw,cpu 0 0\ncgroup {root}/pids cgroup rw,pids 0 0\n"
    assert find(kernel, mounts, "8:pids:/\n2:cpu,cpuacct:/x\n0::/\n") == place
    assert not (place / "relay-run-1").exists()


def test_nowhere(kernel: Path) -> None:
    assert find(kernel, "", "") is None
    assert find(kernel, "nonsense\n", "nonsense\n") is None
    assert cgroups.find_parent(kernel / "missing", kernel / "missing") is None
    assert find(kernel, "cgroup {root}/missing cgroup rw,pids 0 0\n", "8:pids:/\n") is None
