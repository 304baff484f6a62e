"""The benchmarks: nothing public is left untracked."""

import inspect

import pytest
from sklearn.base import MetaEstimatorMixin

import fastem
from asv_benchmarks.benchmarks import machine, models
from asv_benchmarks.benchmarks.kernels import PROBLEMS
from asv_benchmarks.gate.cells import find_cells
from fastem import kernels


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
    import re

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
