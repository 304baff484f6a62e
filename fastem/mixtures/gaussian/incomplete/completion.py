"""What rows are like where they were not observed, or without their errors.

Given component k, the true values of a row ``x`` are Gaussian with the mean ``m + S T^-1 (x - m)``
and the covariance ``S - S T^-1 S``, where T is the covariance of what was observed, errors and all,
and S keeps that of the true values with what was observed.
"""

from typing import Any, NamedTuple

import numpy as np

from fastem.mixtures.missing import blocks_of, drawn_components


class Gaussians(NamedTuple):
    """A mixture's components.

    Parameters
    ----------
    means : ndarray of shape (n_components, n_features)
    covariances : ndarray of shape (n_components, n_features, n_features), or of the variances
        (n_components, n_features)
    """

    means: np.ndarray
    covariances: np.ndarray


def posterior(
    x: np.ndarray, gaussians: Gaussians, component: int, noise: Any = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Means and covariances of rows' true values, under one component.

    Parameters
    ----------
    x : ndarray of shape (n_rows, n_features), float64
        NaN where nothing was observed.
    gaussians : Gaussians
        With matrices.
    component : int
    noise : ndarray, broadcast to (n_rows, n_features, n_features)
        Covariances of the errors.

    Returns
    -------
    means : ndarray of shape (n_rows, n_features)
    covariances : ndarray of shape (n_rows, n_features, n_features)
    """
    mean, covariance = gaussians.means[component], gaussians.covariances[component]
    seen = ~np.isnan(x)
    both = seen[:, :, np.newaxis] & seen[:, np.newaxis, :]
    total = np.where(both, covariance + noise, np.eye(x.shape[1]))
    shared = np.where(seen[:, :, np.newaxis], covariance, 0.0)
    solved = np.linalg.solve(total, shared)
    means = mean + np.einsum("ni,nij->nj", np.where(seen, x - mean, 0.0), solved)
    covariances = covariance - np.einsum("nki,nkj->nij", shared, solved)
    return means, 0.5 * (covariances + covariances.swapaxes(1, 2))


def fill_means(X: np.ndarray, gaussians: Gaussians, responsibilities: np.ndarray) -> None:
    """Put conditional means, over all components, where rows have no value."""
    matrices = gaussians.covariances.ndim == 3
    for block in blocks_of(X, size=X.shape[1] if matrices else 1):
        x, shares = X[block].astype(np.float64), responsibilities[block]
        if matrices:
            values = np.zeros(x.shape)
            for k in range(len(gaussians.means)):
                values += shares[:, k, np.newaxis] * posterior(x, gaussians, k)[0]
        else:
            values = shares @ gaussians.means
        np.copyto(X[block], values, where=np.isnan(x), casting="same_kind")


def fill_draws(
    X: np.ndarray,
    gaussians: Gaussians,
    responsibilities: np.ndarray,
    random_state: np.random.RandomState,
) -> None:
    """Put random values where rows have none: of a component drawn for the row, given the row."""
    matrices = gaussians.covariances.ndim == 3
    for block in blocks_of(X, size=X.shape[1] if matrices else 1):
        x = X[block].astype(np.float64)
        components = drawn_components(responsibilities[block], random_state)
        normal = random_state.standard_normal(x.shape)
        values = np.empty(x.shape)
        for k in np.unique(components):
            own = components == k
            if matrices:
                means, covariances = posterior(x[own], gaussians, k)
                # Nothing is left of the variance of what was observed; rounding may go below it.
                variances, axes = np.linalg.eigh(covariances)
                roots = np.sqrt(np.maximum(variances, 0.0))
                values[own] = means + np.einsum("nij,nj,nj->ni", axes, roots, normal[own])
            else:
                deviations = np.sqrt(gaussians.covariances[k])
                values[own] = gaussians.means[k] + deviations * normal[own]
        np.copyto(X[block], values, where=np.isnan(x), casting="same_kind")


def denoised(
    X: np.ndarray, gaussians: Gaussians, responsibilities: np.ndarray, noise: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Means and covariances of the rows' true values, over all components.

    ``noise(block)`` gives the covariances of the errors of a slice of the rows, (n, d, d).
    """
    n_rows, n_features = X.shape
    values = np.zeros((n_rows, n_features))
    covariances = np.zeros((n_rows, n_features, n_features))
    for block in blocks_of(X, size=n_features):
        x, errors = X[block].astype(np.float64), noise(block)
        shares = responsibilities[block].astype(np.float64)
        own = [posterior(x, gaussians, k, errors) for k in range(len(gaussians.means))]
        mean = sum(shares[:, k, np.newaxis] * means for k, (means, _) in enumerate(own))
        for k, (means, within) in enumerate(own):
            apart = means - mean
            within = within + apart[:, :, np.newaxis] * apart[:, np.newaxis, :]
            covariances[block] += shares[:, k, np.newaxis, np.newaxis] * within
        values[block] = mean
    return values, covariances
