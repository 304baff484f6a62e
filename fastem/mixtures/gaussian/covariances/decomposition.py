"""Volumes, shapes and orientations of covariances."""

from typing import NamedTuple

import numpy as np

from fastem.mixtures.gaussian.covariances.base import Covariances
from fastem.mixtures.gaussian.covariances.constrained import common_axes


class Decomposition(NamedTuple):
    """Covariances as ``volume * orientation @ diag(shape) @ orientation.T``.

    What is the same for all components has no axis for them.

    Parameters
    ----------
    volume : float or ndarray of shape (n_components,)
        The determinants' roots, of the degree of the number of features.
    shape : ndarray of shape (n_features,) or (n_components, n_features)
        Variances along the axes; their product is one.
    orientation : ndarray of shape (n_features, n_features) or (n_components, n_features, \
n_features)
        The axes, in columns: the features' own, or sorted from the longest to the shortest, by the
        mean length where components share them.
    """

    volume: float | np.ndarray
    shape: np.ndarray
    orientation: np.ndarray


def decompose(kind: Covariances, covariances: np.ndarray, n_features: int) -> Decomposition:
    """The decomposition of covariances.

    Parameters
    ----------
    kind : Covariances
    covariances : ndarray
        Shaped as ``covariances_``.
    n_features : int
    """
    stack = np.asarray(covariances)[np.newaxis] if kind.tied else covariances
    if stack.ndim == 3:
        shared = kind.model[2] == "E"
        variances, axes = _along_common_axes(stack) if shared else _along_own_axes(stack)
    else:
        variances, axes = stack.reshape(len(stack), -1), np.eye(n_features)
        variances = np.broadcast_to(variances, (len(stack), n_features))
    volumes = np.exp(np.log(variances).mean(axis=1))
    shapes = variances / volumes[:, np.newaxis]
    volume, shape = kind.model[0], kind.model[1]
    return Decomposition(
        volumes if volume == "V" else float(volumes[0]),
        shapes if shape == "V" else shapes[0],
        axes,
    )


def _along_common_axes(matrices):
    axes = common_axes(matrices)
    variances = np.einsum("ji,kjl,li->ki", axes, matrices, axes)
    order = np.argsort(-np.log(variances).mean(axis=0), kind="stable")
    return variances[:, order], axes[:, order]


def _along_own_axes(matrices):
    variances, axes = np.linalg.eigh(matrices)
    return variances[:, ::-1], axes[:, :, ::-1]
