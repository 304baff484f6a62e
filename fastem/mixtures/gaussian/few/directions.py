"""Where to cut many components' rows in two, as :mod:`fastem.mixtures.halving` cuts one's."""

from collections.abc import Callable

import numpy as np

from fastem.kernels.mixtures.halving import MOST_FEATURES

_EPS = np.finfo(np.float64).eps


def least_peaked(
    covariances: np.ndarray, fourth_moments: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray | None:
    """The second of ``halvings``' directions; which way they point is up to rounding.

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
    if n_features == 1 or n_features > MOST_FEATURES:
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
