"""The gate that tells what a change makes slower."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from processes import copy_package
from scipy import stats

from asv_benchmarks.gate.cells import find_cells
from asv_benchmarks.gate.paired import compare, median_interval

ROOT = Path(__file__).parents[2]


class FakeMachine:
    """A clock that drifts and makes noise; what runs on it costs what it says."""

    def __init__(self, seed=0, noise=0.02, drift=0.0):
        self.rng = np.random.default_rng(seed)
        self.noise, self.drift, self.pace = noise, drift, 1.0
        self.order = []

    def worker(self, cost, label=""):
        return FakeWorker(self, cost, label)

    def run(self, cost, number):
        self.pace *= 1 + self.drift
        return cost * self.pace * np.exp(self.noise * self.rng.standard_normal())


class FakeWorker:
    def __init__(self, machine, cost, label):
        self.machine, self.cost, self.label = machine, cost, label

    def prepare(self, name):
        return self.cost

    def seconds(self, number):
        self.machine.order.append(self.label)
        return self.machine.run(self.cost, number)


def compare_fakes(machine, change, base_again=1.0, repeats=15):
    workers = [machine.worker(1.0, "a"), machine.worker(change, "b"), machine.worker(base_again)]
    return compare("cell", *workers, repeats=repeats)


@pytest.mark.parametrize("n", [8, 9, 15, 41, 100])
def test_interval_holds_the_median_as_often_as_it_says(n):
    # Which of the sorted values the ends are, from the values 0 to n - 1.
    low, middle, high = median_interval(np.random.default_rng(n).permutation(n), 0.99)
    assert middle == (n - 1) / 2 and low == n - 1 - high
    below = stats.binom(n, 0.5)
    assert 2 * below.cdf(low) <= 0.01 < 2 * below.cdf(low + 1)


def test_runs_alternate():
    machine = FakeMachine()
    workers = [machine.worker(1.0, label) for label in ("base", "change", "again")]
    compare("cell", *workers, repeats=9)
    there = ["base", "change", "again"]
    assert machine.order == (there + there[::-1]) * 4 + there


@pytest.mark.parametrize("change, verdict", [(1.0, "same"), (1.3, "slower"), (0.7, "faster")])
def test_verdicts(change, verdict):
    for seed in range(20):
        found = compare_fakes(FakeMachine(seed), change)
        assert found.verdict(threshold=0.05) == verdict
        assert found.ratio.low <= found.ratio.middle <= found.ratio.high
        assert found.ratio.middle == pytest.approx(change, rel=0.05)


def test_bearable_slow_downs_pass():
    assert compare_fakes(FakeMachine(), 1.3).verdict(threshold=0.5) == "same"


def test_drift_favours_nobody():
    # Twice as slow after some 20 rounds.
    found = compare_fakes(FakeMachine(noise=0.0, drift=0.01), 1.0, repeats=20)
    assert found.ratio.middle == pytest.approx(1, abs=1e-9)
    assert found.verdict(0.05) == "same"


def test_what_noise_can_explain_is_no_slow_down():
    machine = FakeMachine(noise=0.001)
    assert compare_fakes(machine, 1.2, base_again=1.0).verdict(0.05) == "slower"
    # The base's two processes differ by as much themselves.
    assert compare_fakes(machine, 1.2, base_again=1.2).verdict(0.05) == "same"
    for seed in range(20):
        assert compare_fakes(FakeMachine(seed, noise=0.5), 1.1).verdict(0.05) == "same"


def test_cells_are_those_of_airspeed_velocity():
    names = list(find_cells())
    assert "kernels.Kernels.time_call(nearest, many features, float64)" in names
    assert not any("Full." in name for name in names)


PLANTED = """

_unspoilt = cholesky


def cholesky(A):
    for _ in range(100):
        L = _unspoilt(A)
    return L
"""


def git(folder, *arguments):
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path):
    """A repository with the package and the benchmarks, committed on main."""
    copy_package(tmp_path)
    shutil.copytree(
        ROOT / "asv_benchmarks",
        tmp_path / "asv_benchmarks",
        ignore=shutil.ignore_patterns("__pycache__", ".cache", "env", "html", "results"),
    )
    (tmp_path / ".gitignore").write_text("__pycache__\n.cache\n")
    git(tmp_path, "init", "--quiet", "--initial-branch=main")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message=Begin")
    return tmp_path


def test_a_planted_slow_down_is_caught(repository):
    with open(repository / "fastem" / "kernels" / "linalg" / "cholesky.py", "a") as file:
        file.write(PLANTED)
    # Twice as slow is bearable here, so that no noise of the machine can look like a slow-down.
    gate = [sys.executable, "-m", "asv_benchmarks.gate", "--threshold=1", "--repeats=9"]
    done = subprocess.run(
        [*gate, "--cells", r"time_call\((cholesky|normalize_responsibilities), few features"],
        cwd=repository,
        env={**os.environ, "FASTEM_BENCHMARK_QUICK": "1", "PYTHONPATH": str(repository)},
        stdout=subprocess.PIPE,
        text=True,
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 1, done.stdout
    assert [line for line in lines if line.startswith(("SLOWER", "FAILS"))] == [
        "SLOWER: kernels.Kernels.time_call(cholesky, few features, float32)"
    ]
    assert any(" same " in line and "normalize_responsibilities" in line for line in lines)
