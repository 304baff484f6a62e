"""The benchmarks: nothing public is left untracked."""

import inspect
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from sklearn.base import MetaEstimatorMixin

import fastem
from asv_benchmarks.benchmarks import machine, models
from asv_benchmarks.benchmarks.kernels import PROBLEMS
from asv_benchmarks.gate.cells import find_cells
from fastem import kernels

ROOT = Path(__file__).parents[2]
NOT_SOURCES = shutil.ignore_patterns("__pycache__", ".cache", "env", "html", "results")


def test_every_public_kernel_is_tracked():
    assert sorted(PROBLEMS) == sorted(kernels.__all__)


def test_every_estimator_is_tracked():
    public = {name: getattr(fastem, name) for name in fastem.__all__}
    classes = {name: value for name, value in public.items() if inspect.isclass(value)}
    # What fits other estimators is as fast as these.
    estimators = {
        name for name, value in classes.items() if not issubclass(value, MetaEstimatorMixin)
    }
    assert estimators == {model.split()[0] for model in models.MODELS}


def test_the_gate_watches_every_model_and_kernel():
    from asv_benchmarks.gate.__main__ import TRACKED

    watched = [name for name in find_cells() if any(re.search(p, name) for p in TRACKED)]
    for name in (*kernels.__all__, "KMeans", "KMedians", "Gaussian", "Bernoulli"):
        assert any(name in cell for cell in watched), name


@pytest.mark.parametrize("name", sorted(PROBLEMS))
def test_kernels_take_what_they_are_given(name):
    arguments, work = PROBLEMS[name](300, 3, 4, "float64")
    getattr(kernels, name)(*arguments)
    assert work.flops >= 0 and work.bytes > 0


def test_share_of_the_limit(monkeypatch):
    monkeypatch.setattr(machine, "peak", lambda dtype: 100.0)
    monkeypatch.setattr(machine, "bandwidth", lambda: 10.0)
    assert machine.Work(flops=100.0, bytes=5.0).share_of_limit(2.0, "float64") == 0.5
    assert machine.Work(flops=100.0, bytes=40.0).share_of_limit(8.0, "float64") == 0.5


RUN_A_CELL = """
from asv_benchmarks.gate.cells import find_cells
cells = {name: cell for name, cell in find_cells().items() if name.startswith("labels.")}
for name, cell in cells.items():
    cell.prepare()()
    print(name)
"""


def run_python(script, folder, **environment):
    """Run a script with the benchmarks of a folder."""
    path = os.pathsep.join([str(folder), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        env={**os.environ, "FASTEM_BENCHMARK_QUICK": "1", "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_benchmark_that_contributing_shows_runs_in_a_new_file(tmp_path):
    page = (ROOT / "CONTRIBUTING.md").read_text()
    (shown,) = re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    shutil.copytree(ROOT / "asv_benchmarks", tmp_path / "asv_benchmarks", ignore=NOT_SOURCES)
    (tmp_path / "asv_benchmarks" / "benchmarks" / "labels.py").write_text(shown)
    assert run_python(RUN_A_CELL, tmp_path) == [
        "labels.Labels.time_predict(KMeans, float32)",
        "labels.Labels.time_predict(KMedians, float32)",
    ]


SHOW_BLAS = """
import os, sys
assert "numpy" not in sys.modules
from asv_benchmarks.benchmarks import blas
print(*(name for name in blas.LIMITS if name in os.environ), sep="")
print(blas.kernels())
"""


def test_nothing_from_outside_limits_the_others_blas(tmp_path):
    free = run_python(SHOW_BLAS, tmp_path)
    limits = {"OPENBLAS_CORETYPE": "Haswell", "OPENBLAS_L2_SIZE": "256"}
    assert run_python(SHOW_BLAS, tmp_path, **limits) == free
    names = free[1].split(", ")
    assert any(name.startswith("numpy ") for name in names), names


CHOOSE_BLAS = """
from asv_benchmarks.benchmarks import blas
blas.choose("Haswell")
print(blas.kernels())
"""


def test_code_is_chosen_for_the_libraries_that_are_not_loaded_yet(tmp_path):
    free, chosen = (
        dict(library.split(" ") for library in run_python(script, tmp_path)[-1].split(", "))
        for script in (SHOW_BLAS, CHOOSE_BLAS)
    )
    assert chosen == free | {name: "Haswell" for name in ("faiss", "mlpack") if name in free}


CHOOSE_NO_CODE = """
from asv_benchmarks.benchmarks import blas
try:
    blas.choose("Nonsense")
except ValueError as error:
    print(error)
"""


def test_code_that_openblas_lacks_is_refused(tmp_path):
    """It would take the oldest then."""
    free = run_python(SHOW_BLAS, tmp_path)[-1]
    later = [name for name in ("faiss", "mlpack") if f"{name} " in free]
    said = run_python(CHOOSE_NO_CODE, tmp_path)
    assert len(said) == bool(later)
    assert all(line.startswith("OpenBLAS has no code 'Nonsense' in ") for line in said)
