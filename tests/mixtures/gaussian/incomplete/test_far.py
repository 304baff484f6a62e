"""Incomplete and noisy rows whose squares overflow or are rounded, against exact fractions."""

import math
from fractions import Fraction

import numpy as np
import pytest
from reference import covariance_matrices

from fastem import GaussianMixture

D, K = 3, 2
WEIGHTS = np.array([0.3, 0.7])
MEANS = np.array([[0.0, 0.5, -1.0], [4.0, -3.0, 2.0]])
MATRIX = np.array([[2.0, 0.5, 0.0], [0.5, 1.0, 0.25], [0.0, 0.25, 0.75]])
COVARIANCES = {
    "full": np.stack([MATRIX, 1.5 * MATRIX[::-1, ::-1]]),
    "tied": MATRIX,
    "diag": np.array([[1.0, 2.0, 0.5], [2.0, 1.0, 1.5]]),
    "spherical": np.array([1.0, 1.25]),
    "tied_diag": np.array([1.0, 2.0, 0.5]),
    "tied_spherical": np.array(1.5),
}
VARIANCES = np.array([0.25, 0.5, 0.125])
MAGNITUDES = {
    np.float32: [1e3, 1e5, 1e10, 1e19, 1e37],
    np.float64: [1e3, 1e8, 1e10, 1e19, 1e100, 1e153, 1e200],
}


def log_joint(row, matrix, mean, weight):
    """The logarithm of weight times density as a fraction, by elimination."""
    seen = np.flatnonzero(~np.isnan(row))
    left = [[Fraction(matrix[i, j]) for j in seen] for i in seen]
    apart = [Fraction(float(row[i])) - Fraction(mean[i]) for i in seen]
    square, determinant = Fraction(0), Fraction(1)
    for p in range(len(seen)):
        square += apart[p] ** 2 / left[p][p]
        determinant *= left[p][p]
        for i in range(p + 1, len(seen)):
            factor = left[i][p] / left[p][p]
            apart[i] -= factor * apart[p]
            for j in range(p, len(seen)):
                left[i][j] -= factor * left[p][j]
    peak = math.log(weight) - 0.5 * math.log(determinant) - 0.5 * len(seen) * math.log(2 * math.pi)
    return Fraction(peak) - square / 2


def expected(row, matrices):
    """The log-density, -inf beyond float64, and the responsibilities."""
    joint = [log_joint(row, *each) for each in zip(matrices, MEANS, WEIGHTS, strict=True)]
    greatest = max(joint)
    shares = [math.exp(max(value - greatest, -1000)) for value in joint]
    density = float(greatest) if greatest > -(Fraction(10) ** 308) else -math.inf
    return density + math.log(sum(shares)), np.array(shares) / sum(shares)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("errors", ["none", "one for all", "each its own"])
@pytest.mark.parametrize("covariance_type", COVARIANCES)
def test_rows_belong_where_exact_arithmetic_puts_them(covariance_type, errors, dtype):
    rng = np.random.default_rng(0)
    X = np.concatenate([far * rng.normal(size=(9, D)) for far in MAGNITUDES[dtype]]).astype(dtype)
    X[::3, 1] = X[1::3, 2] = X[4::9, 0] = np.nan
    noise = {
        "none": None,
        "one for all": VARIANCES,
        "each its own": np.tile(VARIANCES, (len(X), 1)).astype(dtype),
    }[errors]
    covariances = COVARIANCES[covariance_type]
    mixture = GaussianMixture.from_parameters(WEIGHTS, MEANS, covariances, covariance_type)
    mixture.set_params(missing="em")
    matrices = covariance_matrices(covariances, covariance_type, K, D)
    if noise is not None:
        matrices = matrices + np.diag(VARIANCES)
    found = [expected(row, matrices) for row in X]
    densities, shares = (np.array(values) for values in zip(*found, strict=True))
    densities[densities < np.finfo(dtype).min] = -np.inf
    np.testing.assert_allclose(mixture.predict_proba(X, noise), shares, rtol=1e-5, atol=1e-30)
    np.testing.assert_array_equal(mixture.predict(X, noise), shares.argmax(axis=1))
    np.testing.assert_allclose(mixture.score_samples(X, noise), densities, rtol=2e-6)
