"""Where to cut a component's rows in two, for its halves to become components."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fastem.kernels.gaussian.steps.splitting import POWER_ITERATIONS
from fastem.mixtures.sampled import least_peaked_axes

# With more features, fourth moments cost too much, and tell little.
_MOST_FEATURES = 64

_EPS = np.finfo(np.float64).eps


def halvings(X: Any, weight: np.ndarray) -> Iterator[np.ndarray]:
    """Ways to cut rows in two, of which one may find what the other doesn't.

    Across the direction of greatest correlation, and across that along which rows that have no
    other directions look most like two clusters side by side: the one of the least fourth moment
    of sphered rows. Without the latter, a component that has two of a grid's clusters is cut
    along both.
    """
    shares = weight / weight.sum()
    if X.shape[1] > _MOST_FEATURES:
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


def least_peaked(
    covariances: np.ndarray, fourth_moments: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray | None:
    """The second direction, of many components; which way they point is up to rounding.

    Parameters
    ----------
    covariances : ndarray of shape (n_components, n_features, n_features)
        Finite.
    fourth_moments : callable
        Axes of each component, in columns, to the sums of its rows' ``weight * |y|^2 * outer(y,
        y)``, with y a row from the mean in these axes.

    Returns
    -------
    ndarray of shape (n_components, n_features), or None if there is no second one
    """
    n_features = covariances.shape[2]
    if n_features == 1 or n_features > _MOST_FEATURES:
        return None
    variances, axes = np.linalg.eigh(covariances)
    kept = variances > n_features * _EPS * variances[:, -1:]
    scales = np.divide(1.0, np.sqrt(np.maximum(variances, 0.0)), where=kept, out=0.0 * variances)
    axes *= scales[:, np.newaxis]
    peaked = fourth_moments(axes)
    if not kept.all():  # axes without variance are last
        diagonal = np.einsum("kii->ki", peaked)
        diagonal += np.where(kept, 0.0, 1.0 + 2.0 * diagonal.sum(axis=1, keepdims=True))
    return np.einsum("kij,kj->ki", axes, np.linalg.eigh(peaked)[1][:, :, 0])


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
