"""Covariance models between "diag" or "full" and what all components share: their M-steps' share.

The passes over the rows are those of "diag" or "full", so an iteration should take no longer.
"""

import warnings
from functools import partial
from typing import NamedTuple

import numpy as np

from . import data, measure

MODELS = ("EVI", "VEI", "EVE", "VVE", "VEE", "EEV", "VEV", "EVV")
NOISY = ("full", "diag", "tied", "tied_diag")
SHAPES = {"200k,8,16": (200_000, 8, 16), "100k,32,16": (100_000, 32, 16)}
# Fits are as long, less a shorter one from the same start.
_FIRST, _MORE = 4, 16


class Problem(NamedTuple):
    """Rows, and where every model starts: covariances that are all the same."""

    X: np.ndarray
    means: np.ndarray
    variances: np.ndarray


def make_problem(n_rows, n_features, n_components) -> Problem:
    """Return overlapping blobs, and distinct rows as means."""
    cell = data.Cell(n_rows, n_features, n_components, "overlapping", "float64")
    X = data.make_rows(cell)
    return Problem(X, data.starting_centers(X, n_components), X.var(axis=0))


def unshared(name: str) -> str:
    """Return the type whose passes a model takes."""
    return "diag" if name.endswith("I") or name == "diag" else "full"


def fit_fastem(problem, name, max_iter, log_density=None):
    """Fit fastem's mixture; if given, with noise of this density."""
    from fastem import GaussianMixture

    X, means, variances = problem
    k, d = means.shape
    precisions = 1 / variances
    if name == "tied":
        precisions = np.diag(precisions)
    elif name != "tied_diag":
        precisions = np.tile(precisions, (k, 1))
        if unshared(name) == "full":
            precisions = precisions[:, :, np.newaxis] * np.eye(d)
    mixture = GaussianMixture(
        k,
        covariance_type=name,
        max_iter=max_iter,
        tol=0.0,
        weights_init=np.full(k, (1.0 if log_density is None else 0.9) / k),
        means_init=means,
        precisions_init=precisions,
        noise_component=log_density,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return mixture.fit(X).lower_bound_


def fit_numpy(problem, name, max_iter):
    """Iterations of matrix products; what components share is found as fastem finds it.

    That is a small part of the time, less than it would be in NumPy alone.
    """
    from fastem.mixtures.gaussian.covariances import COVARIANCES

    X, means, variances = problem
    (k, d), kind = means.shape, COVARIANCES[name]
    passes = _Diagonals(X) if unshared(name) == "diag" else _Matrices(X)
    covariances = passes.start(variances, k)
    weights = np.full(k, 1 / k)
    for _ in range(max_iter):
        log_joint = passes.log_density(means, covariances)
        log_joint += np.log(weights) - 0.5 * d * np.log(2 * np.pi)
        greatest = log_joint.max(axis=1, keepdims=True)
        responsibilities = np.exp(log_joint - greatest)
        totals = responsibilities.sum(axis=1, keepdims=True)
        responsibilities /= totals
        objective = np.mean(greatest + np.log(totals))
        counts = responsibilities.sum(axis=0)
        means = responsibilities.T @ X / counts[:, np.newaxis]
        own = passes.covariances(responsibilities, counts, means)
        weights = counts / len(X)
        covariances = kind.constrained(own, weights, covariances)
    return objective


class _Matrices:
    def __init__(self, X):
        self.X = X

    def start(self, variances, k):
        return np.tile(np.diag(variances), (k, 1, 1))

    def log_density(self, means, covariances):
        log_density = np.empty((len(self.X), len(means)))
        factors = np.linalg.inv(np.linalg.cholesky(covariances)).swapaxes(1, 2)
        for k, (mean, factor) in enumerate(zip(means, factors, strict=True)):
            whitened = self.X @ factor
            whitened -= mean @ factor
            log_density[:, k] = -0.5 * np.einsum("ni,ni->n", whitened, whitened)
            log_density[:, k] += np.log(np.diagonal(factor)).sum()
        return log_density

    def covariances(self, responsibilities, counts, means):
        found = np.empty((len(means), *means.shape[1:] * 2))
        for k, mean in enumerate(means):
            differences = self.X - mean
            found[k] = (responsibilities[:, k] * differences.T) @ differences / counts[k]
        return found + 1e-6 * np.eye(means.shape[1])


class _Diagonals:
    def __init__(self, X):
        self.X, self.squares = X, X**2

    def start(self, variances, k):
        return np.tile(variances, (k, 1))

    def log_density(self, means, covariances):
        precisions = 1 / covariances
        log_density = self.squares @ precisions.T
        log_density -= 2 * self.X @ (means * precisions).T
        log_density += (means**2 * precisions).sum(axis=1) + np.log(covariances).sum(axis=1)
        log_density *= -0.5
        return log_density

    def covariances(self, responsibilities, counts, means):
        return responsibilities.T @ self.squares / counts[:, np.newaxis] - means**2 + 1e-6


def ratios(problem, name, repeats=None) -> tuple[float, float]:
    """Return an iteration's time in that of the type without sharing, and NumPy's in its."""
    runs = {
        "between": (partial(fit_fastem, problem, name), _FIRST, _MORE),
        "unshared": (partial(fit_fastem, problem, unshared(name)), _FIRST, _MORE),
        "numpy": (partial(fit_numpy, problem, name), 1, 2),
    }
    seconds = measure.seconds_an_iteration(runs, repeats)
    return seconds["between"] / seconds["unshared"], seconds["numpy"] / seconds["between"]


def noise_ratio(problem, name, repeats=None) -> float:
    """Return an iteration's time with a noise component in that without."""
    log_density = -np.log(np.ptp(problem.X, axis=0)).sum()
    runs = {
        "with": (partial(fit_fastem, problem, name, log_density=log_density), _FIRST, _MORE),
        "without": (partial(fit_fastem, problem, name), _FIRST, _MORE),
    }
    seconds = measure.seconds_an_iteration(runs, repeats)
    return seconds["with"] / seconds["without"]


class CovarianceModels:
    """A tenth of the rows: there the M-steps weigh ten times as much."""

    shrink = 10
    params = (measure.some(MODELS), measure.some(SHAPES))
    param_names = ("model", "shape")
    timeout = 600

    def setup(self, name, shape):
        measure.pin_threads()
        n_rows, *others = SHAPES[shape]
        self.problem = make_problem(measure.fewer(n_rows // self.shrink), *others)
        self.time_fit(name, shape)  # compiles

    def time_fit(self, name, shape):
        return fit_fastem(self.problem, name, 10)

    def _ratios(self, name):
        with measure.threads():
            return ratios(self.problem, name, 3)

    def track_ratio_to_unshared(self, name, shape):
        return self._ratios(name)[0]

    def track_ratio_to_numpy(self, name, shape):
        return self._ratios(name)[1]

    track_ratio_to_unshared.unit = "x"
    track_ratio_to_numpy.unit = "x"


class NoiseComponent:
    """A uniform component among the others; one covariance for all is summed up as many then."""

    shrink = 10
    params = (measure.some(NOISY), measure.some(SHAPES))
    param_names = ("covariance_type", "shape")
    timeout = 600

    def setup(self, name, shape):
        measure.pin_threads()
        n_rows, *others = SHAPES[shape]
        self.problem = make_problem(measure.fewer(n_rows // self.shrink), *others)
        self.time_fit(name, shape)  # compiles

    def time_fit(self, name, shape):
        return fit_fastem(self.problem, name, 10, log_density=-10.0)

    def track_ratio_to_none(self, name, shape):
        with measure.threads():
            return noise_ratio(self.problem, name, 3)

    track_ratio_to_none.unit = "x"


class NoiseComponentFull(NoiseComponent):
    """All rows. Chosen by `--bench Full`."""

    shrink = 1
    timeout = 3600


class CovarianceModelsFull(CovarianceModels):
    """All rows. Chosen by `--bench Full`."""

    shrink = 1
    timeout = 3600
