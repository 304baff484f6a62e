import math

import numpy as np
import pytest
from reference import gaussian_em, gaussian_m_step

from fastem.kernels.gaussian.few.iterations import Rules
from fastem.kernels.gaussian.few.splitting import (
    Shared,
    find_moments,
    fourth_moments,
    split_components,
)
from fastem.kernels.runtime.arrays import read_only

DTYPES = [np.float32, np.float64]
RTOL = {np.float32: 1e-3, np.float64: 1e-9}
REG_COVAR = 0.1


def shared_rows(counts, n_features, dtype, offset=0.0, seed=0):
    """Rows of components, and these: means, covariances and factors."""
    rng = np.random.default_rng(seed)
    X = (rng.normal(size=(sum(counts), n_features)) + offset).astype(dtype)
    weight = rng.uniform(0.2, 2.0, len(X))
    starts = np.concatenate([[0], np.cumsum(counts)])
    means = rng.normal(size=(len(counts), n_features)) + offset
    roots = rng.normal(size=(len(counts), n_features, n_features)) + 3.0 * np.eye(n_features)
    covariances = roots @ roots.swapaxes(1, 2)
    factors = np.linalg.cholesky(np.linalg.inv(covariances)[:, ::-1, ::-1])[:, ::-1, ::-1]
    return Shared(read_only(X), read_only(weight), starts), means, covariances, factors


def parts(shared):
    for start, stop in zip(shared.starts, shared.starts[1:], strict=False):
        yield shared.X[start:stop].astype(float), shared.weight[start:stop]


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
def test_moments(counts, n_features, dtype):
    shared, means, _, factors = shared_rows(counts, n_features, dtype)
    found = find_moments(shared, means, factors)
    fourth = fourth_moments(shared, found.means, factors)
    for j, (X, weight) in enumerate(parts(shared)):
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


@pytest.mark.parametrize("offset", [0.0, 1e4])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("counts", [(90,), (40, 75, 200)])
def test_the_textbooks_iterations_of_each_half(counts, dtype, offset):
    """The means may be far from the rows: statistics that lose digits are found again."""
    shared, means, covariances, factors = shared_rows(counts, 3, dtype, offset)
    means -= offset / 2
    totals = np.array([weight.sum() for _, weight in parts(shared)])
    sides = np.stack([shared.X[:, 0] > offset, shared.X[:, 1] > offset + 0.3])
    found = split_components(shared, sides, totals, means, covariances, factors, rules(dtype))
    for j, (X, weight) in enumerate(parts(shared)):
        for way in range(2):
            own = sides[way, shared.starts[j] : shared.starts[j + 1]].astype(int)
            shares = np.eye(2)[own] * weight[:, np.newaxis]
            start = gaussian_m_step(X, shares, "full", REG_COVAR)
            expected, history = gaussian_em(
                X, start, "full", 4, sample_weight=weight, reg_covar=REG_COVAR
            )
            for values, other in zip(found[:3], expected, strict=True):
                atol = RTOL[dtype] * np.abs(other).max()
                np.testing.assert_allclose(values[j, way], other, rtol=RTOL[dtype], atol=atol)
            reached = found.objectives[j, way] / totals[j]
            np.testing.assert_allclose(reached, history[-1], rtol=RTOL[dtype])
            # Of the last E-step's rows, hence by the parameters before.
            before, _ = gaussian_em(X, start, "full", 3, sample_weight=weight, reg_covar=REG_COVAR)
            after, _ = gaussian_em(X, before, "full", 1, sample_weight=weight)
            least = after[0].min() * totals[j]
            np.testing.assert_allclose(found.counts[j, way], least, rtol=RTOL[dtype])


def test_what_comes_of_nothing():
    """All rows on one side, or a half without variance."""
    shared, means, covariances, factors = shared_rows((50, 60), 3, np.float64)
    totals = np.array([weight.sum() for _, weight in parts(shared)])
    sides = shared.X[:, 0] > 0.0
    sides[:50] = True
    X = np.array(shared.X)
    X[50:][sides[50:]] = 1.0
    bare = rules(np.float64, reg_covar=0.0)
    for own in (sides, ~sides):
        found = split_components(
            shared._replace(X=read_only(X)),
            own[np.newaxis],
            totals,
            means,
            covariances,
            factors,
            bare,
        )
        assert (found.counts == 0.0).all()
    found = split_components(shared, sides[np.newaxis], totals, means, covariances, factors, bare)
    assert found.counts[0] == 0.0 < found.counts[1]
