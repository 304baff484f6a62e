"""Means and covariances of whole mixtures; of many at once if they share the covariances."""

import numpy as np

from fastem.mixtures.gaussian.covariances import Covariances
from fastem.mixtures.gaussian.stacks import order, stacked


def mixture_mean(weights: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Means of mixtures.

    Parameters
    ----------
    weights : ndarray of shape (..., n_components)
    means : ndarray of shape (..., n_components, n_features)

    Returns
    -------
    ndarray of shape (..., n_features)
    """
    return np.einsum("...k,...kd->...d", weights, means)


def mixture_covariance(
    weights: np.ndarray, means: np.ndarray, covariances: np.ndarray, kind: Covariances
) -> np.ndarray:
    """Covariances of mixtures: the components' mean covariance, and their means' covariance.

    Parameters
    ----------
    weights : ndarray of shape (..., n_components)
    means : ndarray of shape (..., n_components, n_features)
    covariances : ndarray
        Of all mixtures, shaped as ``covariances_``.
    kind : Covariances

    Returns
    -------
    ndarray of shape (..., n_features, n_features)
    """
    differences = means - mixture_mean(weights, means)[..., np.newaxis, :]
    halves = (0.5 * weights[..., np.newaxis] * differences).swapaxes(-1, -2) @ differences
    total = halves + halves.swapaxes(-1, -2)  # symmetric in spite of rounding
    stack = stacked(kind, covariances)
    within = stack[0] if kind.tied else np.tensordot(weights, stack, axes=1)
    if order(kind) == 2:
        return total + within
    diagonal = np.einsum("...ii->...i", total)
    diagonal += within if order(kind) == 1 else np.asarray(within)[..., np.newaxis]
    return total
