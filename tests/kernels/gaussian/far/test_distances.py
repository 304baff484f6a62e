"""Rows whose squared distances overflow, or are rounded too much, against exact fractions."""

from fractions import Fraction

import numpy as np
import pytest

from fastem.kernels.gaussian import PASSES, GaussianComponents

# Along this direction the first two components are about equally far if their factors are the same.
BETWEEN = np.array([-2.0, 17.0])

OVERFLOWING = {
    np.float64: [[1e160, 1e160], [-1.7e308, 3.0], [1.7e308, -1.1e308], [9e155, -2e100]],
    np.float32: [[1e20, 1e20], [-3e38, 3.0], [3e38, -1e38], [9e19, -7e19]],
}
ROUNDED = {
    np.float64: [[3e8, -1e8], [1e19, 2e19], [-1e37, 1e36], 2.0**30 * BETWEEN, 2.0**60 * BETWEEN],
    np.float32: [[3e3, -1e3], [1e10, 2e10], [-1e15, 1e14], 2.0**14 * BETWEEN, 2.0**30 * BETWEEN],
}
WEIGHTS = np.array([0.5, 0.2, 0.3])
MEANS = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, -4.0]])
FACTORS = {
    "full": np.array([[[1.0, 0.25], [0, 0.5]], [[1.0, 0.25], [0, 0.5]], [[0.25, 0], [0, 1.0]]]),
    "tied": np.array([[1.0, 0.25], [0, 0.5]]),
    "diag": np.array([[1.0, 0.5], [1.0, 0.5], [0.25, 1.0]]),
    "spherical": np.array([0.25, 0.25, 0.5]),
    "tied_diag": np.array([1.0, 0.5]),
    "tied_spherical": np.array(0.5),
}


def matrices(covariance_type):
    """The factors as one matrix for each component."""
    factors = FACTORS[covariance_type]
    if covariance_type in ("diag", "tied_diag"):
        factors = factors[..., np.newaxis] * np.eye(2)
    if covariance_type in ("spherical", "tied_spherical"):
        factors = factors[..., np.newaxis, np.newaxis] * np.eye(2)
    return np.broadcast_to(factors, (3, 2, 2))


def squared_distances(row, factors):
    """Exactly."""
    squares = []
    for mean, factor in zip(MEANS, factors, strict=True):
        differences = [Fraction(float(x)) - Fraction(m) for x, m in zip(row, mean, strict=True)]
        whitened = [
            sum(d * Fraction(factor[i, g]) for i, d in enumerate(differences)) for g in range(2)
        ]
        squares.append(sum(w * w for w in whitened))
    return squares


def as_float(value):
    """The nearest number, or one that is far beyond all that matters."""
    most = Fraction(10) ** 300
    return float(max(min(value, most), -most))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("covariance_type", PASSES)
def test_far_rows_belong_where_exact_arithmetic_puts_them(covariance_type, dtype):
    X = np.array([*OVERFLOWING[dtype], *ROUNDED[dtype], [0.3, -0.2]], dtype)
    labels, log_density = np.empty(len(X), np.int64), np.empty(len(X), dtype)
    responsibilities, log_joint = np.empty((2, len(X), 3), dtype)
    PASSES[covariance_type](X, None, 3).evaluate(
        GaussianComponents(np.log(WEIGHTS), MEANS, FACTORS[covariance_type]),
        labels=labels,
        log_density=log_density,
        responsibilities=responsibilities,
        log_joint=log_joint,
    )
    factors = matrices(covariance_type)
    peaks = np.log(WEIGHTS) + np.log(np.linalg.det(factors)) - np.log(2 * np.pi)
    for i, row in enumerate(X):
        squares = squared_distances(row, factors)
        behind = [[as_float(b - a) for b in squares] for a in squares]
        relative = peaks - peaks[:, np.newaxis] - 0.5 * np.array(behind)
        expected = 1 / np.exp(np.minimum(relative, 700.0)).sum(axis=1)
        assert labels[i] == expected.argmax()
        np.testing.assert_allclose(responsibilities[i], expected, rtol=1e-5, atol=1e-30)
        joint = [
            float(Fraction(p) - s / 2) if s < 10**307 else -np.inf
            for p, s in zip(peaks, squares, strict=True)
        ]
        expected_density = np.logaddexp.reduce(joint)
        if expected_density < np.finfo(dtype).min:
            expected_density = -np.inf
        np.testing.assert_allclose(log_density[i], expected_density, rtol=2e-6)
    assert not np.isnan(log_joint).any()


def test_labels_alone_are_the_same():
    X = np.array(OVERFLOWING[np.float64] + ROUNDED[np.float64])
    components = GaussianComponents(np.log(WEIGHTS), MEANS, FACTORS["diag"])
    alone, beside = np.empty((2, len(X)), np.int32)
    shares = np.empty((len(X), 3))
    passes = PASSES["diag"](X, None, 3)
    passes.evaluate(components, labels=alone)
    passes.evaluate(components, labels=beside, responsibilities=shares)
    np.testing.assert_array_equal(alone, beside)
    np.testing.assert_array_equal(alone, shares.argmax(axis=1))


def test_a_component_without_weight_gets_no_far_row():
    X = np.array([[1e200, 0.0]])
    weights = np.array([-np.inf, np.log(0.5), np.log(0.5)])
    labels, shares = np.empty(1, np.int32), np.empty((1, 3))
    means = np.array([[1e190, 0.0], [0.0, 0.0], [1.0, 0.0]])
    PASSES["tied_spherical"](X, None, 3).evaluate(
        GaussianComponents(weights, means, np.array(1.0)), labels=labels, responsibilities=shares
    )
    assert labels[0] == 2
    np.testing.assert_array_equal(shares, [[0.0, 0.0, 1.0]])
