"""The eight of mclust's fourteen covariance models in which components share a part.

A covariance is ``volume * orientation @ diag(shape) @ orientation.T`` with a shape of determinant
one. Three letters say whether the components' volumes, shapes and orientations are equal (E) or
vary (V); I stands for axes parallel to the features'. Celeux and Govaert, "Gaussian parsimonious
clustering models", Pattern Recognition 28, 1995.

Each function takes the components' own covariances, their weights, with a sum of one, and the
covariances to start from or None, and returns what lowers ``sum_k weights[k] (log |C_k| + tr(S_k
C_k^-1))``, minus twice the mean log-likelihood. Covariances that aren't positive definite come out
not positive definite, or not finite.
"""

import numpy as np

from fastem.kernels.linalg.factors import factor_inverses
from fastem.kernels.linalg.rotations import rotated
from fastem.mixtures.gaussian.covariances.axes import variances_and_axes
from fastem.mixtures.gaussian.covariances.volumes import Diagonals, Symmetric, varying_volumes

# Sweeps of rotations of an M-step that goes on from the last orientation: more gain nothing, since
# the next M-step makes another one.
_SWEEPS = 1
# Most sweeps without an orientation to go on from, and the gain of one that is the last.
_FIRST_SWEEPS, _GAIN = 100, 1e-15


def evi(covariances, weights, start):
    """Diagonal, of one volume."""
    return _one_volume(covariances, weights)


def vei(covariances, weights, start):
    """Diagonal, of one shape."""
    logs = _log_volumes(covariances if start is None else start)
    volumes, shape = varying_volumes(Diagonals(covariances), weights, logs)
    return volumes[:, np.newaxis] * shape


def vee(covariances, weights, start):
    """Of one shape and one orientation."""
    logs = _log_volumes(covariances if start is None else start)
    volumes, common = varying_volumes(Symmetric(covariances), weights, logs)
    return volumes[:, np.newaxis, np.newaxis] * common


def evv(covariances, weights, start):
    """Of one volume."""
    return _one_volume(covariances, weights)


def eev(covariances, weights, start):
    """Of one volume and one shape."""
    variances, orientations = variances_and_axes(covariances)
    return assembled(orientations, np.broadcast_to(weights @ variances, variances.shape))


def vev(covariances, weights, start):
    """Of one shape."""
    variances, orientations = variances_and_axes(covariances)
    logs = _log_volumes(variances if start is None else start)
    volumes, shape = varying_volumes(Diagonals(variances), weights, logs)
    return assembled(orientations, volumes[:, np.newaxis] * shape)


def eve(covariances, weights, start):
    """Of one volume and one orientation."""
    orientation, variances = _one_orientation(covariances, weights, start, equal_volumes=True)
    return assembled(orientation, _one_volume(variances, weights))


def vve(covariances, weights, start):
    """Of one orientation."""
    orientation, variances = _one_orientation(covariances, weights, start, equal_volumes=False)
    return assembled(orientation, variances)


def _one_volume(covariances, weights):
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        volumes = np.exp(_log_volumes(covariances))
        factors = (weights @ volumes) / volumes
        return factors.reshape(-1, *[1] * (covariances.ndim - 1)) * covariances


def _log_volumes(covariances):
    """Of diagonals or matrices; not finite unless they are positive definite."""
    if covariances.ndim == 2:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.log(covariances).mean(axis=1)
    factors, definite = factor_inverses(covariances)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = -2.0 * np.log(np.einsum("kii->ki", factors)).mean(axis=1)
    return np.where(definite, logs, -np.inf)


def _one_orientation(covariances, weights, start, equal_volumes):
    """An orientation for all, and the covariances' variances along its axes."""
    sweeps = _SWEEPS
    if start is None:
        start_axes = variances_and_axes(np.einsum("k,kij->ij", weights, covariances))[1]
        sweeps = _FIRST_SWEEPS
    else:
        start_axes = common_axes(start)
    return rotated(covariances, weights, start_axes, equal_volumes, sweeps, _GAIN)


def common_axes(covariances: np.ndarray) -> np.ndarray:
    """The axes that covariances share, as the columns of a matrix.

    Nothing but the covariances is handed from one M-step to the next. Axes of their sum are theirs
    unless it has equal eigenvalues where they don't; so rotations have the last word, which without
    anything to turn is cheap.
    """
    scaled = covariances / np.einsum("kii->k", covariances)[:, np.newaxis, np.newaxis]
    # In different proportions, lest shapes that mirror each other add up to a sphere.
    proportions = 1.0 + np.arange(len(scaled)) / len(scaled)
    axes = variances_and_axes(np.einsum("k,kij->ij", proportions, scaled))[1]
    return rotated(scaled, np.ones(len(scaled)), axes, False, _FIRST_SWEEPS, _GAIN)[0]


def assembled(orientation: np.ndarray, variances: np.ndarray) -> np.ndarray:
    """Covariances of their axes and the variances along them; exactly symmetric."""
    halves = (0.5 * variances[..., np.newaxis, :] * orientation) @ orientation.swapaxes(-1, -2)
    return halves + halves.swapaxes(-1, -2)
