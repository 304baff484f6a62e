"""Where to cut a component's rows in two, for its halves to become components."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastem.kernels.mixtures.halving import MOST_FEATURES, POWER_ITERATIONS
from fastem.mixtures.sampled import least_peaked_axes

_EPS = np.finfo(np.float64).eps


def halvings(X: Any, weight: np.ndarray) -> Iterator[np.ndarray]:
    """Ways to cut rows in two, of which one may find what the other doesn't.

    Across the direction of greatest correlation, and across that along which rows that have no
    other directions look most like two clusters side by side: the one of the least fourth moment
    of sphered rows. Without the latter, a component that has two of a grid's clusters is cut
    along both.
    """
    shares = weight / weight.sum()
    if X.shape[1] > MOST_FEATURES:
        yield _projections(X, shares) > 0.0
        return
    X, gaps = _filled(X, shares)
    # Not across a yield: whoever takes what is found would compute without warnings, too.
    with np.errstate(over="ignore", invalid="ignore"):
        X -= shares @ X
        covariance = (X * shares[:, np.newaxis]).T @ X
        across = X @ _most_correlated(np.diagonal(covariance), covariance.__matmul__) > 0.0
    yield across
    if gaps or X.shape[1] == 1:
        return
    with np.errstate(over="ignore", invalid="ignore"):
        variances, axes = np.linalg.eigh(covariance)
        kept = variances > max(X.shape) * _EPS * variances[-1]
        if not kept.any():
            return
        sphered = X @ (axes[:, kept] / np.sqrt(variances[kept]))
        along = sphered @ least_peaked_axes(sphered, shares)[:, 0]
        # Which way axes point is up to rounding.
        across = along * along[np.argmax(np.abs(along))] > 0.0
    yield across


def _filled(X, shares):
    """The rows in a dense copy, with columns' means in place of gaps; whether there are any."""
    X = X.astype(np.float64) if isinstance(X, np.ndarray) else X.toarray().astype(np.float64)
    gaps = np.isnan(X)
    if not gaps.any():
        return X, False
    mean = np.nansum(shares[:, np.newaxis] * X, axis=0)
    return np.where(gaps, mean, X), True


def _most_correlated(variances, spread):
    """About the direction of greatest correlation; ``spread`` multiplies by the covariance."""
    variances = np.maximum(variances, 0.0)
    scales = np.divide(1.0, np.sqrt(variances), out=np.zeros(len(variances)), where=variances > 0)
    # No direction of greatest spread is likely to be at right angles to this.
    direction = np.cos(np.arange(1.0, len(scales) + 1))
    for _ in range(POWER_ITERATIONS):
        direction = scales * spread(scales * direction)
        direction /= max(np.abs(direction).max(), np.finfo(float).tiny)
    return scales * direction


def _projections(X, shares):
    """Rows of many features along that direction, from their mean; CSR ones stay such."""
    if isinstance(X, np.ndarray):
        X, _ = _filled(X, shares)
    mean = shares @ X
    squares = X.multiply(X) if not isinstance(X, np.ndarray) else X * X

    def along(direction):
        return X @ direction - mean @ direction

    def spread(direction):
        projections = shares * along(direction)
        return projections @ X - projections.sum() * mean

    return along(_most_correlated(shares @ squares - mean**2, spread))
