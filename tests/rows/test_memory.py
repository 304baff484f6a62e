"""The memory of a process is what its machine has, or less if a control group says so."""

import os

import pytest

from fastem.rows import memory as module
from fastem.rows.memory import memory


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """Makes control groups: what the process is told, and limits by their files."""

    def make(own, limits):
        (tmp_path / "own").write_text(own)
        for name, limit in limits.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{limit}\n")
        monkeypatch.setattr(module, "_OWN", tmp_path / "own")
        places = {"": tmp_path / "v2", "memory": tmp_path / "v1"}
        limits = {name: (places[name], file) for name, (_, file) in module._LIMITS.items()}
        monkeypatch.setattr(module, "_LIMITS", limits)

    return make


def whole():
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_all_where_no_group_says_less(groups):
    groups("0::/\n", {"v2/memory.max": "max"})
    assert memory() == whole()
    groups("3:cpu,cpuacct:/a\n", {"v2/memory.max": 5})
    assert memory() == whole()
    groups("", {})
    assert memory() == whole()


def test_the_least_of_a_group_and_those_around_it(groups):
    own = "0::/slurm/job_1/step_0\n"
    groups(own, {"v2/slurm/job_1/memory.max": 3000, "v2/slurm/job_1/step_0/memory.max": "max"})
    assert memory() == 3000
    groups(own, {"v2/slurm/job_1/memory.max": 3000, "v2/slurm/memory.max": 2000})
    assert memory() == 2000


def test_version_1_and_both(groups):
    groups("4:memory:/a/b\n1:name=systemd:/\n", {"v1/a/b/memory.limit_in_bytes": 4000})
    assert memory() == 4000
    groups("4:cpu,memory:/c\n0::/b\n", {"v1/c/memory.limit_in_bytes": 9000})
    assert memory() == 9000
    groups("4:memory:/\n", {"v1/memory.limit_in_bytes": 9223372036854771712})
    assert memory() == whole()


def test_a_container_that_sees_its_own_group_as_the_root(groups):
    groups("0::/docker/1234\n", {"v2/memory.max": 7000})
    assert memory() == 7000
