"""Passes over rows of bits of which some are missing, against sums over what was observed."""

import numpy as np
import pytest
from reference import responsibilities_of

from fastem.kernels.bernoulli import BernoulliComponents
from fastem.kernels.bernoulli.incomplete import IncompletePass


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", [(1, 1, 1), (70, 8, 5), (130, 9, 3), (65, 70, 17)])
def test_statistics(shape, weighted, hard):
    n, d, k = shape
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, d))
    X[rng.random((n, d)) < 0.3] = np.nan
    probabilities, weights = rng.uniform(0.05, 0.95, size=(k, d)), rng.dirichlet(np.ones(k))
    w = rng.uniform(size=n) if weighted else None
    parameters = BernoulliComponents.of(weights, probabilities)
    tested = IncompletePass(X, 0.5, w, k)
    ones, zeros = (X > 0.5).astype(float), (X <= 0.5).astype(float)
    log_joint = (
        np.log(weights) + ones @ np.log(probabilities).T + zeros @ np.log1p(-probabilities).T
    )
    log_density, shares = responsibilities_of(log_joint, hard)
    factors = np.ones(n) if w is None else w
    shares = shares * factors[:, np.newaxis]
    statistics = tested.e_step(parameters, hard)
    assert statistics.objective == pytest.approx(factors @ log_density, rel=1e-12, abs=1e-12)
    np.testing.assert_allclose(statistics.counts, shares.sum(axis=0), atol=1e-11)
    np.testing.assert_allclose(statistics.sums, shares.T @ ones, atol=1e-11)
    np.testing.assert_allclose(statistics.observed, shares.T @ (ones + zeros), atol=1e-11)
    found = np.empty((n, k))
    tested.evaluate(parameters, log_joint=found)
    np.testing.assert_allclose(found, log_joint, rtol=1e-12, atol=1e-12)
