"""Passes over densities that a user wrote, against NumPy."""

import numpy as np
import pytest
from scipy.special import logsumexp

from fastem.kernels.own import Functions, OwnComponents, OwnPass


def poisson(x, rates):
    """``sum(x log(rate) - rate)``, one row under one component."""
    total = 0.0
    for f in range(len(x)):
        total += x[f] * np.log(rates[f]) - rates[f]
    return total


N_ROWS, N_FEATURES = 1003, 3  # the last tile is not full
RATES = np.array([[1.0, 2.0, 0.5], [4.0, 0.3, 2.0]])
LOG_WEIGHTS = np.log([0.4, 0.6])


def some_rows(dtype):
    rates = RATES[np.random.default_rng(0).integers(2, size=N_ROWS)]
    return np.random.default_rng(1).poisson(rates).astype(dtype)


def log_joint(X):
    X = X.astype(np.float64)
    return (X[:, np.newaxis] * np.log(RATES) - RATES).sum(axis=2) + LOG_WEIGHTS


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_evaluate(dtype):
    X = some_rows(dtype)
    a_pass = OwnPass(X, None, 2, Functions(poisson), N_FEATURES)
    outputs = {
        "log_density": np.full(N_ROWS, np.nan),
        "labels": np.full(N_ROWS, -1),
        "responsibilities": np.full((N_ROWS, 2), np.nan),
        "log_joint": np.full((N_ROWS, 2), np.nan),
    }
    a_pass.evaluate(OwnComponents(LOG_WEIGHTS, (RATES,)), **outputs)
    expected = log_joint(X)
    log_density = logsumexp(expected, axis=1)
    posterior = np.exp(expected - log_density[:, np.newaxis])
    np.testing.assert_allclose(outputs["log_joint"], expected, rtol=1e-10)
    np.testing.assert_allclose(outputs["log_density"], log_density, rtol=1e-10)
    np.testing.assert_allclose(outputs["responsibilities"], posterior, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(outputs["labels"], expected.argmax(axis=1))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weighted", [False, True])
def test_statistics_of_labels(dtype, weighted):
    X = some_rows(dtype)
    labels = np.random.default_rng(2).integers(-1, 2, size=N_ROWS).astype(np.int32)
    weights = np.random.default_rng(3).random(N_ROWS) if weighted else None
    statistics = OwnPass(X, weights, 2, Functions(poisson), N_FEATURES).from_labels(labels)
    own = (labels[:, np.newaxis] == [0, 1]) * (1.0 if weights is None else weights[:, np.newaxis])
    assert statistics.objective == 0.0
    np.testing.assert_allclose(statistics.counts, own.sum(axis=0), rtol=1e-12)
    np.testing.assert_allclose(statistics.sums, own.T @ X.astype(np.float64), rtol=1e-12)
