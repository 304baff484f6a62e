"""What rows are like where they were not observed, or without their errors.

Given component k, the true values of a row ``x`` are Gaussian with the mean ``m + G (x - m)`` and
the covariance ``S - G S``, with the gain ``G = S T^-1``, where T is the covariance of what was
observed, errors and all, and S keeps that of the true values with what was observed.
"""

from typing import Any, NamedTuple

import numpy as np

from fastem.kernels.linalg.factors import factor_inverses, product
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


class Posterior(NamedTuple):
    """What rows' true values are like under one component.

    Parameters
    ----------
    means : ndarray of shape (n_rows, n_features)
    roots : ndarray of shape (n_rows, n_features, n_roots)
        With ``roots @ roots.T`` the covariances, which so can't come out negative.
    """

    means: np.ndarray
    roots: np.ndarray


def posterior(
    x: np.ndarray, gaussians: Gaussians, component: int, errors: np.ndarray | None = None
) -> Posterior:
    """What rows' true values are like under one component.

    With G the gain, so that the means are ``m + G (x - m)``, and N the errors' covariance, the
    covariance is ``(I - G) S (I - G)' + G N G'``: Joseph's form, which loses nothing to
    cancellation where errors are small.

    Parameters
    ----------
    x : ndarray of shape (n_rows, n_features), float64
        NaN where nothing was observed.
    gaussians : Gaussians
        With matrices.
    component : int
    errors : None or ndarray of shape (n_rows, n_features, n_features)
        Roots of the covariances of the errors, ``errors @ errors.T``, without rows where nothing
        was observed.
    """
    mean, covariance = gaussians.means[component], gaussians.covariances[component]
    seen = ~np.isnan(x)
    # Deviations of true values and of rows, as units: data may be of any scale.
    own = np.sqrt(np.diagonal(covariance))
    correlation = covariance / own / own[:, np.newaxis]
    units = np.broadcast_to(own, x.shape)
    if errors is not None:
        units = np.sqrt(own**2 + np.square(errors).sum(axis=2))
    ratios = own / units
    shared = ratios[:, np.newaxis, :] * correlation * seen[:, np.newaxis, :]
    total = ratios[:, :, np.newaxis] * shared
    if errors is not None:
        errors = errors / units[:, :, np.newaxis]
        total += product(errors, errors.swapaxes(1, 2))
    total = np.where(seen[:, :, np.newaxis] & seen[:, np.newaxis, :], total, np.eye(x.shape[1]))
    factors = factor_inverses(total)[0]
    gains = product(product(shared, factors), factors.swapaxes(1, 2))
    differences = np.where(seen, x - mean, 0.0) / units
    means = mean + own * np.einsum("nij,nj->ni", gains, differences)
    variances, axes = np.linalg.eigh(correlation)
    root = axes * np.sqrt(np.maximum(variances, 0.0))
    roots = root - product(gains * ratios[:, np.newaxis, :], root)
    if errors is not None:
        roots = np.concatenate([roots, product(gains, errors)], axis=2)
    return Posterior(means, own[:, np.newaxis] * roots)


def fill_means(X: np.ndarray, gaussians: Gaussians, responsibilities: np.ndarray) -> None:
    """Put conditional means, over all components, where rows have no value."""
    matrices = gaussians.covariances.ndim == 3
    for block in blocks_of(X, size=X.shape[1] if matrices else 1):
        x, shares = X[block].astype(np.float64), responsibilities[block]
        if matrices:
            values = np.zeros(x.shape)
            for k in range(len(gaussians.means)):
                values += shares[:, k, np.newaxis] * posterior(x, gaussians, k).means
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
                means, roots = posterior(x[own], gaussians, k)
                values[own] = means + np.einsum("nij,nj->ni", roots, normal[own])
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
        x = X[block].astype(np.float64)
        errors = _roots(noise(block), ~np.isnan(x))
        shares = responsibilities[block].astype(np.float64)
        own = [posterior(x, gaussians, k, errors) for k in range(len(gaussians.means))]
        mean = sum(shares[:, k, np.newaxis] * one.means for k, one in enumerate(own))
        for k, (means, roots) in enumerate(own):
            roots = np.concatenate([roots, (means - mean)[:, :, np.newaxis]], axis=2)
            roots *= np.sqrt(shares[:, k, np.newaxis, np.newaxis])
            covariances[block] += product(roots, roots.swapaxes(1, 2))
        values[block] = mean
    return values, 0.5 * (covariances + covariances.swapaxes(1, 2))


def _roots(covariances: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Roots of positive semi-definite covariances of what was seen, ``roots @ roots.T``."""
    both = seen[:, :, np.newaxis] & seen[:, np.newaxis, :]
    covariances = np.where(both, covariances, 0.0)
    deviations = np.sqrt(np.einsum("nii->ni", covariances))
    scales = np.where(deviations > 0.0, deviations, 1.0)
    correlations = covariances / scales[:, :, np.newaxis] / scales[:, np.newaxis, :]
    variances, axes = np.linalg.eigh(correlations)
    roots = axes * np.sqrt(np.maximum(variances, 0.0))[:, np.newaxis, :]
    return deviations[:, :, np.newaxis] * roots
