"""A breath at once is what its steps are one after the other."""

import math

import numpy as np
import pytest
from gaussian_passes import problem

from fastem.kernels.gaussian.base import GaussianComponents, Rules
from fastem.kernels.gaussian.full import full_pass
from fastem.kernels.mixtures.removing import removed


def parameters_of(components):
    factors = components.precisions_cholesky
    roots = np.linalg.inv(factors)
    covariances = roots.swapaxes(1, 2) @ roots
    return np.exp(components.log_weights), components.means, covariances, factors


def rules(total_weight, most, **others):
    common = {
        "most": most,
        "tol": -math.inf,
        "fall": math.inf,
        "before": -math.inf,
        "best": -math.inf,
        "hopeless": math.inf,
        "total_weight": total_weight,
        "least_count": 1e-15,
        "reg_covar": 0.1,
        "most_cancellation": 1e3,
    }
    return Rules(**{name: others.get(name, value) for name, value in common.items()})


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(63, 3, 3), (150, 8, 5), (1300, 13, 14)])
def test_its_steps(shape, dtype, weighted, hard):
    guarded, components = problem("full", shape, dtype, distance=3.0)
    X, k = guarded.array, shape[2]
    counted = np.random.default_rng(0).uniform(0.5, 2.0, len(X)) if weighted else np.ones(len(X))
    sample_weight = counted if weighted else None
    both = rules(counted.sum(), 3), rules(counted.sum(), 2)
    narrow, wide = (full_pass(X, sample_weight, n) for n in (k - 2, k))
    found, n_steps = narrow.breathe(parameters_of(components), counted, hard, both)
    assert n_steps == 5
    *grown, _, history = wide.iterate(parameters_of(components), hard, both[0])
    assert len(history) == 3
    shares = np.empty((len(X), k), dtype)
    after = GaussianComponents(np.log(grown[0]), grown[1], grown[3])
    wide.evaluate(after, responsibilities=shares)
    kept = np.delete(np.arange(k), removed(shares, counted, grown[0], 2))
    left = [values[kept] for values in grown]
    left[0] = left[0] / left[0].sum()
    expected = narrow.iterate(left, hard, both[1])
    for value, other in zip(found[:4], expected[:4], strict=True):
        np.testing.assert_allclose(value, other, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(found.history, expected.history)
    np.testing.assert_allclose(found.statistics.counts, expected.statistics.counts, rtol=1e-9)
    np.testing.assert_allclose(found.statistics.objective, expected.statistics.objective)
    assert guarded.intact()


def test_what_can_not_be():
    """Components collapse before or after the removal, rows are too far, or too many."""
    guarded, components = problem("full", (60, 3, 3), np.float64)
    X, parameters = guarded.array, parameters_of(components)
    ones = np.ones(60)
    two = rules(60.0, 2), rules(60.0, 2)
    flat = X.copy()
    flat[:, 1] = 1.0
    bare = rules(60.0, 2, reg_covar=0.0)
    for both in ((bare, two[1]), (two[0], bare)):
        assert full_pass(flat, None, 2).breathe(parameters, ones, False, both) is None
    assert full_pass(flat, None, 2).breathe(parameters, ones, False, two) is not None
    far = X.copy()
    far[7] = 1e9  # too far to tell which component it belongs to
    assert full_pass(far, None, 2).breathe(parameters, ones, False, two) is None
    many = np.tile(X, (3000, 1))  # worth several threads
    assert full_pass(many, None, 2).breathe(parameters, np.ones(len(many)), False, two) is None
