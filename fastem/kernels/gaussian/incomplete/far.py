"""Incomplete and noisy rows so far away that squared distances overflow, or are rounded too much.

Such rows are complete ones of the columns observed, whose passes know what to do.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from fastem.kernels.gaussian import PASSES, GaussianComponents
from fastem.kernels.gaussian.base import LOWEST, evaluate_anew
from fastem.kernels.linalg.factors import factor_inverses


def far_rows(log_density: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The numbers of rows whose log-density, of that precision, shows that they are far."""
    return np.flatnonzero(~(log_density > LOWEST[dtype]))


def evaluate_far(
    X: np.ndarray,
    far: np.ndarray,
    errors: Callable[[int], Any] | None,
    shared: Any,
    parameters: tuple[np.ndarray, np.ndarray, np.ndarray],
    outputs: dict[str, np.ndarray],
) -> None:
    """Write the outputs of far rows anew.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
        NaN where nothing was observed.
    far : ndarray of int
        The numbers of such rows, as :func:`far_rows` finds them.
    errors : None or callable
        From a row's number to the covariance matrix of its own errors.
    shared : 0.0 or ndarray of shape (n_features, n_features)
        The covariance of the errors of all rows.
    parameters : tuple
        Log-weights, means, and covariance matrices of the components.
    outputs : dict
        As for ``GaussianPass.evaluate``.
    """
    seen = ~np.isnan(X[far])
    possible = np.isfinite(np.where(seen, X[far], 0.0)).all(axis=1) & seen.any(axis=1)
    far, seen = far[possible], seen[possible]
    if errors is not None:
        groups = [far[[i]] for i in range(len(far))]
    else:
        _, pattern = np.unique(seen, axis=0, return_inverse=True)
        groups = [far[pattern == i] for i in range(pattern.max(initial=-1) + 1)]
    for rows in groups:
        columns = np.flatnonzero(~np.isnan(X[rows[0]]))
        added = shared if errors is None else errors(rows[0])
        _evaluate(X, rows, columns, added, parameters, outputs)


def _evaluate(X, rows, columns, added, parameters, outputs):
    log_weights, means, covariances = parameters
    both = (covariances + added)[:, columns[:, np.newaxis], columns]
    factors, definite = factor_inverses(both)
    if not definite.all():
        return
    components = GaussianComponents(
        log_weights, np.ascontiguousarray(means[:, columns]), factors, -np.inf
    )
    whole = np.ascontiguousarray(X[rows][:, columns], np.float64)
    evaluate_anew(PASSES["full"](whole, None, len(log_weights)), components, rows, outputs)
