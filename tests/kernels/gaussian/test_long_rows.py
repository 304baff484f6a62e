"""Few rows of very many features: the same results in less memory than the rows take."""

import tracemalloc

import numpy as np
import pytest
from gaussian_passes import assert_close

from fastem.kernels.gaussian import PASSES, GaussianComponents, long_rows

TYPES = ["diag", "spherical", "tied_diag", "tied_spherical"]


def problem(covariance_type, n, d, k, dtype):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, d)).astype(dtype)
    shape = {"diag": (k, d), "spherical": (k,), "tied_diag": (d,), "tied_spherical": ()}
    factors = rng.uniform(0.5, 2.0, size=shape[covariance_type])
    means = X[:k].astype(np.float64) * 0.1
    return X, GaussianComponents(np.log(np.full(k, 1 / k)), means, np.asarray(factors))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("covariance_type", TYPES)
def test_blocks_of_features_give_the_same(covariance_type, dtype, monkeypatch):
    X, components = problem(covariance_type, 70, 50, 3, dtype)
    weight = np.random.default_rng(1).uniform(size=70)
    labels = np.arange(70, dtype=np.int32) % 4 - 1
    whole = PASSES[covariance_type](X, weight, 3)
    monkeypatch.setattr(long_rows, "_FEATURES", 40)
    monkeypatch.setattr(long_rows, "_BLOCK_FEATURES", 16)
    blocks = PASSES[covariance_type](X, weight, 3)
    assert isinstance(blocks._pass, long_rows.LongRowsPass)
    assert not isinstance(whole._pass, long_rows.LongRowsPass)
    tolerance = 1e-10 if dtype == np.float64 else 1e-4
    for hard in (False, True):
        assert_close(
            blocks.e_step(components, hard=hard), whole.e_step(components, hard=hard), tolerance
        )
    centers = components.means + 0.5
    assert_close(blocks.e_step(components, centers), whole.e_step(components, centers), tolerance)
    assert_close(blocks.from_labels(labels, centers), whole.from_labels(labels, centers), tolerance)
    outputs = [
        {
            "log_density": np.empty(70, dtype),
            "labels": np.empty(70, np.int64),
            "responsibilities": np.empty((70, 3), dtype),
            "log_joint": np.empty((70, 3), dtype),
        }
        for _ in range(2)
    ]
    for passes, into in zip((blocks, whole), outputs, strict=True):
        passes.evaluate(components, **into)
    for name in outputs[0]:
        np.testing.assert_allclose(
            outputs[0][name], outputs[1][name], rtol=tolerance, atol=tolerance
        )


@pytest.mark.parametrize("covariance_type", TYPES)
def test_memory_stays_below_that_of_the_rows(covariance_type):
    X, components = problem(covariance_type, 60, 40_000, 2, np.float64)
    small, few = problem(covariance_type, 60, 20_000, 2, np.float64)
    PASSES[covariance_type](small, None, 2).e_step(few)  # compiles
    tracemalloc.start()
    passes = PASSES[covariance_type](X, None, 2)
    passes.e_step(components)
    passes.evaluate(components, labels=np.empty(60, np.int64))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < X.nbytes / 2
