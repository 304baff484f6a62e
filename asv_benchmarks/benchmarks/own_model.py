"""A user's own mixture beside a built-in one of the same arithmetic, and plain NumPy.

A Poisson mixture's log-densities are a matrix product of rows and log-rates, its statistics one of
responsibilities and rows. So are those of a Gaussian mixture with spherical covariances, but for
the sum of squares that it has as one feature more.
"""

import math
import warnings

import numpy as np

from . import measure
from .models import Size

SIZES = {
    str(size): size
    for size in (
        Size(400_000, 2, 8),
        Size(100_000, 8, 16),
        Size(100_000, 32, 16),
        Size(20_000, 128, 16),
        Size(50_000, 16, 64),
        Size(10_000, 784, 10),
    )
}
ITERATIONS = 20


def make_rows(size):
    """Return overlapping rows of counts, and rates to start from."""
    rng = np.random.default_rng(size.features)
    rates = rng.gamma(8.0, 0.5, size=(size.components, size.features)) + 0.5
    X = rng.poisson(rates[rng.integers(size.components, size=size.rows)]).astype(np.float64)
    return X, rates * rng.uniform(0.9, 1.1, size=rates.shape)


def poisson_mixture():
    """The class that a user writes; as in examples/poisson_mixture.py."""
    from numba import njit

    from fastem import em

    class PoissonMixture(em.Mixture):
        @njit
        def log_density(x, log_rates, total_rate):
            value = -total_rate
            for f in range(len(x)):
                value += x[f] * log_rates[f]
            return value

        @njit
        def log_base(x):
            value = 0.0
            for f in range(len(x)):
                value -= math.lgamma(x[f] + 1.0)
            return value

        def arguments(self, rates):
            return np.log(rates), rates.sum(axis=1)

        def m_step(self, counts, sums):
            return np.maximum(sums / counts[:, np.newaxis], 1e-6)

    return PoissonMixture


def _fit(estimator, X):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return estimator.fit(X)


def fit_built_in(X, rates, max_iter=ITERATIONS):
    """Fit a Gaussian mixture with spherical covariances from the same start."""
    from fastem import GaussianMixture

    components = len(rates)
    start = {
        "weights_init": np.full(components, 1 / components),
        "means_init": rates,
        "precisions_init": 1 / rates.mean(axis=1),
        "init_params": "random_from_data",  # cheap, and not used
    }
    estimator = GaussianMixture(
        components, covariance_type="spherical", **start, max_iter=max_iter, tol=0
    )
    return _fit(estimator, X)


def fit_numpy(X, rates, max_iter=ITERATIONS):
    """Two matrix products an iteration."""
    weights = np.full(len(rates), 1 / len(rates))
    for _ in range(max_iter):
        log_joint = X @ np.log(rates).T
        log_joint += np.log(weights) - rates.sum(axis=1)
        log_joint -= log_joint.max(axis=1, keepdims=True)
        responsibilities = np.exp(log_joint, out=log_joint)
        responsibilities /= responsibilities.sum(axis=1, keepdims=True)
        counts = responsibilities.sum(axis=0)
        weights = counts / len(X)
        rates = np.maximum(responsibilities.T @ X / counts[:, np.newaxis], 1e-6)
    return weights, rates


class OwnModel:
    """Iterations from a given start."""

    params = measure.some(SIZES, 2)
    param_names = ("size",)
    timeout = 600

    def setup(self, name):
        measure.pin_threads()
        size = SIZES[name]
        self.X, self.rates = make_rows(size._replace(rows=measure.fewer(size.rows)))
        try:
            self.mixture = poisson_mixture()
        except AttributeError as error:
            raise NotImplementedError("this version has no em.Mixture") from error
        self.time_fit(name)  # compiles

    def _fit_own(self):
        estimator = self.mixture(
            len(self.rates), parameters_init=self.rates, max_iter=ITERATIONS, tol=0
        )
        return _fit(estimator, self.X)

    def time_fit(self, name):
        return self._fit_own()

    def _ratio(self, fit):
        fit(self.X, self.rates, max_iter=1)
        runs = {"own": self._fit_own, "other": lambda: fit(self.X, self.rates)}
        with measure.threads():
            timed = measure.in_turns(runs, 5, measure.PAUSE)
        return measure.median(timed["other"][0]) / measure.median(timed["own"][0])

    def track_ratio_to_built_in(self, name):
        return self._ratio(fit_built_in)

    def track_ratio_to_numpy(self, name):
        return self._ratio(fit_numpy)

    track_ratio_to_built_in.unit = "x"
    track_ratio_to_numpy.unit = "x"
