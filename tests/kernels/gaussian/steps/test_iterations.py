import math

import numpy as np
import pytest
from gaussian_passes import REG_COVAR, parameters_of, problem, three_steps
from reference import gaussian_em

from fastem.kernels.gaussian.full import full_pass

DTYPES = [np.float32, np.float64]
RTOL = {np.float32: 1e-3, np.float64: 1e-9}
# (rows, features, components): tails of tiles and of blocks of features
SHAPES = [(9, 1, 1), (63, 3, 2), (129, 7, 4), (150, 8, 3), (300, 13, 3), (200, 33, 2)]
SHAPES += [(1300, 13, 12)]  # of two chunks


def iterated(X, components, sample_weight=None, hard=False, **others):
    """Three E-steps, unless other rules are given."""
    rules = three_steps(X, sample_weight, **others)
    passes = full_pass(X, sample_weight, len(components.means))
    return passes.iterate(parameters_of(components), hard, rules)


def check(found, expected, rtol):
    for value, other in zip(found[:3], expected, strict=True):
        np.testing.assert_allclose(value, other, rtol=rtol, atol=rtol * np.abs(other).max())
    factors = found.precisions_cholesky
    np.testing.assert_array_equal(factors, np.triu(factors))
    left = factors.swapaxes(1, 2) @ found.covariances @ factors
    np.testing.assert_allclose(left, np.broadcast_to(np.eye(left.shape[1]), left.shape), atol=1e-9)


def textbook(X, start, n_iter, **options):
    """Parameters after so many iterations, and the history."""
    return gaussian_em(X.astype(float), start, "full", n_iter, reg_covar=REG_COVAR, **options)


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_textbooks_iterations(shape, dtype, weighted, hard):
    guarded, components = problem("full", shape, dtype, distance=3.0)
    X = guarded.array
    sample_weight = np.random.default_rng(0).uniform(0.5, 2.0, len(X)) if weighted else None
    found = iterated(X, components, sample_weight, hard=hard)
    start = parameters_of(components)[:3]
    expected, history = textbook(X, start, 3, sample_weight=sample_weight, hard=hard)
    assert len(found.history) == 3
    np.testing.assert_allclose(found.history, history, rtol=RTOL[dtype])
    check(found, expected, RTOL[dtype])
    total = found.statistics.counts.sum()
    np.testing.assert_allclose(total, sample_weight.sum() if weighted else len(X), rtol=1e-5)
    np.testing.assert_allclose(found.statistics.objective / total, history[-1], rtol=RTOL[dtype])
    assert guarded.intact()


def test_it_ends_when_little_is_gained():
    guarded, components = problem("full", (200, 3, 2), np.float64)
    X = guarded.array
    _, history = textbook(X, parameters_of(components)[:3], 12)
    gains = np.diff(history)
    assert (gains[1:5] < gains[:4]).all()
    for n_steps in (2, 3, 5):
        tol = 1.01 * gains[n_steps - 2]
        assert len(iterated(X, components, most=12, tol=tol).history) == n_steps


def test_what_it_is_a_gain_over():
    """The first step's, too; by how much it may fall is up to the rules."""
    guarded, components = problem("full", (200, 3, 2), np.float64)
    X = guarded.array
    first = textbook(X, parameters_of(components)[:3], 1)[1][0]
    for before, fall, n_steps in [
        (first - 0.9e-3, math.inf, 1),
        (first - 1.1e-3, math.inf, 2),
        (first + 0.9e-3, 1e-3, 1),
        (first + 1.1e-3, 1e-3, 2),
        (first + 1.1e-3, math.inf, 1),
    ]:
        rules = {"most": 2, "tol": 1e-3, "before": before, "fall": fall}
        assert len(iterated(X, components, **rules).history) == n_steps


def test_it_ends_when_it_is_hopeless():
    guarded, components = problem("full", (200, 3, 2), np.float64)
    X = guarded.array
    _, history = textbook(X, parameters_of(components)[:3], 12)
    best, gains = history[-1] + 0.01, np.diff(history)
    behind = (best - np.array(history[1:])) / gains
    assert (behind[1:5] > behind[:4]).all()
    for n_steps in (2, 3, 5):
        hopeless = behind[n_steps - 2] * (1 - 1e-6)
        found = iterated(X, components, most=12, best=best, hopeless=hopeless)
        assert len(found.history) == n_steps
    assert len(iterated(X, components, most=12, best=history[0], hopeless=0.0).history) == 12


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_can_not_be(dtype):
    """A component collapses, or log-densities aren't finite: step by step is known why."""
    guarded, components = problem("full", (60, 3, 2), dtype)
    X = guarded.array
    flat = X.copy()
    flat[:, 1] = 1.0
    assert iterated(flat, components, reg_covar=0.0) is None
    assert iterated(flat, components) is not None
    far = X.copy()
    far[7] = np.finfo(dtype).max
    assert iterated(far, components) is None
    many = np.tile(X, (3000, 1))  # worth several threads
    assert iterated(many, components) is None
