"""Iterations whose passes several threads share are those of the textbook."""

import math

import numpy as np
import pytest
from gaussian_passes import REG_COVAR, parameters_of, problem, three_steps
from reference import gaussian_em
from threads import on_threads

from fastem.kernels.gaussian import PASSES
from fastem.kernels.gaussian.skip import visiting

DTYPES = [np.float32, np.float64]
RTOL = {np.float32: 1e-3, np.float64: 1e-9}
# (rows, features, components): tails of tiles, blocks and chunks
SHAPES = [(9, 1, 1), (63, 3, 2), (129, 7, 4), (150, 8, 3), (200, 33, 2), (1300, 13, 12)]

pytestmark = pytest.mark.parametrize("covariance_type", ["full", "diag"])


def advanced(covariance_type, X, parameters, sample_weight=None, hard=False, passes=None, **others):
    """Three E-steps, unless other rules are given."""
    rules = three_steps(X, sample_weight, **others)
    passes = passes or PASSES[covariance_type](X, sample_weight, len(parameters[0]))
    with np.errstate(all="raise"):
        return passes.advance(parameters, hard, rules)


def textbook(covariance_type, X, parameters, n_iter, **options):
    """Parameters after so many iterations, and the history."""
    return gaussian_em(
        X.astype(float), parameters[:3], covariance_type, n_iter, reg_covar=REG_COVAR, **options
    )


def check(found, expected, rtol):
    for value, other in zip(found[:3], expected, strict=True):
        np.testing.assert_allclose(value, other, rtol=rtol, atol=rtol * np.abs(other).max())
    factors, covariances = found.precisions_cholesky, found.covariances
    if factors.ndim == 2:
        np.testing.assert_allclose(factors**2 * covariances, 1.0)
        return
    np.testing.assert_array_equal(factors, np.triu(factors))
    left = factors.swapaxes(1, 2) @ covariances @ factors
    np.testing.assert_allclose(left, np.broadcast_to(np.eye(left.shape[1]), left.shape), atol=1e-9)


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_textbooks_iterations(covariance_type, shape, dtype, weighted, hard):
    guarded, components = problem(covariance_type, shape, dtype, distance=3.0)
    X, start = guarded.array, parameters_of(components)
    sample_weight = np.random.default_rng(0).uniform(0.5, 2.0, len(X)) if weighted else None
    before = [values.copy() for values in start]
    found = advanced(covariance_type, X, start, sample_weight, hard)
    options = {"sample_weight": sample_weight, "hard": hard}
    expected, history = textbook(covariance_type, X, start, 3, **options)
    assert len(found.history) == 3
    np.testing.assert_allclose(found.history, history, rtol=RTOL[dtype])
    check(found, expected, RTOL[dtype])
    total = found.statistics.counts.sum()
    np.testing.assert_allclose(total, sample_weight.sum() if weighted else len(X), rtol=1e-5)
    np.testing.assert_allclose(found.statistics.objective / total, history[-1], rtol=RTOL[dtype])
    for values, kept in zip(start, before, strict=True):
        np.testing.assert_array_equal(values, kept)
    assert guarded.intact()


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_same_bits_on_any_number_of_threads(covariance_type, dtype):
    guarded, components = problem(covariance_type, (5000, 7, 5), dtype)
    start = parameters_of(components)
    one, *others = on_threads((1, 2, 4), lambda: advanced(covariance_type, guarded.array, start))
    for other in others:
        assert other.history == one.history
        for left, right in zip(one[:4], other[:4], strict=True):
            np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("dtype", DTYPES)
def test_means_that_move_far(covariance_type, dtype):
    """Statistics about the means that were lose digits, and are found again."""
    guarded, components = problem(covariance_type, (300, 3, 2), dtype, distance=300.0)
    X = guarded.array
    weights, means, covariances, factors = parameters_of(components)
    start = weights, means + 100.0, covariances, factors
    expected, history = textbook(covariance_type, X, start, 2)
    found = advanced(covariance_type, X, start, most=2)
    np.testing.assert_allclose(found.history, history, rtol=RTOL[dtype])
    check(found, expected, RTOL[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
def test_narrow_components_far_from_each_other(covariance_type, dtype):
    """Of which a linear form would lose all digits, at the start or once they have narrowed."""
    rng = np.random.default_rng(0)
    distance = 1e3 if dtype == np.float64 else 30.0
    centers = distance * np.array([[-1.0, 0.0, 1.0], [1.0, 1.0, 0.0]])
    X = (centers[rng.integers(2, size=400)] + 0.1 * rng.normal(size=(400, 3))).astype(dtype)
    shape = (2, 3, 3) if covariance_type == "full" else (2, 3)
    ones = np.broadcast_to(np.eye(3) if covariance_type == "full" else 1.0, shape)
    for spread in (0.1, distance):
        start = np.full(2, 0.5), centers + 0.05, ones * spread**2, ones / spread
        expected, history = textbook(covariance_type, X, start, 3)
        found = advanced(covariance_type, X, start)
        np.testing.assert_allclose(found.history, history, rtol=RTOL[dtype])
        check(found, expected, RTOL[dtype])


def test_it_ends_when_little_is_gained(covariance_type):
    guarded, components = problem(covariance_type, (200, 3, 2), np.float64)
    X, start = guarded.array, parameters_of(components)
    _, history = textbook(covariance_type, X, start, 12)
    gains = np.diff(history)
    assert (gains[1:5] < gains[:4]).all()
    for n_steps in (2, 3, 5):
        tol = 1.01 * gains[n_steps - 2]
        assert len(advanced(covariance_type, X, start, most=12, tol=tol).history) == n_steps
    for fall, n_steps in ((math.inf, 1), (0.5, 2)):
        rules = {"most": 2, "tol": 0.0, "fall": fall, "before": history[0] + 1.0}
        assert len(advanced(covariance_type, X, start, **rules).history) == n_steps


def test_it_ends_where_passes_begin_to_skip(covariance_type, monkeypatch):
    monkeypatch.setattr(visiting, "_LEAST_WORK", 0)
    monkeypatch.setattr(visiting, "_OVERHEAD", 0)
    guarded, components = problem(covariance_type, (2000, 3, 8), np.float64, distance=30.0)
    X, start = guarded.array, parameters_of(components)
    passes = PASSES[covariance_type](X, None, 8)
    found = advanced(covariance_type, X, start, passes=passes, most=12)
    assert 0 < len(found.history) < 12
    assert passes.sweep.visitor.skips
    expected, history = textbook(covariance_type, X, start, len(found.history))
    np.testing.assert_allclose(found.history, history)
    check(found, expected, 1e-9)
    assert advanced(covariance_type, X, start, passes=passes) is None


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_can_not_be(covariance_type, dtype):
    """A component collapses, or log-densities aren't finite: step by step is known why."""
    guarded, components = problem(covariance_type, (60, 3, 2), dtype)
    X, start = guarded.array, parameters_of(components)
    flat = X.copy()
    flat[:, 1] = 1.0
    weights, means, *rest = start
    means = means.copy()
    means[:, 1] = 1.0  # from elsewhere, float32's rounding would leave something of the variance
    beginning = weights, means, *rest
    assert advanced(covariance_type, flat, beginning, reg_covar=0.0) is None
    assert advanced(covariance_type, flat, beginning) is not None
    far = X.copy()
    far[7] = np.finfo(dtype).max
    assert advanced(covariance_type, far, start) is None


def test_iterations_before_a_component_collapses(covariance_type):
    """Two rows stay with a component that starts among them, once it is narrow enough."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 2))
    X[:2] = [[30.0, 30.0], [30.0, 30.1]]
    ones = np.eye(2) if covariance_type == "full" else np.ones(2)
    start = (
        np.array([0.9, 0.1]),
        np.array([[0.0, 0.0], [10.0, 10.0]]),
        np.stack([ones, 100.0 * ones]),
        np.stack([ones, 0.1 * ones]),
    )
    found = advanced(covariance_type, X, start, most=12, reg_covar=0.0)
    options = {"reg_covar": 0.0}
    assert 0 < len(found.history) < 12
    expected, history = gaussian_em(X, start[:3], covariance_type, len(found.history), **options)
    np.testing.assert_allclose(found.history, history)
    check(found, expected, 1e-9)
