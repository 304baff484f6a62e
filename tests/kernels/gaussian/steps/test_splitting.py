import math

import numpy as np
import pytest
from reference import gaussian_em, gaussian_m_step

from fastem.kernels.gaussian.base import Rules
from fastem.kernels.gaussian.steps.splitting import (
    fourth_moments,
    share_rows,
    shares_of,
    split_components,
)
from fastem.kernels.mixtures.halving import POWER_ITERATIONS

DTYPES = [np.float32, np.float64]
RTOL = {np.float32: 1e-3, np.float64: 1e-9}
REG_COVAR = 0.1


def problem(counts, n_features, dtype, offset=0.0):
    """Rows, their weights and shares; means, covariances and factors of components."""
    rng = np.random.default_rng(0)
    X = (rng.normal(size=(sum(counts), n_features)) + offset).astype(dtype)
    weight = rng.uniform(0.5, 2.0, len(X))
    owned = np.eye(len(counts), dtype=bool)[np.repeat(np.arange(len(counts)), counts)]
    owned |= rng.random(owned.shape) < 0.1
    owned = owned[rng.permutation(len(X))]
    shares = np.where(owned, rng.uniform(0.1, 1.0, owned.shape), 0.0).astype(dtype)
    means = rng.normal(size=(len(counts), n_features)) + offset
    roots = rng.normal(size=(len(counts), n_features, n_features)) + 3.0 * np.eye(n_features)
    covariances = roots @ roots.swapaxes(1, 2)
    factors = np.linalg.cholesky(np.linalg.inv(covariances)[:, ::-1, ::-1])[:, ::-1, ::-1]
    return (X, weight, shares), means, covariances, factors


def parts(X, weight, shares):
    """The rows of each component, and their weights for it."""
    for share in shares.T.astype(float):
        yield X[share > 0].astype(float), (weight * share)[share > 0]


def shared_rows(sample, means, factors):
    return share_rows(*sample, shares_of(sample[2]), means, factors)


def rules(dtype, **others):
    common = {
        "most": 4,
        "tol": -math.inf,
        "fall": math.inf,
        "before": -math.inf,
        "best": -math.inf,
        "hopeless": math.inf,
        "total_weight": 1.0,
        "least_count": 1e-15,
        "reg_covar": REG_COVAR,
        "most_cancellation": 1e3 if dtype == np.float64 else 10.0,
    }
    return Rules(**{name: others.get(name, value) for name, value in common.items()})


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_features", [1, 4, 13])
@pytest.mark.parametrize("counts", [(90,), (40, 30, 200), (9000, 20, 9000)])
def test_rows_and_moments(counts, n_features, dtype):
    sample, means, _, factors = problem(counts, n_features, dtype)
    shared, found = shared_rows(sample, means, factors)
    fourth = fourth_moments(shared, found.means, factors)
    for j, (X, weight) in enumerate(parts(*sample)):
        own = slice(*shared.starts[j : j + 2])
        np.testing.assert_array_equal(shared.X[own], X)
        np.testing.assert_allclose(shared.weight[own], weight)
        np.testing.assert_allclose(found.totals[j], weight.sum())
        mean = np.average(X, axis=0, weights=weight)
        np.testing.assert_allclose(found.means[j], mean, atol=1e-12)
        covariance = (X - mean).T @ ((X - mean) * (weight / weight.sum())[:, np.newaxis])
        np.testing.assert_allclose(found.covariances[j], covariance, atol=1e-12)
        squares = (((X - means[j]) @ factors[j]) ** 2).sum(axis=1)
        np.testing.assert_allclose(found.distances[j], weight @ squares)
        Y = (X - mean) @ factors[j]
        weight = weight * (Y**2).sum(axis=1)
        np.testing.assert_allclose(fourth[j], (Y * weight[:, np.newaxis]).T @ Y, atol=1e-10)


def test_the_direction_of_greatest_correlation():
    """Power iterations find it as far as they go; a feature that doesn't vary has no part."""
    (X, weight, shares), means, _, factors = problem((300, 200), 5, np.float64)
    X[:, 1] += 3.0 * X[:, 0]
    X[:, 4] = 0.0
    _, found = shared_rows((X, weight, shares), means, factors)
    for covariance, direction in zip(found.covariances, found.directions, strict=True):
        scales = np.sqrt(np.diag(covariance)[:4])
        correlations = covariance[:4, :4] / np.outer(scales, scales)
        power = np.linalg.matrix_power(correlations, POWER_ITERATIONS)
        expected = power @ np.cos(np.arange(1.0, 5.0)) / scales
        cosine = expected @ direction[:4] / np.linalg.norm(expected) / np.linalg.norm(direction)
        np.testing.assert_allclose(cosine, 1.0)
        assert direction[4] == 0.0


@pytest.mark.parametrize("offset", [0.0, 1e4])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("counts", [(90,), (40, 75, 200)])
def test_the_textbooks_iterations_of_each_half(counts, dtype, offset):
    """The means may be far from the rows: statistics that lose digits are found again."""
    sample, means, covariances, factors = problem(counts, 3, dtype, offset)
    means -= offset / 2
    shared, moments = shared_rows(sample, means, factors)
    cuts = np.random.default_rng(1).normal(size=(2, len(counts), 3))
    found = split_components(shared, moments, cuts, means, covariances, factors, rules(dtype))
    for j, (X, weight) in enumerate(parts(*sample)):
        for way in range(2):
            along = (X - moments.means[j]) @ cuts[way, j]
            if way > 0:  # the farthest row is on the first side
                along *= np.sign(along[np.abs(along).argmax()])
            shares = np.eye(2)[(along <= 0).astype(int)] * weight[:, np.newaxis]
            start = gaussian_m_step(X, shares, "full", REG_COVAR)
            expected, history = gaussian_em(
                X, start, "full", 4, sample_weight=weight, reg_covar=REG_COVAR
            )
            for values, other in zip(found[:3], expected, strict=True):
                atol = RTOL[dtype] * np.abs(other).max()
                np.testing.assert_allclose(values[j, way], other, rtol=RTOL[dtype], atol=atol)
            reached = found.objectives[j, way] / weight.sum()
            np.testing.assert_allclose(reached, history[-1], rtol=RTOL[dtype])
            np.testing.assert_allclose(
                found.counts[j, way], expected[0].min() * weight.sum(), rtol=RTOL[dtype]
            )


def test_what_comes_of_nothing():
    """A direction across which no row is cut, and a half without variance."""
    (X, weight, shares), means, covariances, factors = problem((50, 60), 3, np.float64)
    X[X[:, 0] > 0.0] = 1.0
    shared, moments = shared_rows((X, weight, shares), means, factors)
    cuts = np.zeros((2, 2, 3))
    cuts[1, 0, 0] = 1.0
    bare = rules(np.float64, reg_covar=0.0)
    found = split_components(shared, moments, cuts, means, covariances, factors, bare)
    assert (found.counts == 0.0).all()
    found = split_components(shared, moments, cuts, means, covariances, factors, rules(np.float64))
    np.testing.assert_array_equal(found.counts > 0.0, [[False, True], [False, False]])
